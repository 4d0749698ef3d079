"""Addresses, networks, endpoints: do they go together?"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Network
from itertools import combinations, pairwise
from operator import itemgetter
from typing import Any

from cluster_stack.config.document import Document, Path, dotted
from cluster_stack.config.models import ClusterConfig
from cluster_stack.config.models.values import AddressRange
from cluster_stack.config.problems import Problem

DEFAULT_POD_SUBNETS = (IPv4Network("10.244.0.0/16"),)
DEFAULT_SERVICE_SUBNETS = (IPv4Network("10.96.0.0/12"),)
"""Talos' own defaults (``constants.DefaultIPv4PodNet``, ``DefaultIPv4ServiceNet`` of its machinery)."""

_NETWORK: Path = ("proxmox", "network")
_KUBERNETES: Path = ("cluster", "kubernetes")
_TOPOLOGY: Path = ("cluster", "topology")


def check(config: ClusterConfig, document: Document) -> Iterator[Problem]:
    if config.proxmox.network.cidr is None:
        yield from _only_static(config, document)
    else:
        yield from _static(config, document)
    yield from _ipv6(config, document)
    yield from _vip(config, document)
    yield from _cluster_networks(config, document)
    yield from _interfaces(config, document)
    yield from _pod_network(config, document)


Networks = Sequence[IPv4Network | IPv6Network]


def pod_subnets(config: ClusterConfig) -> Networks:
    return config.cluster.kubernetes.pod_subnets or DEFAULT_POD_SUBNETS


def service_subnets(config: ClusterConfig) -> Networks:
    return config.cluster.kubernetes.service_subnets or DEFAULT_SERVICE_SUBNETS


def _only_static(config: ClusterConfig, document: Document) -> Iterator[Problem]:
    network = config.proxmox.network
    given: list[tuple[Path, Any]] = [
        ((*_NETWORK, "gateway"), network.gateway),
        ((*_NETWORK, "ipRanges"), network.ip_ranges),
        ((*_NETWORK, "cidr6"), network.cidr6),
        ((*_NETWORK, "gateway6"), network.gateway6),
    ]
    given += [
        ((*_TOPOLOGY, "nodePools", index, "ipRange"), pool.ip_range)
        for index, pool in enumerate(config.cluster.topology.node_pools)
    ]
    for name, node in config.cluster.topology.nodes.items():
        given += [((*_TOPOLOGY, "nodes", name, "ipAddress"), node.ip_address)]
        given += [((*_TOPOLOGY, "nodes", name, "ipv6Address"), node.ipv6_address)]
    found = [path for path, value in given if value is not None]
    if len(found) > 1:
        others = f"{len(found) - 1} further {'key is' if len(found) == 2 else 'keys are'}"
        fix = f"{dotted(found[0])} and {others} only for static addresses: write the nodes' network, or remove them."
        yield document.problem(_NETWORK, "cidr is missing.", fix)
        return
    for path in found:
        fix = "Write proxmox.network.cidr beside it, or remove it."
        yield document.problem(path, "it is only for static addresses.", fix)
    if network.dhcp is False:
        what = "without DHCP, nodes have no address."
        yield document.problem((*_NETWORK, "dhcp"), what, "Write proxmox.network.cidr and ipRanges, or `dhcp: true`.")


def _static(config: ClusterConfig, document: Document) -> Iterator[Problem]:
    network, topology = config.proxmox.network, config.cluster.topology
    if config.platform != "nocloud":
        yield document.problem(
            (*_NETWORK, "cidr"),
            "static addresses need an image of the nocloud platform; a metal image asks DHCP.",
            "Write `platform: nocloud` under cluster.talos and name a nocloud ISO in proxmox.storage.isoPath, "
            "or remove isoPath.",
        )
    if network.dhcp:
        what = "nodes with static addresses do not ask DHCP."
        yield document.problem((*_NETWORK, "dhcp"), what, "Remove it, or remove proxmox.network.cidr.")
    if network.gateway is None:
        yield document.problem(_NETWORK, "gateway is missing.", "Static addresses need it: write the router's address.")
    else:
        yield from _usable(config, document, (*_NETWORK, "gateway"), network.gateway)
    ranges: list[tuple[Path, AddressRange]] = []
    if network.ip_ranges is None:
        yield document.problem(
            _NETWORK,
            "ipRanges is missing.",
            "Static addresses need it: write ipRanges.controlPlane and ipRanges.workers.",
        )
    else:
        path: Path = (*_NETWORK, "ipRanges", "controlPlane")
        ranges.append((path, network.ip_ranges.control_plane))
        yield from _range(config, document, path, network.ip_ranges.control_plane, topology.control_plane.count)
        if network.ip_ranges.workers is not None:
            path = (*_NETWORK, "ipRanges", "workers")
            ranges.append((path, network.ip_ranges.workers))
            yield from _range(config, document, path, network.ip_ranges.workers, topology.workers.count)
        elif topology.workers.count:
            fix = f"{topology.workers.count} workers need addresses: write a range."
            yield document.problem((*_NETWORK, "ipRanges"), "workers is missing.", fix)
    for index, pool in enumerate(topology.node_pools):
        path = (*_TOPOLOGY, "nodePools", index)
        if pool.ip_range is None:
            fix = f"{pool.count} nodes need addresses: write a range."
            yield document.problem(path, "ipRange is missing.", fix)
            continue
        ranges.append(((*path, "ipRange"), pool.ip_range))
        yield from _range(config, document, (*path, "ipRange"), pool.ip_range, pool.count)
    yield from _overlaps(ranges, document)
    for name, node in topology.nodes.items():
        if node.ip_address is not None:
            path = (*_TOPOLOGY, "nodes", name, "ipAddress")
            yield from _usable(config, document, path, node.ip_address, others=_taken(config))


def _range(config: ClusterConfig, document: Document, path: Path, span: AddressRange, count: int) -> Iterator[Problem]:
    cidr = config.proxmox.network.cidr
    assert cidr is not None
    if span.first not in cidr or span.last not in cidr:
        yield document.problem(path, f"{span} is not inside {cidr}.", "Write addresses of proxmox.network.cidr.")
    held = [f"{address} ({noun})" for noun, address in {**_ends(config), **_taken(config)}.items() if address in span]
    if held:
        yield document.problem(path, f"{span} holds {', '.join(held)}.", "Write a range without it.")
    if len(span) < count:
        yield document.problem(path, f"{span} holds {len(span)} addresses for {count} nodes.", "Write a longer range.")


def _overlaps(ranges: list[tuple[Path, AddressRange]], document: Document) -> Iterator[Problem]:
    # Where any two overlap, two neighbours do.
    in_order = sorted(enumerate(ranges), key=lambda item: item[1][1].first)
    for neighbours in pairwise(in_order):
        (_, (_, first)), (_, (path, second)) = sorted(neighbours, key=itemgetter(0))
        if first.overlaps(second):
            yield document.problem(path, f"{second} overlaps the range {first}.", "Write two ranges apart.")


Reserved = dict[str, IPv4Address]
"""Addresses that are not to be had, by what they are."""


def _usable(
    config: ClusterConfig, document: Document, path: Path, address: IPv4Address, others: Reserved | None = None
) -> Iterator[Problem]:
    """Is an address one of the nodes' network, and free?"""
    cidr = config.proxmox.network.cidr
    assert cidr is not None
    if address not in cidr:
        yield document.problem(path, f"{address} is not inside {cidr}.", "Write an address of proxmox.network.cidr.")
    for noun, taken in {**_ends(config), **(others or {})}.items():
        if address == taken:
            yield document.problem(path, f"{address} is {noun}.", "Write another address.")


def _ends(config: ClusterConfig) -> Reserved:
    cidr = config.proxmox.network.cidr
    assert cidr is not None
    return {"the network's own address": cidr.network_address, "the broadcast address": cidr.broadcast_address}


def _taken(config: ClusterConfig) -> Reserved:
    taken = {"the gateway": config.proxmox.network.gateway, "the vip": config.cluster.kubernetes.vip}
    return {noun: address for noun, address in taken.items() if address is not None}


def _ipv6(config: ClusterConfig, document: Document) -> Iterator[Problem]:
    network = config.proxmox.network
    if network.cidr is None:
        return
    if network.cidr6 is None:
        if network.gateway6 is not None:
            fix = "Write the nodes' IPv6 network beside it, or remove it."
            yield document.problem((*_NETWORK, "gateway6"), "cidr6 is missing.", fix)
    else:
        gateway = network.gateway6
        if gateway is not None and gateway not in network.cidr6 and not gateway.is_link_local:
            what = f"the gateway {gateway} is neither inside {network.cidr6} nor link-local."
            yield document.problem((*_NETWORK, "gateway6"), what, "Write the router's address in that network.")
        if network.cidr6.num_addresses < network.cidr.num_addresses:
            what = f"{network.cidr6} has fewer addresses than {network.cidr}."
            yield document.problem((*_NETWORK, "cidr6"), what, "Write a /64.")
            return
    for name, node in config.cluster.topology.nodes.items():
        if node.ipv6_address is None:
            continue
        path = (*_TOPOLOGY, "nodes", name, "ipv6Address")
        if network.cidr6 is None:
            fix = "Write proxmox.network.cidr6, or remove it."
            yield document.problem(path, "it is only with static IPv6 addresses.", fix)
        elif node.ipv6_address not in network.cidr6:
            what = f"{node.ipv6_address} is not inside {network.cidr6}."
            yield document.problem(path, what, "Write an address of proxmox.network.cidr6.")


def _vip(config: ClusterConfig, document: Document) -> Iterator[Problem]:
    vip, network = config.cluster.kubernetes.vip, config.proxmox.network
    if vip is None or network.cidr is None:
        return
    gateway = {"the gateway": network.gateway} if network.gateway else {}
    yield from _usable(config, document, (*_KUBERNETES, "vip"), vip, others=gateway)


def _cluster_networks(config: ClusterConfig, document: Document) -> Iterator[Problem]:
    nodes = (config.proxmox.network.cidr, config.proxmox.network.cidr6)
    pods, services = pod_subnets(config), service_subnets(config)
    default = {
        "the pods' network": "" if config.cluster.kubernetes.pod_subnets else " (the default)",
        "the services' network": "" if config.cluster.kubernetes.service_subnets else " (the default)",
    }
    found = [(_NETWORK, "the nodes' network", network) for network in nodes if network]
    found += [((*_KUBERNETES, "podSubnets"), "the pods' network", network) for network in pods]
    found += [((*_KUBERNETES, "serviceSubnets"), "the services' network", network) for network in services]
    for (_, noun, network), (path, own, other) in combinations(found, 2):
        if noun != own and network.version == other.version and network.overlaps(other):
            what = f"{other}{default[own]} overlaps {noun} {network}{default.get(noun, '')}."
            yield document.problem(path, what, "Write networks apart.")
    yield from _families(pods, services, document)
    for network in services:
        # kube-apiserver refuses more (--service-cluster-ip-range: at most 20 bits).
        if network.max_prefixlen - network.prefixlen > 20:
            what = f"{network} has more addresses than Kubernetes allows for services."
            fix = f"Write a /{network.max_prefixlen - 20} or a smaller network."
            yield document.problem((*_KUBERNETES, "serviceSubnets"), what, fix)
        # The tenth address is that of the cluster's DNS.
        if network.max_prefixlen - network.prefixlen < 4:
            what = f"{network} has fewer addresses than Kubernetes and its DNS need for services."
            fix = f"Write a /{network.max_prefixlen - 4} or a larger network."
            yield document.problem((*_KUBERNETES, "serviceSubnets"), what, fix)


def _families(pods: Networks, services: Networks, document: Document) -> Iterator[Problem]:
    twice = [
        (key, networks)
        for key, networks in (("podSubnets", pods), ("serviceSubnets", services))
        if len(networks) == 2 and networks[0].version == networks[1].version
    ]
    for key, networks in twice:
        what = f"there are two IPv{networks[0].version} networks."
        yield document.problem((*_KUBERNETES, key), what, "Write one network, or one of IPv4 and one of IPv6.")
    if not twice and [network.version for network in pods] != [network.version for network in services]:
        what = "pods and services are not of the same address families, in the same order."
        fix = "Write one network each, or IPv4 and IPv6 in both podSubnets and serviceSubnets."
        yield document.problem((*_KUBERNETES, "serviceSubnets"), what, fix)


def _interfaces(config: ClusterConfig, document: Document) -> Iterator[Problem]:
    if config.platform == "nocloud":
        return
    for path, group in config.groups():
        if group.network_interfaces:
            what = "on the metal platform nobody knows the names of several network cards."
            fix = "Write `platform: nocloud` under cluster.talos, which calls them eth0, eth1 and so on."
            yield document.problem((*path, "networkInterfaces"), what, fix)


def _pod_network(config: ClusterConfig, document: Document) -> Iterator[Problem]:
    cni = config.cluster.cni
    path: Path = ("cluster", "cni")
    flannel = cni.name == "flannel"
    if flannel and cni.values_file is not None and not cni.kube_proxy:
        what = "the pod network is flannel, which takes no Helm values and does not replace kube-proxy."
        yield document.problem((*path, "name"), what, "Write `name: cilium`.")
    elif cni.values_file is not None and cni.name != "cilium":
        fix = "Write `name: cilium`, or remove it."
        yield document.problem((*path, "valuesFile"), f"{cni.name} takes no Helm values.", fix)
    elif flannel and not cni.kube_proxy:
        what = "flannel does not replace kube-proxy."
        yield document.problem((*path, "kubeProxy"), what, "Remove it, or write `name: cilium` or `none`.")
