"""Is what follows from one cluster.yaml possible? Ids, addresses, capacities, nodes that are named but not there."""

from __future__ import annotations

import difflib
from collections import defaultdict
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from pathlib import Path as FilePath

from cluster_stack.config import ClusterFile, Problem
from cluster_stack.config.models.proxmox import Host
from cluster_stack.config.models.topology import NodeOverride, Pool
from cluster_stack.plan.extensions import GUEST_AGENT, meant_as_guest_agent
from cluster_stack.plan.nodes import NodePlan, Path

_TOPOLOGY: Path = ("cluster", "topology")
_LEAST_CONTROL_PLANE = {"cores": 2, "memory": 2048}
"""What Talos asks for on a control plane, for the resources that one node has otherwise than its pool."""


def check(file: ClusterFile, nodes: Sequence[NodePlan], root: FilePath) -> Iterator[Problem]:
    """Yield every problem of one cluster's nodes, in the project at ``root``."""
    yield from _files(file, root)
    yield from _named_nodes(file, nodes)
    yield from _small_control_planes(file, nodes)
    yield from _unique(file, nodes)
    yield from _ipv6_of_the_network(file, nodes)
    yield from _agent(file, nodes)
    yield from capacity(file, [(file, node) for node in nodes])


def _files(file: ClusterFile, root: FilePath) -> Iterator[Problem]:
    """Files that the file names."""
    config = file.config
    values, folder = config.cluster.cni.values_file, root / "clusters" / config.metadata.name
    if values is None:
        return
    if not (folder / values).resolve().is_relative_to(folder.resolve()):
        # A change of it would not be one of this cluster to whoever compares commits.
        what = f"{values} is outside the cluster's folder."
        yield file.problem("cluster.cni.valuesFile", what, f"Put it into clusters/{config.metadata.name}.")
    elif not (folder / values).is_file():
        fix = f"Write it, as clusters/{config.metadata.name}/{values}."
        yield file.problem("cluster.cni.valuesFile", f"there is no file {values!r} beside cluster.yaml.", fix)


def _named_nodes(file: ClusterFile, nodes: Sequence[NodePlan]) -> Iterator[Problem]:
    names = [node.name for node in nodes]
    topology = file.config.cluster.topology
    places: list[tuple[Path, str]] = [((*_TOPOLOGY, "nodes", name), name) for name in topology.nodes]
    places += [
        (("lifecycle", "allowReplace", index), name) for index, name in enumerate(file.config.lifecycle.allow_replace)
    ]
    for path, name in places:
        if name not in names:
            near = difflib.get_close_matches(name, names, n=1)
            hint = f"Did you mean {near[0]}? " if near else ""
            fix = f"{hint}Nodes of this cluster: {_listed(names)}."
            yield file.problem(path, f"there is no node {name!r}.", fix)


def _small_control_planes(file: ClusterFile, nodes: Sequence[NodePlan]) -> Iterator[Problem]:
    for node in nodes:
        if node.role != "controlplane":
            continue
        for key, least in _LEAST_CONTROL_PLANE.items():
            found = getattr(node, key)
            if found < least:
                path = (*_TOPOLOGY, "nodes", node.name, "resources", key)
                what = f"{found} is too small for a control plane."
                yield file.problem(path, what, f"Talos asks for {least} at least: write {least} or more.")


def place_of(file: ClusterFile, node: NodePlan, key: str) -> Path:
    """Where cluster.yaml decides a node's ``key`` (a field of ``NodeOverride``): at the node itself, or at its pool."""
    topology = file.config.cluster.topology
    override = topology.nodes.get(node.name)
    if override is not None and key in override.model_fields_set:
        return (*_TOPOLOGY, "nodes", node.name, NodeOverride.model_fields[key].alias or key)
    if node.pool is not None:
        index = [pool.name for pool in topology.node_pools].index(node.pool)
        path: Path = (*_TOPOLOGY, "nodePools", index)
        own = {"vm_id": "idBase", "ip_address": "ipRange"}
    else:
        kind = "controlPlane" if node.role == "controlplane" else "workers"
        if key == "vm_id":
            return ("proxmox", "vm", "idBase")
        if key == "ip_address":
            return ("proxmox", "network", "ipRanges", kind)
        path, own = (*_TOPOLOGY, kind), {}
    field = Pool.model_fields.get(key)
    return (*path, own.get(key) or (field and field.alias) or "count")


Trait = Callable[[NodePlan], Hashable | None]
"""What no two nodes may share; None: nothing to compare."""

TRAITS: Mapping[str, tuple[str, str, Trait]] = {
    "VM id": ("vm_id", "Write ids that are free.", lambda node: node.vm_id),
    "address": (
        "ip_address",
        "Write an address that is free.",
        lambda node: node.address.interface.ip if node.address else None,
    ),
    "IPv6 address": (
        "ipv6_address",
        "Write an address that is free.",
        lambda node: node.address.interface6.ip if node.address and node.address.interface6 else None,
    ),
    "MAC address": ("mac_address", "Write another one.", lambda node: node.cards[0].mac),
}
"""What is compared, in words -> (the key that decides it for one node, what to do, how it is read)."""


def is_echo(noun: str, first: NodePlan, second: NodePlan) -> bool:
    """Do two nodes share something because they share something else, which is told already?"""
    if noun != "IPv6 address" or first.address is None or second.address is None:
        return False
    return first.address.interface.ip == second.address.interface.ip


def _unique(file: ClusterFile, nodes: Sequence[NodePlan]) -> Iterator[Problem]:
    for noun, (key, fix, trait) in TRAITS.items():
        owners: dict[Hashable, list[NodePlan]] = defaultdict(list)
        for node in nodes:
            if (value := trait(node)) is not None:
                owners[value].append(node)
        told: set[Path] = set()
        for value, sharing in owners.items():
            if len(sharing) < 2 or is_echo(noun, sharing[0], sharing[-1]):
                continue
            # The one that was written down for a node, or comes last, is the one to change.
            by_path = sorted(sharing, key=lambda node: "nodes" in place_of(file, node, key))
            path = place_of(file, by_path[-1], key)
            if path not in told:
                told.add(path)
                what = f"{noun} {value} would be both {by_path[0].name}'s and {by_path[-1].name}'s."
                yield file.problem(path, what, fix)


def _ipv6_of_the_network(file: ClusterFile, nodes: Sequence[NodePlan]) -> Iterator[Problem]:
    """A node's IPv6 address follows from its IPv4 address, so it can be one that is the network's."""
    network = file.config.proxmox.network
    if network.cidr6 is None:
        return
    reserved = {network.cidr6.network_address: "the network's own address", network.gateway6: "the gateway"}
    for node in nodes:
        address = node.address.interface6.ip if node.address and node.address.interface6 else None
        if address is not None and address in reserved:
            what = f"the IPv6 address of {node.name}, {address}, is {reserved[address]}."
            override = file.config.cluster.topology.nodes.get(node.name)
            written = "ipv6_address" if override and override.ipv6_address else "ip_address"
            yield file.problem(place_of(file, node, written), what, "Write another address.")


def _agent(file: ClusterFile, nodes: Sequence[NodePlan]) -> Iterator[Problem]:
    silent = [node for node in nodes if node.address is None and not node.guest_agent]
    if silent:
        what = f"nobody would tell the address that DHCP gives {_listed([node.name for node in silent])}."
        schematic, fix = "schematic", f"Add {GUEST_AGENT} to its officialExtensions"
        if file.config.cluster.talos.factory_schematic:
            schematic, fix = "factorySchematic", f"Write the id of a schematic with {GUEST_AGENT}"
        elif misspelt := meant_as_guest_agent(silent[0].schematic.extensions or ()):
            fix = f"Write {GUEST_AGENT} instead of {misspelt}"
        fix += ", or give static addresses with proxmox.network.cidr."
        yield file.problem(("cluster", "talos", schematic), what, fix)


def capacity(file: ClusterFile, machines: Sequence[tuple[ClusterFile, NodePlan]]) -> Iterator[Problem]:
    """What the hosts of ``file`` are said to have, against ``machines``: those of this cluster, or of several."""
    hosts = {host.name: host for host in file.config.hosts}
    by_host: dict[str, list[tuple[ClusterFile, NodePlan]]] = defaultdict(list)
    for owner, node in machines:
        by_host[node.host].append((owner, node))
    for index, host in enumerate(hosts.values()):
        path: Path = ("proxmox", "nodes", index)
        placed = by_host[host.name]
        yield from _cores(file, path, host, [node for owner, node in placed if owner is file])
        clusters = sorted({owner.config.metadata.name for owner, _ in placed})
        among = f" in the clusters {', '.join(clusters)}" if len(clusters) > 1 else ""
        for key, unit, has, wanted in (
            ("memory", "MB", host.memory, sum(node.memory for _, node in placed)),
            ("disk", "GB", host.disk, sum(_disk(node) for _, node in placed)),
        ):
            if has is not None and wanted > has:
                what = f"{host.name} has {has} {unit}, its {len(placed)} machines{among} want {wanted} {unit}."
                fix = "Make some smaller, name another host, or place them elsewhere (placement.nodes)."
                yield file.problem((*path, key), what, fix)


def _cores(file: ClusterFile, path: Path, host: Host, nodes: Sequence[NodePlan]) -> Iterator[Problem]:
    if host.cores is None:
        return
    large = [node for node in nodes if node.cpus > host.cores]
    if large:
        what = f"{host.name} has {host.cores} cores, {large[0].name} wants {large[0].cpus}."
        yield file.problem((*path, "cores"), what, "Write fewer cores for that node, or place it elsewhere.")


def _disk(node: NodePlan) -> int:
    return node.disk + sum(disk.size for disk in node.extra_disks)


def _listed(names: Sequence[str]) -> str:
    shown = list(names[:12])
    return ", ".join(shown) + (f" and {len(names) - len(shown)} more" if len(names) > len(shown) else "")
