"""The nodes that follow from a configuration."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from cluster_stack.config import ClusterConfig, ConfigError, load_text
from cluster_stack.plan.addresses import node_address
from cluster_stack.plan.collisions import Member, Neighbourhood
from cluster_stack.plan.machine_config import node_patches
from cluster_stack.plan.nodes import plan_nodes
from cluster_stack.plan.ownership import fingerprint, marked, vm_notes
from cluster_stack.plan.upgrades import Previous
from cluster_stack.plan.versions import first_apply_mode, kubernetes_version
from cluster_stack.project import plan

ROOT = Path(__file__).parents[2]
STATIC_NETWORK = (
    "{cidr: 10.0.0.0/24, gateway: 10.0.0.1, nameservers: [10.0.0.1, 9.9.9.9], "
    "ipRanges: {controlPlane: 10.0.0.51-10.0.0.59, workers: 10.0.0.61-10.0.0.99}}"
)


def config(control_planes: int = 1, workers: int = 1, *, static: bool = False) -> ClusterConfig:
    text = (ROOT / "clusters/homelab/cluster.yaml").read_text()
    head, tail = text.split("workers:", 1)
    text = (
        head.replace("count: 1", f"count: {control_planes}")
        + "workers:"
        + tail.replace("count: 1", f"count: {workers}")
    )
    if static:
        text = text.replace("installDisk: /dev/sda", "platform: nocloud")
        text = text.replace("network:\n    bridge: vmbr0  ", f"network: {STATIC_NETWORK}\n  ")
    return load_text(text.encode(), "clusters/homelab/cluster.yaml").config


def test_names_and_ids_are_the_originals() -> None:
    nodes = [(node.name, node.vm_id, node.role, node.tags) for node in plan_nodes(config(3, 2))]
    assert nodes == [
        ("homelab-cp1", 800, "controlplane", ("control-plane", "dev", "talos")),
        ("homelab-cp2", 801, "controlplane", ("control-plane", "dev", "talos")),
        ("homelab-cp3", 802, "controlplane", ("control-plane", "dev", "talos")),
        ("homelab-worker1", 810, "worker", ("dev", "talos", "worker")),
        ("homelab-worker2", 811, "worker", ("dev", "talos", "worker")),
    ]


@pytest.mark.parametrize("static", [False, True])
def test_more_nodes_leave_the_others_as_they_are(static: bool) -> None:
    few, many = plan_nodes(config(1, 1, static=static)), plan_nodes(config(5, 20, static=static))
    assert all(node in many for node in few)


def test_static_addresses_count_from_the_start_of_each_range() -> None:
    addresses = {node.name: node.address for node in plan_nodes(config(3, 2, static=True))}
    assert [str(address.interface) for address in addresses.values() if address] == [
        "10.0.0.51/24",
        "10.0.0.52/24",
        "10.0.0.53/24",
        "10.0.0.61/24",
        "10.0.0.62/24",
    ]
    first = addresses["homelab-cp1"]
    assert first is not None
    assert (str(first.gateway), [str(server) for server in first.nameservers]) == ("10.0.0.1", ["10.0.0.1", "9.9.9.9"])


def test_the_installer_is_the_platforms_and_the_schematics() -> None:
    def image(config: ClusterConfig) -> str:
        patch = json.loads(node_patches(config, plan_nodes(config)[0], "v1.11.5")[0])
        return str(patch["machine"]["install"]["image"])

    schematic = config().cluster.talos.factory_schematic
    assert image(config()) == f"factory.talos.dev/metal-installer/{schematic}:v1.11.5"
    assert image(config(static=True)).startswith("factory.talos.dev/nocloud-installer/")


def test_talos_is_installed_on_the_originals_disk_where_none_is_named() -> None:
    unnamed = config().model_copy(deep=True)
    talos = unnamed.cluster.talos.model_copy(update={"install_disk": None})
    unnamed = unnamed.model_copy(update={"cluster": unnamed.cluster.model_copy(update={"talos": talos})})
    patch = json.loads(node_patches(unnamed, plan_nodes(unnamed)[0], "v1.11.5")[0])
    assert patch["machine"]["install"]["disk"] == "/dev/sda"


def test_the_hostname_is_in_the_dialect_of_the_contract() -> None:
    node = plan_nodes(config())[0]
    old = [json.loads(patch) for patch in node_patches(config(), node, "v1.11.5")]
    new = [json.loads(patch) for patch in node_patches(config(), node, "v1.12.0")]
    assert old[0]["machine"]["network"] == {"hostname": "homelab-cp1"}
    assert "network" not in new[0]["machine"]
    assert new[1] == {"apiVersion": "v1alpha1", "kind": "HostnameConfig", "auto": "off", "hostname": "homelab-cp1"}


def test_workers_are_tainted_as_they_join() -> None:
    """Kubernetes refuses what a worker would change of its own taints later, and its labels with it."""
    text = (ROOT / "clusters/homelab/cluster.yaml").read_text()
    tainted = "count: 1\n      taints: [a=b:NoSchedule, c:NoExecute]\n      labels: {d: e}"
    config = load_text(text.replace("count: 1", tainted).encode(), "clusters/homelab/cluster.yaml").config
    control_plane, worker = (
        json.loads(node_patches(config, node, "v1.11.5")[0])["machine"] for node in plan_nodes(config)
    )
    assert control_plane["nodeTaints"] == {"a": "b:NoSchedule", "c": "NoExecute"}
    assert "kubelet" not in control_plane
    assert worker["kubelet"]["extraConfig"]["registerWithTaints"] == [
        {"key": "a", "value": "b", "effect": "NoSchedule"},
        {"key": "c", "effect": "NoExecute"},
    ]
    assert "nodeTaints" not in worker
    assert control_plane["nodeLabels"] == worker["nodeLabels"] == {"d": "e"}


@pytest.mark.parametrize(("workers", "schedulable"), [(0, True), (1, None)])
def test_control_planes_run_workloads_where_there_are_no_workers(workers: int, schedulable: bool | None) -> None:
    nodes = plan_nodes(config(1, workers))
    patch = json.loads(node_patches(config(1, workers), nodes[0], "v1.11.5")[0])
    assert patch.get("cluster", {}).get("allowSchedulingOnControlPlanes") is schedulable


def test_the_contract_decides_kubernetes_and_the_first_apply() -> None:
    assert (kubernetes_version("v1.11.5"), first_apply_mode("v1.11.5")) == ("1.34.0", "auto")
    assert (kubernetes_version("v1.13.2"), first_apply_mode("v1.13.2")) == ("1.36.0", "no_reboot")


NIC = "BC:24:11:00:00:01"


@pytest.mark.parametrize(
    ("macs", "addresses", "expected"),
    [
        (["00:00:00:00:00:00", NIC.lower()], [["127.0.0.1"], ["10.0.0.7"]], "10.0.0.7"),
        # The pod network may come first; the card is known by its MAC.
        (["0a:58:0a:f4:00:01", NIC], [["10.244.0.1"], ["10.0.0.7"]], "10.0.0.7"),
        (["aa:aa:aa:aa:aa:aa"], [["169.254.3.4", "10.0.0.8"]], "10.0.0.8"),
        ([NIC], [["169.254.3.4"]], None),
        ([], [], None),
    ],
)
def test_the_nodes_own_address(macs: list[str], addresses: list[list[str]], expected: str | None) -> None:
    assert node_address(NIC, macs, addresses) == expected


def test_a_vm_carries_a_mark_that_only_its_own_state_can_make() -> None:
    node = plan_nodes(config())[0]
    notes = vm_notes(config(), node, "state-id")
    assert notes.splitlines()[0] == "Homelab k8s cluster"
    # Proxmox adds a line end to notes.
    assert marked(notes + "\n") == fingerprint("state-id", "homelab-cp1")
    assert marked(notes) != fingerprint("other-id", "homelab-cp1")
    assert "state-id" not in notes
    assert marked("Talos control plane homelab-cp1") is None


def test_a_description_ends_its_lines_as_proxmox_does() -> None:
    described = config()
    described = described.model_copy(
        update={"metadata": described.metadata.model_copy(update={"description": "one\r\ntwo\rthree\n"})}
    )
    assert vm_notes(described, plan_nodes(described)[0], "state-id").split("\n")[:3] == ["one", "two", "three"]


def member(name: str, *edits: str) -> Member:
    text = (ROOT / f"clusters/{name}/cluster.yaml").read_text()
    for old, new in zip(edits[::2], edits[1::2], strict=True):
        assert old in text
        text = text.replace(old, new)
    file = load_text(text.encode(), f"clusters/{name}/cluster.yaml")
    return Member(file, plan_nodes(file.config))


@pytest.mark.parametrize(
    ("endpoint", "same"),
    [
        ("https://px.wd.ktz.me", True),
        ("https://PX.wd.ktz.me:443/api2/json", True),
        ("https://px.wd.ktz.me:8006/", False),
        ("https://other.wd.ktz.me/", False),
    ],
)
def test_one_proxmox_is_one_however_its_address_is_written(endpoint: str, same: bool) -> None:
    homelab = member("homelab")
    meets = member("dev", "idBase: 850", "idBase: 810", "https://px.wd.ktz.me/", endpoint)
    assert len(list(Neighbourhood([homelab, meets]).collisions(meets))) == same


def test_clusters_with_overlapping_ids_are_refused() -> None:
    homelab = member("homelab")
    fits, meets = member("dev"), member("dev", "idBase: 850", "idBase: 810")
    assert list(Neighbourhood([homelab, fits]).collisions(fits)) == []
    (problem,) = Neighbourhood([homelab, meets]).collisions(meets)
    assert (problem.key, problem.what) == (
        "proxmox.vm.idBase",
        "VM id 810 would be both dev-cp1 and homelab-worker1 (clusters/homelab).",
    )
    assert problem.fix == "Write an idBase that leaves room: homelab has 800 to 810."


def test_flux_that_goes_is_a_warning_that_tells_what_stays() -> None:
    (warning,) = plan("homelab", ROOT, Previous(flux="v2.9.5")).warnings
    assert (warning.key, warning.what) == (
        "gitops.enabled",
        "Flux v2.9.5 is removed. What it had installed stays, and nobody looks after it any more.",
    )
    assert plan("homelab", ROOT).warnings == ()


def test_another_clusters_mistakes_do_not_stop_this_one(tmp_path: Path) -> None:
    for name, text in (("homelab", (ROOT / "clusters/homelab/cluster.yaml").read_text()), ("broken", "metadata: 1")):
        (tmp_path / "clusters" / name).mkdir(parents=True)
        (tmp_path / "clusters" / name / "cluster.yaml").write_text(text)
    (warning,) = plan("homelab", tmp_path).warnings
    assert "clusters/broken" in warning.what
    with pytest.raises(ConfigError):
        plan("broken", tmp_path)
