"""The talos plugin under the real engine: scratch programs with the wheel's classes, with no node in them.

What the plugin does on a node is tested in toolchain/modules/talos (`go test`) and in the lab's end-to-end tests.
"""

from __future__ import annotations

import hashlib
import http.server
import json
import os
import signal
import subprocess
import textwrap
import threading
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

import toolchain

pytestmark = pytest.mark.engine

CONTRACTS = ("v1.10", "v1.11", "v1.12", "v1.13")
ROLES = ("controlplane", "worker")

# Ids of the public factory: without customization, and with the QEMU guest agent alone.
EMPTY = "376567988ad370138ad8b2698212367b8edcb69b5fd68c80be1f2ec7d603b4ba"
GUEST_AGENT = "ce4c980550dd2ab1b17bbf2b08801c7eb59418eafe8f279833297925d67c7515"

PROGRAM = '''
import os

import pulumi
import pulumiverse_talos as talos

PATCHES = [os.environ.get("PATCH", "machine: {install: {disk: /dev/vda}}")]
# Nothing listens on this port of the loopback device.
NOBODY = "127.0.0.1:9"


def arguments(secrets):
    """The wheel's result class as its argument class: functions want the names of the wire."""

    def pair(authority):
        return talos.machine.CertificateArgs(cert=authority.cert, key=authority.key)

    certs = secrets.certs
    return talos.machine.MachineSecretsArgs(
        certs=talos.machine.CertificatesArgs(
            etcd=pair(certs.etcd),
            k8s=pair(certs.k8s),
            k8s_aggregator=pair(certs.k8s_aggregator),
            k8s_serviceaccount=talos.machine.KeyArgs(key=certs.k8s_serviceaccount.key),
            os=pair(certs.os),
        ),
        cluster=talos.machine.ClusterArgs(id=secrets.cluster.id, secret=secrets.cluster.secret),
        secrets=talos.machine.KubernetesSecretsArgs(
            bootstrap_token=secrets.secrets.bootstrap_token,
            secretbox_encryption_secret=secrets.secrets.secretbox_encryption_secret,
        ),
        trustdinfo=talos.machine.TrustdInfoArgs(token=secrets.trustdinfo.token),
    )


made = talos.machine.Secrets("secrets", talos_version=os.environ.get("CONTRACT", "v1.12"))
client = made.client_configuration

for role in ("controlplane", "worker"):
    for contract in ("v1.10", "v1.11", "v1.12", "v1.13"):
        configuration = talos.machine.get_configuration_output(
            cluster_name="scratch",
            cluster_endpoint="https://10.5.0.2:6443",
            machine_type=role,
            machine_secrets=made.machine_secrets.apply(arguments),
            talos_version=contract,
        )
        pulumi.export(f"{role}-{contract}", configuration.machine_configuration)

talosconfig = talos.client.get_configuration_output(
    cluster_name="scratch",
    endpoints=["10.5.0.2"],
    client_configuration=talos.client.GetConfigurationClientConfigurationArgs(
        ca_certificate=client.ca_certificate,
        client_certificate=client.client_certificate,
        client_key=client.client_key,
    ),
)
pulumi.export("talosconfig", talosconfig.talos_config)

if "apply" in os.environ.get("WITH", ""):
    applied = talos.machine.ConfigurationApply(
        "apply",
        node="10.5.0.2",
        endpoint=NOBODY,
        client_configuration_wo={
            "caCertificate": client.ca_certificate,
            "clientCertificate": client.client_certificate,
            "clientKey": client.client_key,
        },
        machine_configuration_input_wo=configuration.machine_configuration,
        config_patches=PATCHES,
        apply_mode=os.environ.get("MODE", "no_reboot"),
    )
    pulumi.export("hash", applied.machine_configuration_hash)

if "bootstrap" in os.environ.get("WITH", ""):
    talos.machine.Bootstrap("bootstrap", node="10.5.0.2", endpoint=NOBODY, client_configuration=client)
'''

SCHEMATIC_PROGRAM = """
import os

import pulumi
import pulumiverse_talos as talos

factory = talos.Provider("factory", image_factory_url=os.environ["FACTORY"])
schematic = talos.imagefactory.Schematic(
    "schematic", schematic=os.environ.get("SCHEMATIC"), opts=pulumi.ResourceOptions(provider=factory)
)
pulumi.export("id", schematic.id)
"""


class Scratch:
    """A project of its own, with its own state, run by the project's toolchain."""

    def __init__(self, folder: Path, program: str = PROGRAM) -> None:
        self.folder = folder
        (folder / "state").mkdir()
        (folder / "Pulumi.yaml").write_text("name: scratch\nruntime: python\n", encoding="utf-8")
        (folder / "__main__.py").write_text(textwrap.dedent(program), encoding="utf-8")
        self.environment = {
            **os.environ,
            **toolchain.environment(),
            "PULUMI_BACKEND_URL": f"file://{folder}/state",
            "PULUMI_CONFIG_PASSPHRASE": "scratch",
        }
        self.run("stack", "init", "scratch")

    def start(self, *arguments: str, **variables: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [str(toolchain.tool("pulumi")), *arguments, "--non-interactive"],
            cwd=self.folder,
            env={**self.environment, **variables},
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )

    def attempt(self, *arguments: str, **variables: str) -> tuple[int, str]:
        process = self.start(*arguments, **variables)
        output, _ = process.communicate(timeout=300)
        return process.returncode, output

    def run(self, *arguments: str, **variables: str) -> str:
        code, output = self.attempt(*arguments, **variables)
        assert code == 0, output
        return output

    def outputs(self) -> Mapping[str, str]:
        found: Mapping[str, str] = json.loads(self.run("stack", "output", "--json", "--show-secrets"))
        return found


@pytest.fixture(scope="module")
def scratch(tmp_path_factory: pytest.TempPathFactory) -> Scratch:
    made = Scratch(tmp_path_factory.mktemp("talos-plugin"))
    made.run("up", "--yes", "--skip-preview")
    return made


@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize("contract", CONTRACTS)
def test_configurations_are_valid(scratch: Scratch, tmp_path: Path, role: str, contract: str) -> None:
    configuration = scratch.outputs()[f"{role}-{contract}"]
    assert f"type: {role}\n" in configuration
    assert "ghcr.io/siderolabs/installer:v1.13.0" in configuration
    file = tmp_path / "machine.yaml"
    file.write_text(configuration, encoding="utf-8")
    for mode in ("metal", "cloud"):
        answer = subprocess.run(
            [str(toolchain.tool("talosctl")), "validate", "--config", str(file), "--mode", mode],
            capture_output=True,
            text=True,
            check=False,
        )
        assert answer.returncode == 0, answer.stderr


def test_talosconfig_can_be_used(scratch: Scratch, tmp_path: Path) -> None:
    file = tmp_path / "talosconfig"
    file.write_text(scratch.outputs()["talosconfig"], encoding="utf-8")
    answer = subprocess.run(
        [str(toolchain.tool("talosctl")), "--talosconfig", str(file), "config", "info", "--output", "json"],
        capture_output=True,
        text=True,
        check=True,
    )
    told = json.loads(answer.stdout)
    assert (told["context"], told["endpoints"], told["roles"]) == ("scratch", ["10.5.0.2"], ["os:admin"])


def test_second_up_changes_nothing(scratch: Scratch) -> None:
    before = scratch.outputs()
    scratch.run("up", "--yes", "--skip-preview", "--expect-no-changes")
    assert scratch.outputs() == before


def test_refresh_changes_nothing(scratch: Scratch) -> None:
    scratch.run("refresh", "--yes", "--skip-preview", "--expect-no-changes")


def test_older_contract_replaces_the_secrets_and_a_newer_one_does_not(scratch: Scratch) -> None:
    assert "1 to replace" in scratch.run("preview", CONTRACT="v1.11")
    assert "1 to update" in scratch.run("preview", CONTRACT="v1.13")


def test_no_secret_is_in_the_state_as_text(scratch: Scratch) -> None:
    state = scratch.run("stack", "export")
    controlplane = scratch.outputs()["controlplane-v1.13"]
    tokens = [line.split()[-1] for line in controlplane.splitlines() if line.split()[:1] in (["token:"], ["key:"])]
    assert len(tokens) > 5
    assert [token for token in tokens if token in state] == []


def test_preview_of_an_apply_needs_no_node(scratch: Scratch) -> None:
    told = scratch.run("preview", WITH="apply")
    assert "1 to create" in told
    (line,) = [line for line in told.splitlines() if line.strip().startswith("hash:") or " hash " in line]
    assert len(line.split('"')[1]) == len(hashlib.sha256().hexdigest())


@pytest.mark.parametrize(
    ("variables", "problem"),
    [
        ({"PATCH": "machine: {nope: 1}"}, "unknown keys found during decoding"),
        ({"PATCH": "{apiVersion: v1alpha1, kind: Nope}"}, '"Nope" "v1alpha1": not registered'),
        ({"MODE": "try"}, "Expected one of auto, reboot, no_reboot, staged, staged_if_needing_reboot"),
    ],
)
def test_mistakes_fail_the_preview(scratch: Scratch, variables: dict[str, str], problem: str) -> None:
    code, told = scratch.attempt("preview", WITH="apply", **variables)
    assert code != 0
    assert problem in told


def test_interrupt_ends_a_wait_for_a_node(scratch: Scratch) -> None:
    process = scratch.start("up", "--yes", "--skip-preview", WITH="bootstrap")
    assert process.stdout is not None
    next(line for line in process.stdout if "bootstrap creating" in line)
    time.sleep(3)
    process.send_signal(signal.SIGINT)
    asked = time.monotonic()
    # Only until the resource has failed: the engine may then wait some seconds for the program.
    next(line for line in process.stdout if "canceled; last answer" in line)
    assert time.monotonic() - asked < 2
    process.communicate(timeout=60)
    assert process.returncode != 0


class Factory(http.server.BaseHTTPRequestHandler):
    """An Image Factory that keeps what it is sent; its ids are hashes of that, as the real one's are."""

    server: FactoryServer

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"])).decode()
        self.server.received.append((self.path, body))
        if "nope" in body:
            self.answer(400, b"no such extension\n")
        else:
            self.answer(201, json.dumps({"id": hashlib.sha256(body.encode()).hexdigest()}).encode())

    def answer(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *arguments: object) -> None:
        pass


class FactoryServer(http.server.ThreadingHTTPServer):
    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Factory)
        self.received: list[tuple[str, str]] = []
        self.url = f"http://127.0.0.1:{self.server_port}"


@pytest.fixture
def factories() -> Iterator[tuple[FactoryServer, FactoryServer]]:
    """Two Image Factories on the loopback device."""
    servers = FactoryServer(), FactoryServer()
    for server in servers:
        threading.Thread(target=server.serve_forever, daemon=True).start()
    yield servers
    for server in servers:
        server.shutdown()
        server.server_close()


def test_schematic_from_creation_to_deletion(factories: tuple[FactoryServer, FactoryServer], tmp_path: Path) -> None:
    factory, another = factories
    scratch = Scratch(tmp_path, SCHEMATIC_PROGRAM)
    agent = {
        "FACTORY": factory.url,
        "SCHEMATIC": "customization: {systemExtensions: {officialExtensions: [siderolabs/qemu-guest-agent]}}",
    }

    def up(*options: str, **variables: str) -> str:
        return scratch.run("up", "--yes", "--skip-preview", *options, **variables)

    assert "id: [unknown]" in scratch.run("preview", **agent)
    assert factory.received == []

    up(**agent)
    assert scratch.outputs() == {"id": GUEST_AGENT}
    up("--expect-no-changes", **agent)
    scratch.run("refresh", "--yes", "--skip-preview", "--expect-no-changes", **agent)
    assert [path for path, _ in factory.received] == ["/schematics"]

    # A schematic changes in place, so that the engine goes on with the old id until it refreshes.
    assert "1 to update" in scratch.run("preview", FACTORY=factory.url)
    up(FACTORY=factory.url)
    assert factory.received[1:] == [("/schematics", "customization: {}\n")]
    assert scratch.outputs() == {"id": GUEST_AGENT}
    scratch.run("refresh", "--yes", "--skip-preview", FACTORY=factory.url)
    up(FACTORY=factory.url)
    assert scratch.outputs() == {"id": EMPTY}

    # Another factory is not sent what the first one has, only what changes.
    up(FACTORY=another.url)
    assert another.received == []
    up(FACTORY=another.url, SCHEMATIC=agent["SCHEMATIC"])
    assert len(another.received) == 1

    scratch.run("destroy", "--yes", "--skip-preview", FACTORY=another.url)
    assert (len(factory.received), len(another.received)) == (2, 1)


def test_schematic_that_the_factory_refuses(factories: tuple[FactoryServer, FactoryServer], tmp_path: Path) -> None:
    scratch = Scratch(tmp_path, SCHEMATIC_PROGRAM)
    code, told = scratch.attempt(
        "up",
        "--yes",
        "--skip-preview",
        FACTORY=factories[0].url,
        SCHEMATIC="customization: {systemExtensions: {officialExtensions: [siderolabs/nope]}}",
    )
    assert code != 0
    assert "failed to create schematic: invalid schematic: HTTP 400: no such extension" in told
