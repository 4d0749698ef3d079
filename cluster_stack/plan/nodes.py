"""The nodes of a cluster: names, VM ids, sizes, tags, addresses.

A node's name, id and address depend on its role and number alone, so that a changed count never moves another node.
"""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Interface
from typing import Literal

from cluster_stack.config import ClusterConfig
from cluster_stack.config.models import AddressRange, ControlPlaneResources, WorkerResources
from cluster_stack.config.rules import CONTROL_PLANE_IDS

Role = Literal["controlplane", "worker"]
"""Talos' own words for the two machine types."""

_NAME_SUFFIX: dict[Role, str] = {"controlplane": "cp", "worker": "worker"}
_TAG: dict[Role, str] = {"controlplane": "control-plane", "worker": "worker"}


@dataclass(frozen=True, kw_only=True)
class StaticAddress:
    """An address with its network, the router, and the DNS servers."""

    interface: IPv4Interface
    gateway: IPv4Address
    nameservers: tuple[IPv4Address, ...]


@dataclass(frozen=True, kw_only=True)
class NodePlan:
    """One machine, as it is to be."""

    name: str
    role: Role
    vm_id: int
    host: str
    """Proxmox host."""
    cores: int
    memory: int
    """MB."""
    disk: int
    """GB."""
    tags: tuple[str, ...]
    address: StaticAddress | None
    """None: DHCP decides, and the guest agent tells."""


def plan_nodes(config: ClusterConfig) -> tuple[NodePlan, ...]:
    """All nodes of the cluster, control planes first, each role in the order of its numbers."""
    topology = config.cluster.topology
    ranges = config.proxmox.network.ip_ranges
    control_planes = (
        _node(config, "controlplane", index, topology.control_plane.resources, ranges.control_plane if ranges else None)
        for index in range(topology.control_plane.count)
    )
    workers = (
        _node(config, "worker", index, topology.workers.resources, ranges.workers if ranges else None)
        for index in range(topology.workers.count)
    )
    return (*control_planes, *workers)


def _node(
    config: ClusterConfig,
    role: Role,
    index: int,
    resources: ControlPlaneResources | WorkerResources,
    addresses: AddressRange | None,
) -> NodePlan:
    offset = 0 if role == "controlplane" else CONTROL_PLANE_IDS
    environment = config.metadata.environment
    return NodePlan(
        name=f"{config.metadata.name}-{_NAME_SUFFIX[role]}{index + 1}",
        role=role,
        vm_id=config.proxmox.vm.id_base + offset + index,
        host=config.proxmox.node,
        cores=resources.cores,
        memory=resources.memory,
        disk=resources.disk,
        # Proxmox keeps tags sorted; in any other order every preview would show a change.
        tags=tuple(sorted({"talos", _TAG[role], *([environment] if environment else [])})),
        address=_static(config, addresses, index),
    )


def _static(config: ClusterConfig, addresses: AddressRange | None, index: int) -> StaticAddress | None:
    network = config.proxmox.network
    if network.cidr is None or network.gateway is None or addresses is None:
        return None
    return StaticAddress(
        interface=IPv4Interface(f"{addresses[index]}/{network.cidr.prefixlen}"),
        gateway=network.gateway,
        nameservers=tuple(network.nameservers),
    )
