"""An object at an API server: whose fields are taken, what is waited for, and every way in which it does not go on."""

from __future__ import annotations

import base64
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cluster_stack.lifecycle.errors import CancelledError, LifecycleError, UnfinishedError
from cluster_stack.lifecycle.kubernetes.api import Kubeconfig, KubernetesApi
from cluster_stack.lifecycle.kubernetes.objects import ObjectAtServer
from cluster_stack.lifecycle.waiting import Waiting
from tests.lifecycle.kubernetes.server import ApiServer, Authority

pytestmark = pytest.mark.servers

PATH = "/api/v1/namespaces/flux-system/configmaps/info"
DEPLOYMENT_PATH = "/apis/apps/v1/namespaces/flux-system/deployments/operator"
DEPLOYMENT: dict[str, Any] = {
    "apiVersion": "apps/v1",
    "kind": "Deployment",
    "metadata": {"name": "operator", "namespace": "flux-system"},
    "spec": {"replicas": 1, "selector": {"matchLabels": {"app": "operator"}}},
}
READY = {"replicas": 1, "updatedReplicas": 1, "availableReplicas": 1}


@pytest.fixture
def server() -> Iterator[ApiServer]:
    with ApiServer() as made:
        yield made


class Patience:
    """A Waiting whose lines are kept."""

    def __init__(self, seconds: float = 5) -> None:
        self.lines: list[str] = []
        self.cancelled = threading.Event()
        self.waiting = Waiting(seconds, self.cancelled, self.lines.append)


def info(**data: str) -> dict[str, Any]:
    metadata = {"name": "info", "namespace": "flux-system"}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": data}


def at(server: ApiServer, manifest: dict[str, Any]) -> ObjectAtServer:
    return ObjectAtServer(KubernetesApi(Kubeconfig.parse(server.kubeconfig())), manifest)


def theirs(server: ApiServer, **data: str) -> None:
    """Somebody else writes these entries, and owns them from then on."""
    there = server.objects.setdefault(PATH, info())
    there["data"] = {**there["data"], **data}
    there["owned by another"] = data


def test_an_object_is_applied_under_our_name(server: ApiServer) -> None:
    at(server, info(a="1")).apply(None, Patience().waiting)
    assert server.objects[PATH]["data"] == {"a": "1"}
    assert server.asked[-1] == ("PATCH", f"{PATH}?fieldManager=cluster-stack&force=true&fieldValidation=Strict")


def test_what_somebody_installed_by_hand_is_taken_over(server: ApiServer) -> None:
    theirs(server, a="by hand")
    at(server, info(a="1")).apply(None, Patience().waiting)
    assert server.objects[PATH]["data"] == {"a": "1"}


def test_a_change_that_nobody_has_seen_is_not_overwritten(server: ApiServer) -> None:
    theirs(server, a="by hand")
    with pytest.raises(LifecycleError) as told:
        at(server, info(a="2")).apply(info(a="1"), Patience().waiting)
    assert str(told.value) == (
        'ConfigMap flux-system/info was changed by somebody else: .data.a: conflict with "kubectl-edit" using v1. Run '
        "`pulumi up --refresh`: it shows what is there now, and puts back what cluster.yaml says."
    )
    assert server.objects[PATH]["data"] == {"a": "by hand"}


def test_a_change_that_a_refresh_has_shown_is(server: ApiServer) -> None:
    theirs(server, a="by hand")
    at(server, info(a="1")).apply(info(a="by hand"), Patience().waiting)
    assert server.objects[PATH]["data"] == {"a": "1"}


def test_what_others_own_beside_us_stays(server: ApiServer) -> None:
    theirs(server, b="theirs")
    at(server, info(a="1")).apply(info(a="0"), Patience().waiting)
    assert server.asked[-1][1].count("force=false") == 1


def test_an_api_that_starts_is_waited_for(server: ApiServer) -> None:
    server.answers = [(503, {"message": "etcd is not ready"}), (500, {})]
    patience = Patience()
    at(server, info(a="1")).apply(None, patience.waiting)
    assert patience.lines == [
        f"waiting for the Kubernetes API at {server.address}: etcd is not ready",
        f"waiting for the Kubernetes API at {server.address}: status 500",
    ]


def test_an_api_that_does_not_answer(server: ApiServer) -> None:
    found = at(server, info(a="1"))
    server.__exit__()
    with pytest.raises(LifecycleError) as told:
        found.apply(None, Patience(0.3).waiting)
    assert str(told.value) == (
        f"the Kubernetes API at {server.address} does not answer: connection refused. ConfigMap flux-system/info "
        "waited 0.3 s for it. Is a control plane up, and can this machine reach that address?"
    )


def test_who_ends_the_update_need_not_wait(server: ApiServer) -> None:
    server.answers = [(503, {})]
    patience = Patience(60)
    patience.cancelled.set()
    with pytest.raises(CancelledError, match=r"Run `pulumi up` again"):
        at(server, info(a="1")).apply(None, patience.waiting)


@pytest.mark.parametrize(
    ("status", "answer", "sentence"),
    [
        (
            422,
            {"message": 'ConfigMap "info" is invalid: data: too much'},
            'ConfigMap flux-system/info: the API server says: ConfigMap "info" is invalid: data: too much.',
        ),
        (
            401,
            {"message": "Unauthorized"},
            "{address} does not accept the certificate of the kubeconfig. Run `pulumi up --refresh`: it reads the "
            "kubeconfig anew.",
        ),
    ],
)
def test_a_refusal_is_told_in_its_own_words(
    server: ApiServer, status: int, answer: dict[str, Any], sentence: str
) -> None:
    found = at(server, info(a="1"))
    server.answers = [(status, answer)]
    with pytest.raises(LifecycleError) as told:
        found.apply(None, Patience().waiting)
    assert str(told.value) == sentence.format(address=server.address)


def test_a_secret_is_not_repeated(server: ApiServer) -> None:
    value = "hunter2-hunter2"
    encoded = base64.b64encode(value.encode()).decode()
    secret = {**info(key=encoded), "kind": "Secret"}
    server.answers = [(422, {"message": f"data: {encoded} is not {value}."})]
    with pytest.raises(LifecycleError) as told:
        at(server, secret).apply(None, Patience().waiting)
    assert str(told.value) == "Secret flux-system/info: the API server says: data: [secret] is not [secret]."


def test_a_kind_that_comes_is_waited_for_and_one_that_does_not_is_told(server: ApiServer) -> None:
    patience = Patience(0.3)
    with pytest.raises(LifecycleError) as told:
        at(server, {**info(), "apiVersion": "fluxcd.controlplane.io/v1", "kind": "FluxInstance"}).apply(
            None, patience.waiting
        )
    assert str(told.value) == (
        "FluxInstance flux-system/info: the API server knows no FluxInstance of fluxcd.controlplane.io/v1 after 0.3 s."
    )
    assert len(patience.lines) == 1


def test_a_deployment_is_waited_for(server: ApiServer) -> None:
    looks = []

    def ready_at_the_third_look(path: str) -> None:
        if path == DEPLOYMENT_PATH:
            looks.append(path)
            server.objects[path]["status"] = READY if len(looks) > 2 else {}

    server.on_get = ready_at_the_third_look
    patience = Patience()
    found = at(server, DEPLOYMENT)
    found.apply(None, patience.waiting)
    found.wait(patience.waiting)
    assert patience.lines == ["waiting for Deployment flux-system/operator: 0 of 1 ready"]


def test_a_deployment_that_does_not_become_ready_is_remembered(server: ApiServer) -> None:
    found = at(server, DEPLOYMENT)
    found.apply(None, Patience().waiting)
    with pytest.raises(UnfinishedError) as told:
        found.wait(Patience(0.3).waiting)
    assert str(told.value) == (
        "Deployment flux-system/operator is not ready after 0.3 s: 0 of 1 ready. `pulumi up` goes on with it."
    )


def test_reading_tells_what_is_there_of_what_was_declared(server: ApiServer) -> None:
    found = at(server, info(a="1", b="2"))
    assert found.read(Patience().waiting) is None
    found.apply(None, Patience().waiting)
    theirs(server, a="by hand", c="more")
    assert found.read(Patience().waiting) == info(a="by hand", b="2")


def test_what_the_server_writes_otherwise_is_no_drift(server: ApiServer) -> None:
    server.normal = lambda data: {name: {"2000m": "2"}.get(value, value) for name, value in data.items()}
    found = at(server, info(cpu="2000m"))
    found.apply(None, Patience().waiting)
    assert server.objects[PATH]["data"] == {"cpu": "2"}
    assert found.read(Patience().waiting) == info(cpu="2000m")
    server.objects[PATH]["data"] = {"cpu": "3"}
    assert found.read(Patience().waiting) == info(cpu="3")


def test_a_declaration_that_is_not_possible_any_more_can_be_read(server: ApiServer) -> None:
    found = at(server, info(a="1"))
    theirs(server, a="by hand")
    server.answers = [
        (200, {"resources": [{"name": "configmaps", "kind": "ConfigMap", "namespaced": True}]}),
        (200, server.objects[PATH]),
        (422, {"message": "a is no field any more"}),
    ]
    assert found.read(Patience().waiting) == info(a="by hand")


def test_deleting_waits_till_it_is_gone(server: ApiServer) -> None:
    found = at(server, info(a="1"))
    found.apply(None, Patience().waiting)
    server.objects[PATH]["metadata"]["finalizers"] = ["fluxcd.controlplane.io/finalizer"]
    with pytest.raises(LifecycleError) as told:
        found.delete(Patience(0.3).waiting)
    assert str(told.value) == (
        "ConfigMap flux-system/info is still there after 0.3 s: fluxcd.controlplane.io/finalizer must be removed by "
        "its controller. `pulumi up` goes on with it."
    )
    del server.objects[PATH]["metadata"]["finalizers"]
    found.delete(Patience().waiting)
    assert server.objects == {}
    found.delete(Patience().waiting)


def test_another_cluster_at_the_address_is_told_at_once(server: ApiServer, tmp_path: Path) -> None:
    stranger = Authority(tmp_path).file
    found = ObjectAtServer(KubernetesApi(Kubeconfig.parse(server.kubeconfig(stranger))), info())
    with pytest.raises(LifecycleError, match=r"is not this cluster's API: its certificate is not trusted"):
        found.apply(None, Patience(60).waiting)


@pytest.mark.parametrize("text", ["", "a: [", "kind: Config", "current-context: x\ncontexts: [{name: x}]"])
def test_a_kubeconfig_that_is_none(text: str) -> None:
    with pytest.raises(LifecycleError, match="the kubeconfig is not one that Talos makes"):
        Kubeconfig.parse(text)
