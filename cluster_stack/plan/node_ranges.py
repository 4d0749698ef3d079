"""Does every node get its range of the pods' network?

The controller manager of Kubernetes cuts each of ``podSubnets`` into ranges of one size, and gives every Node one of
each. Source: ``setNodeCIDRMaskSizes`` and the packages ``nodeipam`` and ``cidrset`` of Kubernetes 1.36.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network, ip_network
from typing import Any

from cluster_stack.config import ClusterConfig, ClusterFile, Problem
from cluster_stack.config.document import Path
from cluster_stack.config.rules.network import pod_subnets
from cluster_stack.plan.nodes import NodePlan

Network = IPv4Network | IPv6Network
Documents = Sequence[Mapping[str, Any]]
"""The user's patches of one node, one after the other."""

_RANGE_LENGTHS = {4: 24, 6: 64}
_MOST_BITS_OF_IPV6 = 16
"""The controller manager keeps a bit for each range of an IPv6 network, and takes no more than these."""

_POD_SUBNETS: Path = ("cluster", "kubernetes", "podSubnets")


@dataclass(frozen=True)
class _Ranges:
    """How a control plane hands out ranges."""

    networks: tuple[Network, ...]
    arguments: Mapping[str, str]
    """Of the controller manager."""

    @property
    def are_handed_out(self) -> bool:
        return self.arguments.get("allocate-node-cidrs", "true") != "false"

    def length(self, network: Network) -> int:
        """The prefix length of a node's range."""
        of_family = self.arguments.get(f"node-cidr-mask-size-ipv{network.version}")
        given = of_family or self.arguments.get("node-cidr-mask-size") or ""
        return int(given) if given.isdigit() else _RANGE_LENGTHS[network.version]


def check(file: ClusterFile, nodes: Sequence[NodePlan], patches: Mapping[str, Documents]) -> Iterator[Problem]:
    """``patches`` has the user's patches by the name of the node."""
    for ranges in _of_control_planes(file.config, nodes, patches):
        for network in ranges.networks:
            yield from _unusable(file, network, ranges.length(network))
            if file.config.cluster.cni.name == "flannel":
                yield from _too_few(file, len(nodes), network, ranges.length(network))


def warnings(file: ClusterFile, nodes: Sequence[NodePlan], patches: Mapping[str, Documents]) -> Iterator[Problem]:
    """Another pod network than flannel may have a way of its own to give pods addresses, or go by these ranges."""
    if file.config.cluster.cni.name != "flannel":
        for ranges in _of_control_planes(file.config, nodes, patches):
            for network in ranges.networks:
                yield from _too_few(file, len(nodes), network, ranges.length(network))


def _unusable(file: ClusterFile, network: Network, length: int) -> Iterator[Problem]:
    if network.prefixlen > length:
        what = f"{network} is smaller than the /{length} that each node takes of it."
        fix = f"Write a larger network: one /{length} for each node."
        yield file.problem(_POD_SUBNETS, what, fix)
    elif network.version == 6 and length - network.prefixlen > _MOST_BITS_OF_IPV6:
        what = f"{network} is larger than Kubernetes takes, with a /{length} for each node."
        fix = f"Write a /{length - _MOST_BITS_OF_IPV6} or a smaller network."
        yield file.problem(_POD_SUBNETS, what, fix)


def _too_few(file: ClusterFile, nodes: int, network: Network, length: int) -> Iterator[Problem]:
    bits = length - network.prefixlen
    if bits >= 0 and nodes > 1 << bits:
        ranges = "1 node" if bits == 0 else f"{1 << bits} nodes"
        what = f"{network} is enough for {ranges}, and there are {nodes}: each takes a /{length} of it."
        enough = length - (nodes - 1).bit_length()
        yield file.problem(_POD_SUBNETS, what, f"Write a /{enough} or a larger network.")


def _of_control_planes(
    config: ClusterConfig, nodes: Sequence[NodePlan], patches: Mapping[str, Documents]
) -> Iterator[_Ranges]:
    """Each way that differs. Control planes whose patches differ would hand out ranges by the one that leads."""
    found: list[_Ranges] = []
    for node in nodes:
        if node.role == "controlplane":
            ranges = _ranges(config, patches.get(node.name, ()))
            if ranges.are_handed_out and ranges not in found:
                found.append(ranges)
    yield from found


def _ranges(config: ClusterConfig, documents: Documents) -> _Ranges:
    networks: Sequence[Network] = pod_subnets(config)
    arguments: dict[str, str] = {}
    for document in documents:
        given = _below(document, "cluster", "controllerManager", "extraArgs")
        arguments |= {name: _text(value) for name, value in given.items()}
        subnets = _below(document, "cluster", "network").get("podSubnets")
        if isinstance(subnets, list):  # Talos replaces the list, it does not add to it
            networks = _networks(subnets)
    return _Ranges(tuple(networks), arguments)


def _below(document: Mapping[str, Any], *path: str) -> Mapping[str, Any]:
    """A mapping in a patch; an empty one where it is not there. What else is wrong with it, others say."""
    found: Any = document
    for key in path:
        found = found.get(key) if isinstance(found, Mapping) else None
    return found if isinstance(found, Mapping) else {}


def _text(value: object) -> str:
    """An argument may be written several times, as a list: the last one counts."""
    last = value[-1] if isinstance(value, list) and value else value
    return str(last).lower() if isinstance(last, bool) else str(last)


def _networks(subnets: Sequence[object]) -> list[Network]:
    found: list[Network] = []
    for subnet in subnets:
        try:
            found.append(ip_network(str(subnet), strict=False))
        except ValueError:
            continue  # Talos refuses it
    return found
