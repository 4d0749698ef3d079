"""The program as Pulumi runs it, against mocks: which resources it declares, with which inputs."""

from __future__ import annotations

import asyncio
import runpy
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import pulumi
import pytest
from pulumi.runtime import mocks, settings
from pulumi.runtime.stack import run_pulumi_func

from cluster_stack import project

ROOT = Path(__file__).parents[2]
TOKEN = "pulumi@pve!cluster-stack=11111111-2222-3333-4444-555555555555"
PAIR = {"cert": "Y2VydA==", "key": "a2V5"}
MACHINE_SECRETS = {
    "certs": {"etcd": PAIR, "k8s": PAIR, "k8sAggregator": PAIR, "os": PAIR, "k8sServiceaccount": {"key": "a2V5"}},
    "cluster": {"id": "the-cluster-id", "secret": "c2VjcmV0"},
    "secrets": {"bootstrapToken": "abc.def", "secretboxEncryptionSecret": "c2VjcmV0"},
    "trustdinfo": {"token": "ghi.jkl"},
}
CLIENT = {"caCertificate": "Y2E=", "clientCertificate": "Y2VydA==", "clientKey": "a2V5"}
Resources = dict[str, dict[str, Any]]


class Providers(mocks.Mocks):
    """Echoes what is declared, and adds what only the provider would know. Any call that nobody expected fails."""

    def __init__(self, addresses: Sequence[Sequence[str]] | None) -> None:
        self.addresses = addresses
        """Those of every machine, by interface; None: one of its own for each."""
        self.calls: list[tuple[str, dict[str, Any]]] = []

    def new_resource(self, args: mocks.MockResourceArgs) -> tuple[str | None, dict[str, Any]]:
        state = dict(args.inputs)
        if args.typ == "talos:machine/secrets:Secrets":
            state |= {"machineSecrets": MACHINE_SECRETS, "clientConfiguration": CLIENT}
        if args.typ == "proxmoxve:index/vmLegacy:VmLegacy":
            nic = {**state["networkDevices"][0], "macAddress": "BC:24:11:00:00:01"}
            number = int(state["vmId"])
            own = [[f"10.0.{number // 100}.{number % 100}"]]
            state |= {
                "networkDevices": [nic],
                "macAddresses": ["00:00:00:00:00:00", "bc:24:11:00:00:01"],
                "ipv4Addresses": [["127.0.0.1"], *(own if self.addresses is None else self.addresses)],
            }
        if args.typ == "talos:cluster/kubeconfig:Kubeconfig":
            state |= {"kubeconfigRaw": "kind: Config"}
        return f"{args.name}-id", state

    def call(self, args: mocks.MockCallArgs) -> tuple[dict[str, Any], list[tuple[str, str]]]:
        self.calls.append((args.token, args.args))
        answers: dict[str, dict[str, Any]] = {
            "talos:machine/getConfiguration:getConfiguration": {"machineConfiguration": "version: v1alpha1"},
            "talos:client/getConfiguration:getConfiguration": {"talosConfig": "context: x"},
            "pulumi:pulumi:readStackOutputs": {"outputs": {}},
        }
        return answers[args.token], []


@pytest.fixture
def deploy(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., tuple[Resources, Providers]]]:
    """Run the whole program once; returns what it declared, by name, and the mocks."""
    monkeypatch.setenv("PROXMOX_VE_API_TOKEN", TOKEN)
    monkeypatch.setattr("cluster_stack.preflight.check", lambda *_: [])
    # A thread of its own: event loop and runtime settings are per thread, so nothing is left for the next test.
    with ThreadPoolExecutor(max_workers=1) as thread:
        yield lambda stack, addresses=None, secrets=None: thread.submit(_run, stack, addresses, secrets or {}).result()


def _run(
    stack: str, addresses: Sequence[Sequence[str]] | None, secrets: Mapping[str, str]
) -> tuple[Resources, Providers]:
    loop = asyncio.new_event_loop()
    # A program that failed leaves outputs that nobody looks at: each would be reported when it is thrown away.
    loop.set_exception_handler(lambda *_: None)
    asyncio.set_event_loop(loop)
    try:
        providers = Providers(addresses)
        monitor = mocks.MockMonitor(providers)
        mocks.set_mocks(providers, project="cluster-stack", stack=stack, preview=False, monitor=monitor)
        config = {f"cluster-stack:{name}": value for name, value in secrets.items()}
        pulumi.runtime.set_all_config(config, list(config))
        loop.run_until_complete(run_pulumi_func(_program))
        return {
            urn.split("::")[-1]: found.state for urn, found in monitor.get_registered_resources().items()
        }, providers
    finally:
        for task in asyncio.all_tasks(loop):
            task.cancel()
        loop.run_until_complete(asyncio.sleep(0))
        # A program that failed leaves calls and outputs behind, for which the next would wait.
        settings.SETTINGS.rpc_manager.clear()
        settings.SETTINGS.outputs.clear()
        loop.close()


def _program() -> None:
    runpy.run_path(str(ROOT / "__main__.py"))


def test_homelab_is_these_resources(deploy: Callable[..., tuple[Resources, Providers]]) -> None:
    declared, _ = deploy("homelab")
    assert set(declared) == {
        "homelab",
        "homelab-proxmox",
        "homelab-talos",
        "homelab-secrets",
        "homelab-cp1",
        "homelab-cp1-vm",
        "homelab-cp1-config",
        "homelab-worker1",
        "homelab-worker1-vm",
        "homelab-worker1-config",
        "homelab-bootstrap",
        "homelab-kubeconfig",
    }


def test_a_vm_is_what_the_original_made(deploy: Callable[..., tuple[Resources, Providers]]) -> None:
    vm = deploy("homelab")[0]["homelab-cp1-vm"]
    assert (vm["nodeName"], vm["vmId"], vm["name"], vm["started"], vm["onBoot"]) == (
        "ms01",
        800,
        "homelab-cp1",
        True,
        False,
    )
    assert vm["stopOnDestroy"] is False
    assert vm["tags"] == ["control-plane", "dev", "talos"]
    assert (vm["cpu"], vm["memory"]) == ({"cores": 4, "type": "x86-64-v2-AES"}, {"dedicated": 8192})
    assert vm["disks"] == [{"interface": "scsi0", "datastoreId": "local", "size": 32, "fileFormat": "raw"}]
    assert vm["cdrom"] == {"interface": "ide2", "fileId": "c137-isos:iso/talos-1.11.5-qemuguest-metal-amd64.iso"}
    assert (vm["bootOrders"], vm["scsiHardware"]) == (["scsi0", "ide2"], "virtio-scsi-single")
    assert vm["agent"] == {"enabled": True, "timeout": "3m", "type": "virtio"}
    assert vm["description"].startswith("Homelab k8s cluster\n")
    assert "initialization" not in vm


def test_the_token_of_the_environment_is_not_in_the_state(deploy: Callable[..., tuple[Resources, Providers]]) -> None:
    declared, _ = deploy("homelab")
    assert declared["homelab-proxmox"]["endpoint"] == "https://px.wd.ktz.me/"
    assert TOKEN not in str(declared)


def test_each_role_has_one_generated_configuration(deploy: Callable[..., tuple[Resources, Providers]]) -> None:
    declared, providers = deploy("prod")
    asked = [arguments for token, arguments in providers.calls if token.startswith("talos:machine/")]
    assert sorted(arguments["machineType"] for arguments in asked) == ["controlplane", "worker"]
    for arguments in asked:
        assert arguments["clusterEndpoint"] == "https://10.0.9.0:6443"
        assert arguments["clusterName"] == "talos-prod"
        assert (arguments["talosVersion"], arguments["kubernetesVersion"]) == ("v1.11.5", "1.34.0")
        assert (arguments["docs"], arguments["examples"]) == (False, False)
        # The provider knows these keys in camelCase only (pulumi-talos#103).
        assert arguments["machineSecrets"] == MACHINE_SECRETS
    applied = {name: state for name, state in declared.items() if name.endswith("-config")}
    assert len(applied) == 8
    assert {state["applyMode"] for state in applied.values()} == {"auto"}
    assert "machineConfigurationInput" not in applied["prod-cp1-config"]
    assert applied["prod-cp2-config"]["configPatches"][0].count("prod-cp2") == 1


def test_a_node_without_an_address_is_a_sentence(deploy: Callable[..., tuple[Resources, Providers]]) -> None:
    with pytest.raises(pulumi.RunError, match=r"homelab-(cp|worker)1 \(VM 8\d0 on ms01\) has no IPv4 address"):
        deploy("homelab", ())


def test_two_nodes_with_one_address_are_a_sentence(deploy: Callable[..., tuple[Resources, Providers]]) -> None:
    with pytest.raises(pulumi.RunError, match=r"have the same address, 10\.0\.0\.7, because they have the same MAC"):
        deploy("homelab", (("10.0.0.7",),))


SITE = """
metadata: {name: site}
cluster:
  talos: {version: v1.13.0}
  topology: {controlPlane: {count: 3}, workers: {count: 1}}
proxmox:
  endpoint: https://pve.example:8006/
  nodes: [a, b, c]
  storage: {datastore: ceph, imageDatastore: nas, shared: [ceph, nas]}
  vm: {idBase: 700, cpuType: host, ha: true, haGroup: rack}
"""


@pytest.fixture
def site(
    deploy: Callable[..., tuple[Resources, Providers]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., Resources]:
    """Run the program on SITE, edited."""

    def run(old: str = "", new: str = "", more: str = "", secrets: Mapping[str, str] | None = None) -> Resources:
        file = tmp_path / "clusters" / "site" / "cluster.yaml"
        file.parent.mkdir(parents=True)
        assert old in SITE
        file.write_text(SITE.replace(old, new) + more)
        monkeypatch.setattr("cluster_stack.project.plan", partial(project.Project(tmp_path).plan))
        return deploy("site", secrets=secrets)[0]

    return run


def test_a_group_of_proxmox_8(site: Callable[..., Resources]) -> None:
    declared = site()
    assert declared["site-cp1-ha"] == {"resourceId": "vm:700", "state": "started", "group": "rack"}
    # Where there are groups, there are no rules yet.
    assert "site-control-planes-apart" not in declared


def test_control_planes_are_kept_apart_where_there_are_rules(site: Callable[..., Resources]) -> None:
    rule = site(", haGroup: rack")["site-control-planes-apart"]
    assert (rule["type"], rule["affinity"]) == ("resource-affinity", "negative")
    assert sorted(rule["resources"]) == ["vm:700", "vm:701", "vm:702"]


def test_a_shared_storage_gets_an_image_once(site: Callable[..., Resources]) -> None:
    images = [name for name in site() if "-image-" in name]
    assert len(images) == 1


def test_any_other_storage_gets_it_once_on_each_host(site: Callable[..., Resources]) -> None:
    declared = site("shared: [ceph, nas]", "shared: [ceph]")
    images = {state["nodeName"]: state for name, state in declared.items() if "-image-" in name}
    assert sorted(images) == ["a", "b", "c"]
    assert {state["contentType"] for state in images.values()} == {"import"}
    assert images["a"]["url"].endswith("/v1.13.0/nocloud-amd64.qcow2")
    assert declared["site-cp1-vm"]["disks"][0]["importFrom"].startswith("site-image-")
    assert "cdrom" not in declared["site-cp1-vm"]


def test_an_arm64_machine_begins_as_an_arm64_image(site: Callable[..., Resources]) -> None:
    declared = site("version: v1.13.0", "version: v1.13.0, arch: arm64")
    (image,) = (state for name, state in declared.items() if "-image-" in name)
    assert image["url"].endswith("/v1.13.0/nocloud-arm64.qcow2")
    assert declared["site-cp1-vm"]["bios"] == "ovmf"


FLUX = """
gitops:
  enabled: true
  flux: {repository: "https://git.example/fleet", credentialsSecret: fluxToken}
  infrastructure: {core: [cert-manager], optional: [kube-prometheus-stack]}
"""
SECRETS = {"fluxToken": "hunter2", "grafanaPassword": "1234"}


@pytest.fixture
def flux(site: Callable[..., Resources], tmp_path: Path) -> Callable[..., Resources]:
    (tmp_path / "infrastructure").symlink_to(ROOT / "infrastructure")
    return lambda secrets=SECRETS: site(more=FLUX, secrets=secrets)


def test_flux_is_these_objects(flux: Callable[..., Resources]) -> None:
    declared = {name.removeprefix("site-flux-"): state for name, state in flux().items() if "site-flux-" in name}
    kinds = [state["kind"] for name, state in declared.items() if name.startswith("operator-")]
    assert sorted(set(kinds)) == [
        "ClusterRole",
        "ClusterRoleBinding",
        "CustomResourceDefinition",
        "Deployment",
        "Service",
        "ServiceAccount",
    ]
    assert sorted(name for name in declared if not name.startswith("operator-")) == [
        "components",
        "instance",
        "namespace",
        "runtime-info",
        "secret-flux-git-credentials",
        "secret-flux-runtime-secrets",
    ]
    assert declared["instance"]["spec"]["sync"]["url"] == "https://git.example/fleet"
    assert declared["runtime-info"]["data"]["CLUSTER_NAME"] == "site"


def test_a_secret_in_a_manifest_is_in_base64_in_base64(flux: Callable[..., Resources]) -> None:
    """What Kubernetes decodes is again the base64 of the value for those that Flux puts into a manifest."""
    declared = flux()
    data = {name: state["data"] for name, state in declared.items() if "-flux-secret-" in name}
    # The engine's mark of a secret is around each.
    assert all(found.keys() > {"value"} for found in data.values())
    assert data["site-flux-secret-flux-git-credentials"]["value"] == {"password": "aHVudGVyMg==", "username": "Z2l0"}
    assert data["site-flux-secret-flux-runtime-secrets"]["value"] == {
        "GRAFANA_PASSWORD": "MTIzNA==",
        "GRAFANA_PASSWORD_BASE64": "TVRJek5BPT0=",
    }


def test_flux_without_its_settings_is_refused(flux: Callable[..., Resources]) -> None:
    with pytest.raises(SystemExit):
        flux(secrets={"fluxToken": "hunter2"})


def test_without_flux_there_is_nothing_of_it(site: Callable[..., Resources]) -> None:
    assert [name for name in site() if "flux" in name or "kubernetes" in name] == []
