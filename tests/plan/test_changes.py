"""What an edit of cluster.yaml does to which machine, in words."""

from __future__ import annotations

import json
from collections.abc import Sequence
from importlib.resources import files

import pytest

from cluster_stack.config import load_text
from cluster_stack.plan.changes import KINDS, Changes, Kind, Snapshot, changes
from cluster_stack.plan.nodes import plan_nodes

TEXT = """\
metadata: {name: lab, description: a lab}
cluster:
  talos:
    version: v1.12.4
    schematic: {customization: {systemExtensions: {officialExtensions: [siderolabs/qemu-guest-agent]}}}
    secureboot: false
    diskEncryption: nodeID
  kubernetes: {version: 1.34.2, vip: 10.0.0.50}
  topology:
    controlPlane: {count: 1, resources: {cores: 4, memory: 8192, disk: 32}}
    workers:
      count: 1
      resources: {cores: 8, memory: 16384, disk: 100}
      disks: [{size: 200, volume: data}]
      pciDevices: []
      labels: {tier: front}
    nodePools: []
proxmox:
  endpoint: https://px.example:8006/
  nodes: [pve1, pve2]
  storage: {datastore: fast, shared: [fast]}
  network:
    bridge: vmbr0
    cidr: 10.0.0.0/24
    gateway: 10.0.0.1
    nameservers: [10.0.0.1]
    ipRanges: {controlPlane: 10.0.0.51-10.0.0.59, workers: 10.0.0.60-10.0.0.79}
  vm: {idBase: 800, cpuType: host, bios: ovmf}
gitops: {enabled: false}
"""
Patches = dict[str, tuple[str, ...]]


def snapshot(*edits: str, patches: Patches | None = None) -> Snapshot:
    """TEXT with edits, each an old text and a new one."""
    text = TEXT
    for old, new in zip(edits[::2], edits[1::2], strict=True):
        assert text.count(old) >= 1, old
        text = text.replace(old, new, 1)
    config = load_text(text.encode(), "clusters/lab/cluster.yaml").config
    nodes = plan_nodes(config)
    return Snapshot(
        config=config, nodes=nodes, patches={node.name: (patches or {}).get(node.name, ()) for node in nodes}
    )


def edit(*edits: str) -> Changes:
    return changes(snapshot(), snapshot(*edits))


def told(found: Changes, name: str) -> list[tuple[Kind, str]]:
    (node,) = (node for node in found.nodes if node.name == name)
    return [(reason.kind, reason.text) for reason in node.reasons]


def kinds(found: Changes) -> dict[str, Kind]:
    return {node.name: node.kind for node in found.nodes}


def of_the_cluster(found: Changes) -> list[tuple[Kind, str]]:
    return [(reason.kind, reason.text) for reason in found.cluster]


def test_no_edit() -> None:
    assert edit() == changes(snapshot(), snapshot())
    assert edit().counts == {"unchanged": 2}
    assert (edit().cluster, edit().keys, edit().refused) == ((), (), False)


def test_a_new_cluster_and_one_that_goes() -> None:
    created, removed = changes(None, snapshot()), changes(snapshot(), None)
    assert told(created, "lab-cp1") == [
        ("created", "control plane, VM 800 on pve1, 4 cores, 8 GB memory, 32 GB disk, 10.0.0.51")
    ]
    assert told(removed, "lab-worker1") == [("removed", "worker, VM 810 on pve1")]
    assert created.counts == {"created": 2}
    assert removed.counts == {"removed": 2}
    assert (removed.cluster, removed.keys) == ((), ())
    assert changes(None, None) == Changes((), (), ())


# What becomes of a worker that stays: the edit, its kind, the reason.
WORKER: Sequence[tuple[str, str, Kind, str]] = [
    ("cores: 8", "cores: 12", "restarted", "cores 8 to 12"),
    ("cores: 8", "cores: 8, sockets: 2", "restarted", "sockets 1 to 2"),
    ("memory: 16384", "memory: 32768", "restarted", "memory 16 GB to 32 GB"),
    ("cpuType: host", "cpuType: x86-64-v3", "restarted", "CPU type host to x86-64-v3"),
    ("cpuType: host", "cpuType: host, numa: true", "restarted", "NUMA no to yes"),
    ("cpuType: host", "cpuType: host, balloon: 4096", "restarted", "least memory all of it to 4 GB"),
    ("cpuType: host", "cpuType: host, machine: q35", "restarted", "machine type Proxmox' own choice to q35"),
    ("cpuType: host", "cpuType: host, tpm: true", "restarted", "TPM no to yes"),
    (", bios: ovmf", "", "restarted", "firmware ovmf to seabios"),
    ("pciDevices: []", "pciDevices: [{mapping: gpu}]", "restarted", "PCI devices none to gpu (PCI Express)"),
    ("workers: 10.0.0.60", "workers: 10.0.0.61", "restarted", "address 10.0.0.60/24 to 10.0.0.61/24"),
    ("gateway: 10.0.0.1", "gateway: 10.0.0.2", "restarted", "gateway 10.0.0.1 to 10.0.0.2"),
    ("[10.0.0.1]", "[9.9.9.9, 10.0.0.1]", "restarted", "DNS servers 10.0.0.1 to 9.9.9.9, 10.0.0.1"),
    (
        "gateway: 10.0.0.1",
        "gateway: 10.0.0.1\n    cidr6: fd00::/64",
        "restarted",
        "IPv6 address none to fd00::3c/64",
    ),
    (
        "datastore: fast, shared: [fast]",
        "datastore: slow, shared: [slow]",
        "restarted",
        "the system disk moves from fast to slow, and the machine is off meanwhile",
    ),
    (
        "volume: data}",
        "volume: data, datastore: slow}",
        "restarted",
        "disk scsi1 moves from fast to slow, and the machine is off meanwhile",
    ),
    (
        "disk: 100",
        "disk: 200",
        "changed",
        "the system disk grows, 100 GB to 200 GB, without a restart; Talos takes the new space at its next boot",
    ),
    (
        "size: 200",
        "size: 2048",
        "changed",
        "disk scsi1 grows, 200 GB to 2 TB, without a restart; Talos takes the new space at its next boot",
    ),
    (
        "disk: 100",
        "disk: 64",
        "refused",
        "the system disk would shrink, 100 GB to 64 GB, and no disk does: write 100 or more",
    ),
    (
        "size: 200",
        "size: 100",
        "refused",
        "disk scsi1 would shrink, 200 GB to 100 GB, and no disk does: write 200 or more",
    ),
    ("volume: data}", "volume: data}, {size: 50}", "changed", "disk scsi2 is added: 50 GB on fast"),
    (
        "[{size: 200, volume: data}]",
        "[]",
        "changed",
        "disk scsi1 (200 GB) is detached: Proxmox keeps it as an unused disk of the VM",
    ),
    (
        "volume: data}",
        "volume: data, ssd: true}",
        "changed",
        "disk scsi1: serial number data to serial number data, SSD, from its next start on",
    ),
    ("bridge: vmbr0", "bridge: vmbr1", "changed", "network card 1 vmbr0 to vmbr1"),
    ("bridge: vmbr0", "vlan: 20", "changed", "network card 1 vmbr0 to vmbr0 VLAN 20"),
    ("cpuType: host", "cpuType: host, onBoot: true", "changed", "started with its host no to yes"),
    ("cpuType: host", "cpuType: host, forceStop: true", "changed", "stopped at once when removed no to yes"),
    ("cpuType: host", "cpuType: host, protection: true", "changed", "protected from removal no to yes"),
    ("cpuType: host", "cpuType: host, pool: lab", "changed", "resource pool none to lab"),
    ("cpuType: host", "cpuType: host, ha: true", "changed", "high availability no to yes"),
    ("cpuType: host", "cpuType: host, tags: [x]", "changed", "tags talos, worker to talos, worker, x"),
    ("cpuType: host", "cpuType: host, ha: true, haGroup: red", "changed", "high availability no to group red"),
    ("bridge: vmbr0", "mtu: 9000", "changed", "network card 1 vmbr0 to vmbr0 MTU 9000"),
    (
        "pciDevices: []",
        "networkInterfaces: [{bridge: vmbr9}]",
        "changed",
        "network card 2 none to vmbr9",
    ),
    ("pciDevices: []", "pciDevices: [{mapping: gpu, pcie: false}]", "restarted", "PCI devices none to gpu (PCI)"),
    ("description: a lab", "description: ours", "changed", "notes 'a lab' to 'ours'"),
    ("nodes: [pve1, pve2]", "nodes: [pve2]", "moved", "pve1 to pve2, with its local disks"),
    ("version: v1.12.4", "version: v1.12.6", "upgrade", "Talos v1.12.4 to v1.12.6"),
    (
        "[siderolabs/qemu-guest-agent]",
        "[siderolabs/qemu-guest-agent, siderolabs/iscsi-tools]",
        "upgrade",
        "schematic ce4c9805 to 6ebbfe35, with siderolabs/iscsi-tools",
    ),
    ("version: 1.34.2", "version: 1.34.3", "configured", "Kubernetes 1.34.2 to 1.34.3"),
    (
        "vip: 10.0.0.50",
        "vip: 10.0.0.49",
        "configured",
        "Kubernetes API https://10.0.0.50:6443 to https://10.0.0.49:6443",
    ),
    ("description: a lab", "description: a lab, labels: {a: b}", "configured", "machine.nodeLabels.a"),
    ("tier: front", "tier: back", "configured", "machine.nodeLabels.tier"),
    (
        "labels: {tier: front}",
        'labels: {tier: front}\n      taints: ["a:NoSchedule"]',
        "kept",
        "taints, which a worker takes only as it joins: `kubectl taint nodes` changes them",
    ),
    ("version: v1.12.4", "version: v1.12.4\n    clusterName: x", "configured", "cluster name inside Talos lab to x"),
    ("gitops:", "volumes: [{name: v, diskSelector: 'true'}]\ngitops:", "configured", "UserVolumeConfig v"),
    ("secureboot: false", "arch: arm64", "kept", "architecture amd64 to arm64"),
]


@pytest.mark.parametrize(("old", "new", "kind", "text"), WORKER)
def test_what_becomes_of_a_worker(old: str, new: str, kind: Kind, text: str) -> None:
    head, workers = TEXT.split("workers:", 1)
    # The worker's own keys come after those of the control planes, which are called the same.
    edits = (old, new) if old in head else (f"workers:{workers}", f"workers:{workers.replace(old, new, 1)}")
    assert (kind, text) in told(edit(*edits), "lab-worker1")


DHCP = (
    "cidr: 10.0.0.0/24\n    gateway: 10.0.0.1\n    nameservers: [10.0.0.1]\n"
    "    ipRanges: {controlPlane: 10.0.0.51-10.0.0.59, workers: 10.0.0.60-10.0.0.79}",
    "dhcp: true",
)


def test_from_dhcp_to_static_addresses() -> None:
    reasons = told(changes(snapshot(*DHCP), snapshot()), "lab-worker1")
    assert [text for kind, text in reasons if kind == "restarted"] == [
        "address DHCP to 10.0.0.60/24",
        "gateway DHCP to 10.0.0.1",
        "DNS servers DHCP to 10.0.0.1",
    ]
    assert told(changes(None, snapshot(*DHCP)), "lab-worker1")[0][1].endswith(", 100 GB disk, DHCP")
    no_vip = (*DHCP, ", vip: 10.0.0.50", "")
    assert ("configured", "Kubernetes API the address that DHCP gives lab-cp1 to https://10.0.0.51:6443") in told(
        changes(snapshot(*no_vip), snapshot(", vip: 10.0.0.50", "")), "lab-worker1"
    )


def test_ipv6_addresses() -> None:
    one = ("gateway: 10.0.0.1", "gateway: 10.0.0.1\n    cidr6: fd00::/64")
    with_router = (one[0], f"{one[1]}\n    gateway6: fe80::1")
    assert told(changes(snapshot(*one), snapshot(*with_router)), "lab-worker1") == [
        ("restarted", "IPv6 gateway none to fe80::1")
    ]
    assert ("restarted", "IPv6 gateway fe80::1 to none") in told(
        changes(snapshot(*with_router), snapshot()), "lab-worker1"
    )


def test_the_iso_in_the_drive() -> None:
    def iso(name: str) -> tuple[str, str]:
        return "datastore: fast,", f"datastore: fast, isoPath: isos:iso/{name}.iso,"

    platform = ("secureboot: false", "platform: nocloud")
    added = told(changes(snapshot(*platform), snapshot(*platform, *iso("a"))), "lab-worker1")
    assert added == [
        ("restarted", "boots its disk to its disk, else the ISO"),
        ("changed", "ISO in its drive none to isos:iso/a.iso"),
    ]
    other = changes(snapshot(*platform, *iso("a")), snapshot(*platform, *iso("b")))
    assert told(other, "lab-worker1") == [("changed", "ISO in its drive isos:iso/a.iso to isos:iso/b.iso")]


def test_another_platform() -> None:
    iso = ("datastore: fast,", "datastore: fast, isoPath: isos:iso/a.iso,", *DHCP)
    found = changes(snapshot(*iso), snapshot(*iso, "secureboot: false", "platform: nocloud"))
    assert ("kept", "platform metal to nocloud") in told(found, "lab-worker1")


def test_the_guest_agent_and_extensions() -> None:
    without = ("[siderolabs/qemu-guest-agent]", "[]")
    found = told(edit(*without), "lab-worker1")
    assert found[0] == ("restarted", "guest agent yes to no")
    assert ("upgrade", "schematic ce4c9805 to 37656798, without siderolabs/qemu-guest-agent") in found
    by_id = (
        "schematic: {customization: {systemExtensions: {officialExtensions: [siderolabs/qemu-guest-agent]}}}",
        f"factorySchematic: {'ab' * 32}",
    )
    for way in (changes(snapshot(), snapshot(*by_id)), changes(snapshot(*by_id), snapshot())):
        (text,) = (text for kind, text in told(way, "lab-worker1") if kind == "upgrade")
        assert text in ("schematic ce4c9805 to abababab", "schematic abababab to ce4c9805")


def test_a_network_card_with_its_address() -> None:
    mac = ("nodePools: []", "nodePools: []\n    nodes: {lab-worker1: {macAddress: 'bc:24:11:00:00:01'}}")
    assert told(edit(*mac), "lab-worker1") == [("changed", "network card 1 vmbr0 to vmbr0 BC:24:11:00:00:01")]


def test_talos_leaves_a_disk_without_a_volume_alone() -> None:
    plain = ("{size: 200, volume: data}", "{size: 200}")
    grown = changes(snapshot(*plain), snapshot(plain[0], "{size: 300}"))
    assert told(grown, "lab-worker1") == [("changed", "disk scsi1 grows, 200 GB to 300 GB, without a restart")]


def test_the_gravest_reason_names_the_kind() -> None:
    found = edit("cores: 8, memory: 16384, disk: 100", "cores: 12, memory: 16384, disk: 64", "v1.12.4", "v1.12.6")
    assert [kind for kind, _ in told(found, "lab-worker1")] == ["refused", "restarted", "upgrade"]
    assert kinds(found) == {"lab-cp1": "upgrade", "lab-worker1": "refused"}
    assert found.refused
    assert list(found.counts) == ["refused", "upgrade"]
    assert set(KINDS) >= set(kinds(found).values())


def test_only_the_node_that_is_edited_changes() -> None:
    found = edit("nodePools: []", "nodePools: []\n    nodes: {lab-worker1: {resources: {memory: 8192}}}")
    assert kinds(found) == {"lab-cp1": "unchanged", "lab-worker1": "restarted"}
    assert found.keys == ("cluster.topology.nodes.lab-worker1",)
    assert of_the_cluster(found) == [("warning", "nothing drains lab-worker1 before the restart")]


def test_what_no_machine_follows_from() -> None:
    found = edit("gitops: {enabled: false}", "gitops: {enabled: false, flux: {branch: next}}")
    assert found.counts == {"unchanged": 2}
    assert found.keys == ("gitops.flux.branch",)


def test_more_and_fewer_workers() -> None:
    more = snapshot("workers:\n      count: 1", "workers:\n      count: 2")
    assert told(changes(snapshot(), more), "lab-worker2") == [
        ("created", "worker, VM 811 on pve2, 8 cores, 16 GB memory, 100 GB disk, 10.0.0.61")
    ]
    fewer = changes(more, snapshot())
    assert told(fewer, "lab-worker2") == [
        (
            "removed",
            "worker, VM 811 on pve2. Before the update: `kubectl drain lab-worker2`. "
            "After it: `kubectl delete node lab-worker2`.",
        )
    ]
    assert kinds(fewer) == {"lab-cp1": "unchanged", "lab-worker1": "unchanged", "lab-worker2": "removed"}


def test_a_machine_on_another_host() -> None:
    moved = ("nodePools: []", "nodePools: []\n    nodes: {lab-worker1: {node: pve2}}")
    gpu = ("pciDevices: []", "pciDevices: [{mapping: gpu}]")
    ha = ("cpuType: host", "cpuType: host, ha: true")
    assert told(edit(*moved), "lab-worker1")[0] == ("moved", "pve1 to pve2, with its local disks")
    with_gpu = changes(snapshot(*gpu), snapshot(*gpu, *moved))
    assert told(with_gpu, "lab-worker1")[0][1] == (
        "pve1 to pve2, if the mapping of its PCI devices allows live migration"
    )
    with_ha = changes(snapshot(*ha), snapshot(*ha, *moved))
    assert ("kept", "host pve1 to pve2, but Proxmox' HA manager decides where it runs") in told(with_ha, "lab-worker1")
    assert not any(node.has("moved") for node in with_ha.nodes)


def test_another_vm_id_is_another_machine() -> None:
    found = edit("nodePools: []", "nodePools: []\n    nodes: {lab-worker1: {vmId: 899}}")
    assert told(found, "lab-worker1") == [("replaced", "VM id 810 to 899")]
    assert not found.refused


def test_an_id_is_not_handed_from_one_machine_to_another() -> None:
    pool = "nodePools: [{{name: {}, count: 1, idBase: 850, ipRange: 10.0.0.90}}]"
    renamed = changes(snapshot("nodePools: []", pool.format("old")), snapshot("nodePools: []", pool.format("new")))
    assert told(renamed, "lab-new1")[0] == (
        "refused",
        "VM id 850 is lab-old1's when the update begins: first free it, with an update of its own",
    )
    assert kinds(renamed)["lab-old1"] == "removed"
    swapped = edit("nodePools: []", "nodePools: []\n    nodes: {lab-worker1: {vmId: 800}, lab-cp1: {vmId: 810}}")
    assert kinds(swapped) == {"lab-cp1": "refused", "lab-worker1": "refused"}
    assert told(swapped, "lab-cp1")[1] == ("replaced", "VM id 800 to 810")


THREE = ("controlPlane: {count: 1", "controlPlane: {count: 3")
FIVE = ("controlPlane: {count: 1", "controlPlane: {count: 5")


def test_fewer_control_planes_and_quorum() -> None:
    found = changes(snapshot(*THREE), snapshot())
    assert of_the_cluster(found) == [
        (
            "warning",
            "quorum: 1 of 3 members of etcd stay, and with less than 2 it stops. "
            "Before the update, one after another: `talosctl etcd leave` on lab-cp2, lab-cp3.",
        )
    ]
    assert told(found, "lab-cp3") == [
        (
            "removed",
            "control plane, VM 802 on pve1. Before the update: `talosctl etcd leave --nodes lab-cp3`. "
            "After it: `kubectl delete node lab-cp3`.",
        )
    ]
    assert of_the_cluster(changes(snapshot(*FIVE), snapshot(*THREE))) == [
        (
            "warning",
            "quorum: etcd goes on with 3 of 5 members, and counts the others until they leave. "
            "Before the update, one after another: `talosctl etcd leave` on lab-cp4, lab-cp5.",
        )
    ]
    assert of_the_cluster(changes(snapshot(), snapshot(*THREE))) == []


def test_the_only_control_plane_is_all_there_is() -> None:
    anew = edit("idBase: 800", "idBase: 801")
    assert of_the_cluster(anew) == [
        ("warning", "quorum: no member of etcd is left, and with the last one everything that Kubernetes knows is lost")
    ]
    assert ("warning", "the Kubernetes API is away while lab-cp1 restarts") in of_the_cluster(
        edit("memory: 8192", "memory: 4096")
    )


def test_control_planes_that_restart_together() -> None:
    old, new = snapshot(*THREE), snapshot(*THREE, "memory: 8192", "memory: 4096")
    ((kind, text),) = of_the_cluster(changes(old, new))
    assert kind == "warning"
    assert text.startswith(
        "quorum: lab-cp1, lab-cp2, lab-cp3 restart in one update, several at a time, and with less than 2 of 3 "
        "members etcd stops. Change one at a time"
    )
    one = snapshot(*THREE, "nodePools: []", "nodePools: []\n    nodes: {lab-cp2: {resources: {memory: 4096}}}")
    assert of_the_cluster(changes(old, one)) == []


def test_versions_that_cannot_be_reached() -> None:
    skipped = edit("version: v1.12.4", "version: v1.10.9", "version: 1.34.2", "version: 1.32.2")
    refusals = [text for kind, text in of_the_cluster(skipped) if kind == "refused"]
    assert [text.split(":")[0] for text in refusals] == [
        "Talos cannot go back from v1.12.4 to v1.10.9",
        "Kubernetes cannot go back from v1.34.2 to v1.32.2",
    ]
    assert skipped.refused
    assert not any(kind == "upgrade" for kind, _ in of_the_cluster(skipped))


def test_how_to_upgrade_talos() -> None:
    found = edit("version: v1.12.4", "version: v1.13.2")
    assert of_the_cluster(found) == [
        (
            "upgrade",
            "one node after another: `talosctl upgrade --nodes <node> --image "
            "factory.talos.dev/nocloud-installer/"
            "ce4c980550dd2ab1b17bbf2b08801c7eb59418eafe8f279833297925d67c7515:v1.13.2`",
        )
    ]
    # The image in the configuration follows from the version, and is not told a second time.
    assert told(found, "lab-worker1") == [("upgrade", "Talos v1.12.4 to v1.13.2")]


def test_the_same_image_from_elsewhere_is_no_upgrade() -> None:
    found = edit("secureboot: false", "secureboot: false\n    imageFactory: {registryURL: factory.lan}")
    assert told(found, "lab-worker1") == [("configured", "machine.install.image")]


def test_how_to_upgrade_kubernetes() -> None:
    found = edit("version: 1.34.2", "version: 1.35.1")
    assert of_the_cluster(found) == [
        (
            "warning",
            "Kubernetes 1.34.2 to 1.35.1 reaches all nodes at the same time. To go from node to node, run "
            "`talosctl upgrade-k8s --to 1.35.1` before the update.",
        )
    ]
    assert found.counts == {"configured": 2}


def test_kubernetes_does_not_follow_talos_by_itself() -> None:
    unnamed = ("version: 1.34.2, ", "")
    found = changes(snapshot(*unnamed), snapshot(*unnamed, "v1.12.4", "v1.13.2"))
    assert [reason.kind for reason in found.cluster] == ["upgrade"]
    assert found.counts == {"upgrade": 2}


@pytest.mark.parametrize(
    ("old", "new", "begins"),
    [
        ("diskEncryption: nodeID", "", "the disks of this cluster have the encryption `nodeID`."),
        ("secureboot: false", "secureboot: true", "this cluster was installed without Secure Boot"),
        ("bios: ovmf", "bios: seabios", "the machines of this cluster have the firmware ovmf"),
    ],
)
def test_what_machines_were_installed_with_stays(old: str, new: str, begins: str) -> None:
    found = edit(old, new)
    assert found.refused
    kind, text = of_the_cluster(found)[0]
    assert kind == "refused"
    assert text.startswith(begins)


def _patched(before: str, after: str, *edits: str) -> list[tuple[Kind, str]]:
    old = snapshot(*edits, patches={"lab-worker1": (before,) if before else ()})
    new = snapshot(*edits, patches={"lab-worker1": (after,) if after else ()})
    found = changes(old, new)
    assert kinds(found)["lab-cp1"] == "unchanged"
    return told(found, "lab-worker1")


@pytest.mark.parametrize(
    ("patch", "key"),
    [
        ("machine: {sysctls: {net.core.somaxconn: '1'}}", "machine.sysctls"),
        ("machine: {features: {kubePrism: {enabled: false}}}", "machine.features.kubePrism"),
        ("cluster: {apiServer: {disablePodSecurityPolicy: true}}", "cluster"),
        ("debug: true", "debug"),
        ("apiVersion: v1alpha1\nkind: KmsgLogConfig\nname: a\nurl: tcp://10.0.0.9:1", "KmsgLogConfig a"),
        ("apiVersion: v1alpha1\nkind: WatchdogTimerConfig\ndevice: /dev/watchdog0", "WatchdogTimerConfig"),
    ],
)
def test_what_talos_takes_over_while_it_runs(patch: str, key: str) -> None:
    assert _patched("", patch) == [("configured", key)]
    assert _patched(patch, "") == [("configured", key)]


def _schema_keys(*path: str) -> set[str]:
    """The keys that Talos knows below a key of the main document."""
    schema = json.loads(files("cluster_stack.plan").joinpath("data/talos-config.schema.json").read_text())
    found = schema["x-kinds"]["v1alpha1"]
    for key in ("", *path):
        found = found["properties"][key] if key else found
        found = schema["$defs"][found["$ref"].removeprefix("#/$defs/")] if "$ref" in found else found
    return set(found["properties"])


def test_every_key_that_talos_knows_is_live_or_not() -> None:
    def reboots(path: str) -> bool:
        nested = "x: 1"
        for key in reversed(path.split(".")):
            nested = f"{key}: {{{nested}}}"
        ((kind, _),) = _patched("", nested)
        return kind == "restarted"

    machine = _schema_keys("machine") - {"features"}
    assert {key for key in machine if reboots(f"machine.{key}")} == {
        "type",
        "token",
        "baseRuntimeSpecOverrides",
        "disks",
        "env",
        "files",
        "systemDiskEncryption",
        "udev",
    }
    features = _schema_keys("machine", "features")
    assert {key for key in features if reboots(f"machine.features.{key}")} == {
        "apidCheckExtKeyUsage",
        "diskQuotaSupport",
        "rbac",
        "stableHostname",
    }
    assert {key for key in _schema_keys() - {"machine"} if reboots(key)} == {"persist", "version"}


@pytest.mark.parametrize(
    ("patch", "key"),
    [
        ("machine: {files: [{path: /var/a, content: hunter2, op: create}]}", "machine.files"),
        ("machine: {env: {A: hunter2}}", "machine.env"),
        ("machine: {udev: {rules: [x]}}", "machine.udev"),
        ("machine: {features: {rbac: false}}", "machine.features.rbac"),
        ("persist: false", "persist"),
    ],
)
def test_what_talos_reboots_for(patch: str, key: str) -> None:
    at_once = ("restarted", f"{key}: Talos reboots for it at once, without a drain")
    assert _patched("", patch) == [at_once]
    assert _patched(patch, "") == [at_once]
    ((kind, text),) = _patched("", patch, "v1.12.4", "v1.13.2")
    assert kind == "restarted"
    assert text == (
        f"{key}: Talos needs a reboot for it. Where the cluster was made with Talos 1.13 or later, it refuses the "
        "change; where it was made with an older one, it reboots at once, without a drain"
    )


def test_no_value_of_a_patch_is_told() -> None:
    found = _patched("machine: {env: {A: hunter2}}", "machine: {env: {A: swordfish}, sysctls: {a: hunter2}}")
    assert found[0][1].startswith("machine.env.A: Talos reboots")
    assert not any(secret in text for _, text in found for secret in ("hunter2", "swordfish"))


def test_a_patch_that_says_the_same_elsewhere_changes_nothing() -> None:
    whole = "machine: {sysctls: {a: '1', b: '2'}, certSANs: [x, y]}"
    parts = "machine: {sysctls: {a: '1'}, certSANs: [x]}\n---\nmachine: {sysctls: {b: '2'}, certSANs: [y]}"
    assert _patched(whole, parts) == []
    assert _patched(whole, f"{parts}\n---\nmachine: {{sysctls: {{b: '3'}}}}") == [("configured", "machine.sysctls.b")]


def test_an_empty_key_changes_nothing() -> None:
    assert _patched("machine: {sysctls: {a: '1'}}", "machine: {sysctls: {a: '1'}}\n---\nmachine:\ncluster:") == []


def test_what_differs_within_a_list() -> None:
    names = ("machine: {certSANs: [a, b]}", "machine: {certSANs: [a, c, d]}")
    assert _patched(*names) == [("configured", "machine.certSANs[1], machine.certSANs[2]")]


def test_a_long_list_of_keys_is_cut() -> None:
    dozen = "machine: {sysctls: {" + ", ".join(f"k{number}: x" for number in range(12)) + "}}"
    assert _patched("machine: {sysctls: {}}", dozen)[0][1].endswith(", machine.sysctls.k11")
    many = "machine: {sysctls: {" + ", ".join(f"k{number}: x" for number in range(20)) + "}}"
    ((_, text),) = _patched("machine: {sysctls: {z: '1'}}", many)
    assert text.startswith("machine.sysctls.z, machine.sysctls.k0, ")
    assert text.endswith("machine.sysctls.k10 and 9 more")
