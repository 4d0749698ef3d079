"""The provider as the engine speaks with it: over gRPC, from its own program where that matters."""

from __future__ import annotations

import subprocess
import threading
from collections.abc import Iterator
from concurrent import futures
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf import empty_pb2
from google.rpc import status_pb2
from pulumi.runtime.proto import engine_pb2_grpc, provider_pb2, provider_pb2_grpc

from cluster_stack.lifecycle.engine import Engine
from cluster_stack.lifecycle.errors import LifecycleError, UnfinishedError
from cluster_stack.lifecycle.names import KUBERNETES_OBJECT
from cluster_stack.lifecycle.resource import Failure, Inputs
from cluster_stack.lifecycle.server import Provider, serve
from cluster_stack.lifecycle.values import UNKNOWN, from_engine, to_engine
from cluster_stack.lifecycle.waiting import Waiting

ROOT = Path(__file__).parents[2]
TYPE = "cluster-stack:test:Thing"
URN = f"urn:pulumi:homelab::cluster-stack::cluster-stack:index:Gitops${TYPE}::homelab-thing"


class Things:
    """A resource type that does as it is told."""

    def __init__(self) -> None:
        self.there: Inputs | None = None
        self.error: Exception | None = None
        self.limits: list[float] = []
        self.waits = threading.Event()

    def check(self, inputs: Inputs) -> Iterator[Failure]:
        if "name" not in inputs:
            yield Failure("name", "a thing has a name.")

    def replacing(self, old: Inputs, new: Inputs) -> Iterator[str]:
        if old["name"] != new["name"]:
            yield "name"

    def identity(self, inputs: Inputs) -> str:
        return f"thing {inputs['name']}"

    def create(self, inputs: Inputs, waiting: Waiting) -> None:
        self._do(inputs, waiting)

    def update(self, old: Inputs, new: Inputs, waiting: Waiting) -> None:
        self._do(new, waiting)

    def read(self, inputs: Inputs, waiting: Waiting) -> Inputs | None:
        return self.there

    def delete(self, inputs: Inputs, waiting: Waiting) -> None:
        self._do(None, waiting)

    def _do(self, inputs: Inputs | None, waiting: Waiting) -> None:
        self.limits.append(waiting.seconds)
        while self.waits.is_set():
            waiting.pause("waiting for a thing")
        if self.error:
            raise self.error
        self.there = inputs


@pytest.fixture
def things() -> Things:
    return Things()


@pytest.fixture
def stub(things: Things) -> Iterator[Any]:
    server, port = serve(Provider(Engine(""), lambda _: {TYPE: things}))
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        yield provider_pb2_grpc.ResourceProviderStub(channel)
    server.stop(None).wait()


def create(stub: Any, **inputs: Any) -> Any:
    return stub.Create(provider_pb2.CreateRequest(urn=URN, properties=to_engine(inputs), timeout=7))


def test_whole_numbers_stay_whole() -> None:
    values = {"port": 8080, "share": 0.5, "list": [1, {"deep": 2}], "on": True, "none": None}
    found = from_engine(to_engine(values))
    assert found == values
    assert isinstance(found["port"], int)
    assert isinstance(found["list"][1]["deep"], int)


def test_a_secret_of_the_provider_comes_in_a_shell() -> None:
    shell = {"4dabf18193072939515e22adb298388d": "1b47061264138c4ac30d75fd1eb44270", "value": "kind: Config"}
    assert from_engine(to_engine({"kubeconfig": shell})) == {"kubeconfig": "kind: Config"}


def test_a_resource_over_its_life(stub: Any, things: Things) -> None:
    made = create(stub, name="a", size=1)
    assert (made.id, from_engine(made.properties)) == ("thing a", {})  # nothing is in the state twice
    assert things.there == {"name": "a", "size": 1}
    old, new = to_engine({"name": "a", "size": 1}), to_engine({"name": "a", "size": 2})
    stub.Update(provider_pb2.UpdateRequest(id=made.id, urn=URN, old_inputs=old, news=new, timeout=8))
    read = stub.Read(provider_pb2.ReadRequest(id=made.id, urn=URN, inputs=new))
    assert (read.id, from_engine(read.inputs)) == ("thing a", {"name": "a", "size": 2})
    assert read.HasField("properties")  # else the engine would take it for gone
    stub.Delete(provider_pb2.DeleteRequest(id=made.id, urn=URN, old_inputs=new, timeout=9))
    assert stub.Read(provider_pb2.ReadRequest(id=made.id, urn=URN, inputs=new)).id == ""
    assert things.limits == [7, 8, 9]


@pytest.mark.parametrize(
    ("new", "changed", "replaces"),
    [
        ({"name": "a", "size": 1}, [], []),
        ({"name": "a", "size": 2}, ["size"], []),
        ({"name": "a"}, ["size"], []),
        ({"name": "b", "size": UNKNOWN}, ["name", "size"], ["name"]),
    ],
)
def test_what_an_edit_is(stub: Any, new: dict[str, Any], changed: list[str], replaces: list[str]) -> None:
    old = to_engine({"name": "a", "size": 1})
    found = stub.Diff(provider_pb2.DiffRequest(id="thing a", urn=URN, old_inputs=old, news=to_engine(new)))
    assert (list(found.diffs), list(found.replaces)) == (changed, replaces)
    assert found.changes == (provider_pb2.DiffResponse.DIFF_SOME if changed else provider_pb2.DiffResponse.DIFF_NONE)


@pytest.mark.parametrize(
    ("old", "new", "shown"),
    [
        (
            {"spec": {"sync": {"ref": "a", "url": "u"}}},
            {"spec": {"sync": {"ref": "b", "url": "u"}}},
            "spec.sync.ref UPDATE",
        ),
        ({"list": [{"a": 1}, {"a": 2}]}, {"list": [{"a": 1}]}, "list[1] DELETE"),
        ({"labels": {}}, {"labels": {"app.io/x": "y"}}, 'labels["app.io/x"] ADD'),
        ({"a": [1]}, {"a": {"b": 1}}, "a UPDATE"),
        ({"name": "x"}, {"name": "y"}, "name UPDATE_REPLACE"),
        ({"names": "x"}, {"names": "y"}, "names UPDATE"),
    ],
)
def test_an_edit_is_shown_by_the_field(stub: Any, old: dict[str, Any], new: dict[str, Any], shown: str) -> None:
    named = {"name": "a"}
    request = provider_pb2.DiffRequest(id="x", urn=URN, old_inputs=to_engine(named | old), news=to_engine(named | new))
    (found,) = stub.Diff(request).detailedDiff.items()
    assert f"{found[0]} {provider_pb2.PropertyDiff.Kind.Name(found[1].kind)}" == shown


def test_wrong_inputs_fail_the_check(stub: Any) -> None:
    found = stub.Check(provider_pb2.CheckRequest(urn=URN, news=to_engine({})))
    assert [(failure.property, failure.reason) for failure in found.failures] == [("name", "a thing has a name.")]


def test_a_failure_is_its_sentence(stub: Any, things: Things) -> None:
    things.error = LifecycleError("the thing is not possible.")
    with pytest.raises(grpc.RpcError) as told:
        create(stub, name="a")
    assert told.value.details() == "the thing is not possible."


def test_what_is_not_ready_is_remembered(stub: Any, things: Things) -> None:
    things.error = UnfinishedError("the thing is not ready.")
    with pytest.raises(grpc.RpcError) as told:
        create(stub, name="a", size=1)
    (found,) = [value for key, value in told.value.trailing_metadata() if key == "grpc-status-details-bin"]
    detail = provider_pb2.ErrorResourceInitFailed()
    assert status_pb2.Status.FromString(found).details[0].Unpack(detail)
    assert (detail.id, list(detail.reasons)) == ("thing a", ["the thing is not ready."])
    assert from_engine(detail.inputs) == {"name": "a", "size": 1}


def test_a_preview_does_nothing(stub: Any, things: Things) -> None:
    stub.Create(provider_pb2.CreateRequest(urn=URN, properties=to_engine({"name": "a"}), preview=True))
    assert (things.there, things.limits) == (None, [])


def test_who_ends_an_update_ends_what_waits(stub: Any, things: Things) -> None:
    things.waits.set()
    waiting = stub.Create.future(provider_pb2.CreateRequest(urn=URN, properties=to_engine({"name": "a"}), timeout=600))
    stub.Cancel(empty_pb2.Empty())
    with pytest.raises(grpc.RpcError) as told:
        waiting.result(timeout=30)
    assert "the update was cancelled" in told.value.details()


class Shown(engine_pb2_grpc.EngineServicer):
    """An engine that notes what it is to show."""

    def __init__(self) -> None:
        self.lines: list[tuple[str, str, bool]] = []

    def Log(self, request: Any, context: Any) -> Any:  # noqa: N802 - the protocol's name
        self.lines.append((request.urn, request.message, request.ephemeral))
        return empty_pb2.Empty()


def test_what_is_waited_for_is_shown_on_the_line_of_the_resource() -> None:
    engine = grpc.server(futures.ThreadPoolExecutor(1))
    shown = Shown()
    engine_pb2_grpc.add_EngineServicer_to_server(shown, engine)
    port = engine.add_insecure_port("127.0.0.1:0")
    engine.start()
    Engine(f"127.0.0.1:{port}").show(URN, "waiting for a thing")
    engine.stop(None).wait()
    assert shown.lines == [(URN, "waiting for a thing", True)]
    Engine(f"127.0.0.1:{port}").show(URN, "nobody hears it, and nothing is said of that")


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """The program that Pulumi.yaml names, started from anywhere."""
    plugin = ROOT / "cluster_stack" / "lifecycle" / "plugin" / "pulumi-resource-cluster-stack"
    process = subprocess.Popen(
        [plugin, "127.0.0.1:1"], stdout=subprocess.PIPE, text=True, cwd=tmp_path_factory.mktemp("elsewhere")
    )
    try:
        assert process.stdout is not None
        with grpc.insecure_channel(f"127.0.0.1:{int(process.stdout.readline())}") as channel:
            yield provider_pb2_grpc.ResourceProviderStub(channel)
    finally:
        process.kill()
        process.communicate()


def test_the_program(program: Any) -> None:
    """It asks no cluster before something is to be done, and a kubeconfig that is none is a sentence then."""
    assert program.GetPluginInfo(empty_pb2.Empty()).version == "0.1.0"
    program.Configure(provider_pb2.ConfigureRequest(args=to_engine({"kubeconfig": "kind: Config"})))
    urn = URN.replace(TYPE, KUBERNETES_OBJECT)
    manifest = to_engine({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "x"}})
    assert not program.Check(provider_pb2.CheckRequest(urn=urn, news=manifest)).failures
    with pytest.raises(grpc.RpcError) as told:
        program.Create(provider_pb2.CreateRequest(urn=urn, properties=manifest))
    assert told.value.details().startswith("the kubeconfig is not one that Talos makes")


@pytest.mark.parametrize(
    ("change", "replaced"),
    [
        ({}, []),
        ({"apiVersion": "apps/v2"}, []),
        ({"apiVersion": "batch/v1"}, ["apiVersion"]),
        ({"kind": "DaemonSet"}, ["kind"]),
        ({"metadata": {"name": "y"}}, ["metadata"]),
        ({"metadata": {"name": "x", "labels": {"a": "b"}}}, []),
    ],
)
def test_which_edit_makes_another_object(change: dict[str, Any], replaced: list[str], program: Any) -> None:
    old = {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "x"}}
    urn = URN.replace(TYPE, KUBERNETES_OBJECT)
    request = provider_pb2.DiffRequest(id="x", urn=urn, old_inputs=to_engine(old), news=to_engine({**old, **change}))
    assert list(program.Diff(request).replaces) == replaced
