"""Pools, hosts, devices: do they go together?"""

from __future__ import annotations

from collections.abc import Iterator

from cluster_stack.config.document import Document, Path
from cluster_stack.config.models import ClusterConfig
from cluster_stack.config.models.topology import NodeOverride, Pool
from cluster_stack.config.problems import Problem
from cluster_stack.config.rules.repeats import repeats

CONTROL_PLANE_IDS = 10
"""Width of the block of VM ids that belongs to the control planes; workers begin behind it (the original's layout)."""

MOST_NODES = 5000
"""https://kubernetes.io/docs/setup/best-practices/cluster-large/"""

LARGEST_VM_ID = 999_999_999
LONGEST_NAME = 63
"""Of a machine: its name is a DNS label. Only those of further pools can be longer."""

RESERVED_POOL_NAMES = {"cp", "worker"}
"""Pools whose nodes would be called as the control planes or the workers are."""

_TOPOLOGY: Path = ("cluster", "topology")
_PROXMOX: Path = ("proxmox",)


def check(config: ClusterConfig, document: Document) -> Iterator[Problem]:
    yield from _control_plane_ids(config, document)
    too_many = list(_counts(config, document))
    yield from too_many or _largest_ids(config, document)
    yield from _pool_names(config, document)
    yield from _hosts(config, document)
    yield from _high_availability(config, document)
    yield from _memory(config, document)
    for path, group in config.groups():
        yield from _taints(group, path, document)
        yield from _volumes(config, group, path, document)
        yield from _pci(config, group, path, document)
        yield from _placed_on(config, group, path, document)


def _control_plane_ids(config: ClusterConfig, document: Document) -> Iterator[Problem]:
    count, base = config.cluster.topology.control_plane.count, config.proxmox.vm.id_base
    if count > CONTROL_PLANE_IDS:
        yield document.problem(
            (*_TOPOLOGY, "controlPlane", "count"),
            f"{count} control planes do not fit into the VM ids {base} to {base + CONTROL_PLANE_IDS - 1}, "
            f"workers begin at {base + CONTROL_PLANE_IDS}.",
            "Write 9 or less; more than 5 make etcd slower, not safer.",
        )


def _counts(config: ClusterConfig, document: Document) -> Iterator[Problem]:
    topology = config.cluster.topology
    counts: dict[Path, int] = {
        (*_TOPOLOGY, "controlPlane", "count"): topology.control_plane.count,
        (*_TOPOLOGY, "workers", "count"): topology.workers.count,
    }
    counts |= {(*_TOPOLOGY, "nodePools", index, "count"): pool.count for index, pool in enumerate(topology.node_pools)}
    total = sum(counts.values())
    if total > MOST_NODES:
        what = f"{total} nodes in all are more than Kubernetes is made for."
        yield document.problem(max(counts, key=counts.__getitem__), what, f"Write less: {MOST_NODES} in all at most.")


def _largest_ids(config: ClusterConfig, document: Document) -> Iterator[Problem]:
    topology, base = config.cluster.topology, config.proxmox.vm.id_base
    last: dict[Path, int] = {(*_PROXMOX, "vm", "idBase"): base + CONTROL_PLANE_IDS + topology.workers.count - 1}
    last |= {
        (*_TOPOLOGY, "nodePools", index, "idBase"): pool.id_base + pool.count - 1
        for index, pool in enumerate(topology.node_pools)
    }
    for path, number in last.items():
        if number > LARGEST_VM_ID:
            what = f"the last node would have the VM id {number}; Proxmox has ids up to {LARGEST_VM_ID}."
            yield document.problem(path, what, "Write a smaller id.")


def _pool_names(config: ClusterConfig, document: Document) -> Iterator[Problem]:
    pools = config.cluster.topology.node_pools
    path: Path = (*_TOPOLOGY, "nodePools")
    for index, name in repeats(pool.name for pool in pools):
        what = f"there is a pool called {name!r} already."
        yield document.problem((*path, index, "name"), what, "Write another name.")
    for index, pool in enumerate(pools):
        if pool.name in RESERVED_POOL_NAMES:
            what = f"nodes of a pool called {pool.name!r} would have the names of other nodes."
            yield document.problem((*path, index, "name"), what, "Write another name.")
        longest = f"{config.metadata.name}-{pool.name}{pool.count}"
        if len(longest) > LONGEST_NAME:
            what = f"{longest} has {len(longest)} characters, a machine's name has {LONGEST_NAME} at most."
            yield document.problem((*path, index, "name"), what, "Write a shorter name.")


def _hosts(config: ClusterConfig, document: Document) -> Iterator[Problem]:
    proxmox = config.proxmox
    if proxmox.node is None and not proxmox.nodes:
        fix = "Write `node: <name>` for one host, or `nodes: [<name>, <name>]`."
        yield document.problem(_PROXMOX, "neither node nor nodes is there.", fix)
    if proxmox.node is not None and proxmox.nodes:
        fix = "Keep `node` for one host, or `nodes` for several."
        yield document.problem((*_PROXMOX, "nodes"), "the hosts are there twice: here and as node.", fix)
    for index, name in repeats(host.name for host in proxmox.nodes):
        yield document.problem(
            (*_PROXMOX, "nodes", index), f"the host {name} is there already.", "Name each host once."
        )


def _high_availability(config: ClusterConfig, document: Document) -> Iterator[Problem]:
    vm, proxmox = config.proxmox.vm, config.proxmox
    if vm.ha_group and not vm.ha:
        fix = "Write `ha: true` beside it, or remove it."
        yield document.problem((*_PROXMOX, "vm", "haGroup"), "a group is of use only with ha.", fix)
    if vm.ha and proxmox.storage.datastore not in proxmox.storage.shared:
        yield document.problem(
            (*_PROXMOX, "vm", "ha"),
            f"a VM whose disk is on {proxmox.storage.datastore} cannot start on another host.",
            f"Write `shared: [{proxmox.storage.datastore}]` under proxmox.storage if all hosts share that storage, "
            "or remove ha.",
        )
    iso = proxmox.storage.iso_storage
    if vm.ha and iso is not None and iso not in proxmox.storage.shared:
        what = f"a VM with an ISO on {iso} in its drive cannot move to another host."
        fix = f"Add {iso} to proxmox.storage.shared if all hosts share it, or leave isoPath out, or remove ha."
        yield document.problem((*_PROXMOX, "storage", "isoPath"), what, fix)
    for path, group in config.groups() if vm.ha else ():
        for index, disk in enumerate(group.disks or ()):
            if disk.datastore is not None and disk.datastore not in proxmox.storage.shared:
                what = f"a VM with a disk on {disk.datastore} cannot start on another host."
                fix = f"Add {disk.datastore} to proxmox.storage.shared if all hosts share it, or remove proxmox.vm.ha."
                yield document.problem((*path, "disks", index, "datastore"), what, fix)


def _memory(config: ClusterConfig, document: Document) -> Iterator[Problem]:
    balloon = config.proxmox.vm.balloon
    topology = config.cluster.topology
    sizes = [group.resources.memory for group in (*topology.pools, *topology.nodes.values())]
    least = min(size for size in sizes if size is not None)
    if balloon > least:
        what = f"{balloon} MB is more than the {least} MB that some machines have."
        yield document.problem((*_PROXMOX, "vm", "balloon"), what, f"Write {least} or less, or 0.")


def _taints(group: Pool | NodeOverride, path: Path, document: Document) -> Iterator[Problem]:
    for index, key in repeats(taint.partition(":")[0].partition("=")[0] for taint in group.taints):
        what = f"there is a taint with the key {key} already."
        fix = "Talos sets one taint for each key: keep one of them."
        yield document.problem((*path, "taints", index), what, fix)


def _volumes(config: ClusterConfig, group: Pool | NodeOverride, path: Path, document: Document) -> Iterator[Problem]:
    everywhere = list(dict.fromkeys(volume.name for volume in config.volumes))
    places = [(index, disk.volume) for index, disk in enumerate(group.disks or ()) if disk.volume]
    for place, name in repeats([*everywhere, *(name for _, name in places)]):
        what = f"there is a volume called {name!r} already."
        index, _ = places[place - len(everywhere)]
        fix = "Write another name: it is the folder in /var/mnt."
        yield document.problem((*path, "disks", index, "volume"), what, fix)


def _pci(config: ClusterConfig, group: Pool | NodeOverride, path: Path, document: Document) -> Iterator[Problem]:
    for index, device in enumerate(group.pci_devices or ()):
        if device.pcie and config.cluster.talos.arch == "arm64":
            what = "Proxmox knows PCI Express devices only on the machine type q35, which arm64 has not."
            yield document.problem((*path, "pciDevices", index, "pcie"), what, "Write `pcie: false` here.")
        elif device.pcie and config.proxmox.vm.machine == "pc":
            what = "a PCI Express device needs the machine type q35."
            fix = "Write `machine: q35` under proxmox.vm or remove that key, or write `pcie: false` here."
            yield document.problem((*path, "pciDevices", index, "pcie"), what, fix)
        if config.proxmox.vm.ha:
            what = "a machine with a PCI device cannot move to another host."
            yield document.problem((*path, "pciDevices", index), what, "Remove proxmox.vm.ha.")


def _placed_on(config: ClusterConfig, group: Pool | NodeOverride, path: Path, document: Document) -> Iterator[Problem]:
    known = [host.name for host in config.hosts]
    if isinstance(group, NodeOverride):
        wanted: list[tuple[Path, str]] = [((*path, "node"), group.node)] if group.node else []
    else:
        wanted = [((*path, "placement", "nodes", index), name) for index, name in enumerate(group.placement.nodes)]
    for place, name in wanted:
        if name not in known:
            what = f"{name} is not among the hosts of this cluster."
            yield document.problem(place, what, f"Write {' or '.join(known)}, or name all hosts in proxmox.nodes.")
