"""Do the clusters of one project stand in each other's way?

VM ids, placement and capacity count per Proxmox; addresses and names count where the clusters are on one network, which
is what the same Proxmox, or overlapping networks, say.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network
from urllib.parse import urlsplit

from cluster_stack.config import ClusterConfig, ClusterFile, Problem
from cluster_stack.config.rules.network import pod_subnets, service_subnets
from cluster_stack.plan.checks import TRAITS, capacity, is_echo, place_of
from cluster_stack.plan.nodes import NodePlan, Path

Api = tuple[str, int]
"""Host and port of a Proxmox API, however its address is written."""


@dataclass(frozen=True)
class Member:
    """One cluster of the project, read and planned."""

    file: ClusterFile
    nodes: tuple[NodePlan, ...]

    @property
    def name(self) -> str:
        return self.file.config.metadata.name


class Neighbourhood:
    """All clusters of a project, indexed once, so that each of them is compared in the time that its own nodes take."""

    def __init__(self, members: Sequence[Member]) -> None:
        self._members = members
        self._owners: dict[tuple[str, Hashable], list[tuple[Member, NodePlan]]] = defaultdict(list)
        self._machines: dict[Api, list[tuple[ClusterFile, NodePlan]]] = defaultdict(list)
        for member in members:
            self._machines[_proxmox(member)] += [(member.file, node) for node in member.nodes]
            for noun, (_, _, trait) in TRAITS.items():
                for node in member.nodes:
                    if (value := trait(node)) is not None:
                        self._owners[noun, value].append((member, node))

    def collisions(self, mine: Member) -> Iterator[Problem]:
        """Problems of one cluster with the others, each told at the key of its file that decides it."""
        for noun in TRAITS:
            yield from self._shared(mine, noun)
        for other in self._members:
            if other is not mine:
                yield from _vip(mine, other)
                yield from _talos_name(mine, other)
                yield from _cluster_networks(mine, other)
        everyone = self._machines[_proxmox(mine)]
        if len(everyone) > len(mine.nodes):
            alone = {problem.key for problem in capacity(mine.file, [(mine.file, node) for node in mine.nodes])}
            yield from (problem for problem in capacity(mine.file, everyone) if problem.key not in alone)

    def _shared(self, mine: Member, noun: str) -> Iterator[Problem]:
        key, _, trait = TRAITS[noun]
        told: set[Path] = set()
        for node in mine.nodes:
            value = trait(node)
            for other, theirs in self._owners.get((noun, value), ()) if value is not None else ():
                if other is mine or not _meet(noun, mine, other) or is_echo(noun, node, theirs):
                    continue
                path = place_of(mine.file, node, key)
                if path not in told:
                    told.add(path)
                    what = f"{noun} {value} would be both {node.name} and {theirs.name} (clusters/{other.name})."
                    yield mine.file.problem(path, what, _fix(noun, other, path))


def _proxmox(member: Member) -> Api:
    url = urlsplit(member.file.config.proxmox.endpoint)
    return (url.hostname or "", url.port or 443)


def _meet(noun: str, first: Member, second: Member) -> bool:
    """Would the two have the same VM id in one Proxmox, or the same address on one network?"""
    if _proxmox(first) == _proxmox(second):
        return True
    return noun != "VM id" and _same_network(first.file.config, second.file.config)


def _same_network(first: ClusterConfig, second: ClusterConfig) -> bool:
    left, right = first.proxmox.network.cidr, second.proxmox.network.cidr
    return left is not None and right is not None and left.overlaps(right)


def _fix(noun: str, other: Member, path: Path) -> str:
    if noun == "VM id":
        ids = [node.vm_id for node in other.nodes]
        wanted = "an id that is free" if path[-1] == "vmId" else "an idBase that leaves room"
        return f"Write {wanted}: {other.name} has {min(ids)} to {max(ids)}."
    if noun == "address":
        taken = [node.address.interface.ip for node in other.nodes if node.address]
        return f"Write other addresses: {other.name} has {min(taken)} to {max(taken)}."
    return TRAITS[noun][1]


def _vip(mine: Member, other: Member) -> Iterator[Problem]:
    if not _meet("vip", mine, other):
        return
    vip, path = mine.file.config.cluster.kubernetes.vip, ("cluster", "kubernetes", "vip")
    theirs = other.file.config.cluster.kubernetes.vip
    if vip is not None and vip == theirs:
        what = f"{vip} is the vip of clusters/{other.name} too."
        yield mine.file.problem(path, what, "Write an address that is free.")
    for node in other.nodes if vip is not None else ():
        if node.address is not None and node.address.interface.ip == vip:
            what = f"{vip} is the address of {node.name} (clusters/{other.name})."
            yield mine.file.problem(path, what, "Write an address that is free.")
    for node in mine.nodes if theirs is not None else ():
        if node.address is not None and node.address.interface.ip == theirs:
            what = f"{theirs} would be {node.name}'s, and is the vip of clusters/{other.name}."
            yield mine.file.problem(place_of(mine.file, node, "ip_address"), what, "Write an address that is free.")


def _talos_name(mine: Member, other: Member) -> Iterator[Problem]:
    config = mine.file.config
    if config.talos_cluster_name == other.file.config.talos_cluster_name:
        path = ("cluster", "talos", "clusterName")
        what = f"clusters/{other.name} is called {config.talos_cluster_name!r} inside Talos and Kubernetes too."
        fix = "Write another name: both would be the same context in talosconfig and kubeconfig."
        yield mine.file.problem(path, what, fix)


def _cluster_networks(mine: Member, other: Member) -> Iterator[Problem]:
    """Pods and services that are somebody's nodes: the nodes of that cluster could not be reached from here."""
    network = other.file.config.proxmox.network
    lans: list[IPv4Network | IPv6Network] = [found for found in (network.cidr, network.cidr6) if found]
    for key, subnets in (
        ("podSubnets", pod_subnets(mine.file.config)),
        ("serviceSubnets", service_subnets(mine.file.config)),
    ):
        for subnet in subnets:
            for lan in lans:
                if subnet.version == lan.version and subnet.overlaps(lan):
                    what = f"{subnet} overlaps the network of the nodes of clusters/{other.name}, {lan}."
                    yield mine.file.problem(("cluster", "kubernetes", key), what, "Write networks apart.")
