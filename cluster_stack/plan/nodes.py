"""The nodes of a cluster: names, VM ids, hosts, sizes, tags, addresses, devices.

A node's name, id and address depend on its pool and number alone, so that a changed count never moves another node.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from ipaddress import IPv4Address, IPv4Interface, IPv6Address, IPv6Interface
from typing import Any, Literal

from cluster_stack.config import ClusterConfig
from cluster_stack.config.models.topology import (
    ControlPlane,
    ControlPlaneResources,
    DataDisk,
    NetworkInterface,
    NodeOverride,
    NodePool,
    NodeResources,
    PciDevice,
    WorkerResources,
    Workers,
)
from cluster_stack.config.models.values import AddressRange
from cluster_stack.config.rules.machines import CONTROL_PLANE_IDS
from cluster_stack.plan.extensions import GUEST_AGENT, has_guest_agent
from cluster_stack.plan.placement import host_of
from cluster_stack.plan.schematic import Overlay, Schematic, known_extensions, merge, schematic_id

Role = Literal["controlplane", "worker"]
"""Talos' own words for the two machine types."""

Path = tuple[str | int, ...]
"""A place in cluster.yaml."""

_TAG: dict[Role, str] = {"controlplane": "control-plane", "worker": "worker"}
_NO_OVERRIDE = NodeOverride.model_construct(resources=NodeResources.model_construct())
"""A node of which nothing particular is said."""


@dataclass(frozen=True, kw_only=True)
class StaticAddress:
    """Addresses with their networks, the routers, and the DNS servers."""

    interface: IPv4Interface
    gateway: IPv4Address
    interface6: IPv6Interface | None
    gateway6: IPv6Address | None
    nameservers: tuple[IPv4Address | IPv6Address, ...]


@dataclass(frozen=True, kw_only=True)
class NetworkCard:
    bridge: str
    vlan: int
    """0: none."""
    mtu: int | None
    mac: str | None
    """None: Proxmox chooses one and keeps it."""
    dhcp: bool


@dataclass(frozen=True, kw_only=True)
class ExtraDisk:
    interface: str
    """Proxmox' name of it: ``scsi1``."""
    size: int
    """GB."""
    datastore: str
    ssd: bool
    volume: str | None
    """Talos user volume on it."""

    @property
    def serial(self) -> str:
        """What the machine knows the disk by, at most 20 characters (QEMU's limit)."""
        return self.volume or self.interface


@dataclass(frozen=True, kw_only=True)
class NodePlan:
    """One machine, as it is to be."""

    name: str
    role: Role
    pool: str | None
    """Name of the worker pool; None for control planes and the plain workers."""
    index: int
    """Number in its pool, from 0."""
    vm_id: int
    host: str
    """Proxmox host."""
    cores: int
    sockets: int
    memory: int
    """MB."""
    disk: int
    """GB."""
    tags: tuple[str, ...]
    address: StaticAddress | None
    """None: DHCP decides, and the guest agent tells."""
    cards: tuple[NetworkCard, ...]
    """At least one. Talos' nocloud platform calls them eth0, eth1 and so on."""
    extra_disks: tuple[ExtraDisk, ...]
    pci_devices: tuple[PciDevice, ...]
    labels: Mapping[str, str]
    annotations: Mapping[str, str]
    taints: tuple[str, ...]
    schematic: NodeSchematic
    patches: tuple[tuple[Path, Any], ...]
    """The user's patches in the order of their application, each with its place in the file."""

    @property
    def cpus(self) -> int:
        return self.cores * self.sockets

    @property
    def guest_agent(self) -> bool:
        """Does the machine answer to Proxmox' guest agent? It must with DHCP, where only its schematic's id is known:
        nobody else would tell its address."""
        extensions = self.schematic.extensions
        return self.address is None if extensions is None else has_guest_agent(extensions)


def plan_nodes(config: ClusterConfig) -> tuple[NodePlan, ...]:
    """All nodes of the cluster: control planes, workers, further pools, each in the order of its numbers."""
    return tuple(node for pool in _pools(config) for node in _nodes(config, pool))


@dataclass(frozen=True, kw_only=True)
class _Pool:
    path: Path
    settings: ControlPlane | Workers | NodePool
    role: Role
    name: str | None
    suffix: str
    id_base: int
    addresses: AddressRange | None
    resources: ControlPlaneResources | WorkerResources


def _pools(config: ClusterConfig) -> Iterator[_Pool]:
    topology, base = config.cluster.topology, config.proxmox.vm.id_base
    ranges, path = config.proxmox.network.ip_ranges, ("cluster", "topology")
    yield _Pool(
        path=(*path, "controlPlane"),
        settings=topology.control_plane,
        role="controlplane",
        name=None,
        suffix="cp",
        id_base=base,
        addresses=ranges.control_plane if ranges else None,
        resources=topology.control_plane.resources,
    )
    yield _Pool(
        path=(*path, "workers"),
        settings=topology.workers,
        role="worker",
        name=None,
        suffix="worker",
        id_base=base + CONTROL_PLANE_IDS,
        addresses=ranges.workers if ranges else None,
        resources=topology.workers.resources,
    )
    for index, pool in enumerate(topology.node_pools):
        yield _Pool(
            path=(*path, "nodePools", index),
            settings=pool,
            role="worker",
            name=pool.name,
            suffix=pool.name,
            id_base=pool.id_base,
            addresses=pool.ip_range,
            resources=pool.resources,
        )


def _nodes(config: ClusterConfig, pool: _Pool) -> Iterator[NodePlan]:
    overrides = config.cluster.topology.nodes
    for index in range(pool.settings.count):
        name = f"{config.metadata.name}-{pool.suffix}{index + 1}"
        yield _node(config, pool, index, name, overrides.get(name, _NO_OVERRIDE))


def _node(config: ClusterConfig, pool: _Pool, index: int, name: str, override: NodeOverride) -> NodePlan:
    settings, resources = pool.settings, pool.resources
    own = override.resources
    hosts = settings.placement.nodes or [host.name for host in config.hosts]
    kind = None if pool.role == "controlplane" else pool.suffix
    host = override.node or host_of(kind, index, hosts, settings.placement.strategy)
    schematic = _schematic(config, [*settings.extensions, *override.extensions])
    return NodePlan(
        name=name,
        role=pool.role,
        pool=pool.name,
        index=index,
        vm_id=override.vm_id or pool.id_base + index,
        host=host,
        cores=own.cores or resources.cores,
        sockets=own.sockets or resources.sockets,
        memory=own.memory or resources.memory,
        disk=own.disk or resources.disk,
        tags=_tags(config, pool),
        address=_static(config, pool.addresses, index, override),
        cards=_cards(config, settings, override),
        extra_disks=_extra_disks(config, override.disks if override.disks is not None else settings.disks),
        pci_devices=tuple(override.pci_devices if override.pci_devices is not None else settings.pci_devices),
        labels={**_topology_labels(config, host), **config.metadata.labels, **settings.labels, **override.labels},
        annotations={**settings.annotations, **override.annotations},
        taints=(*settings.taints, *override.taints),
        schematic=schematic,
        patches=(
            *_placed(("cluster", "talos", "patches"), config.cluster.talos.patches),
            *_placed((*pool.path, "patches"), settings.patches),
            *_placed(("cluster", "topology", "nodes", name, "patches"), override.patches),
        ),
    )


def _placed(path: Path, patches: list[Any]) -> list[tuple[Path, Any]]:
    return [((*path, index), patch) for index, patch in enumerate(patches)]


def _tags(config: ClusterConfig, pool: _Pool) -> tuple[str, ...]:
    metadata = config.metadata
    tags = {"talos", _TAG[pool.role], *config.proxmox.vm.tags}
    tags |= {metadata.environment} if metadata.environment else set()
    tags |= {pool.name} if pool.name else set()
    tags |= {_label_tag(key, value) for key, value in metadata.labels.items()}
    # Proxmox keeps tags sorted; in any other order every preview would show a change.
    return tuple(sorted(tags))


def _label_tag(key: str, value: str) -> str:
    """A label as a tag: Proxmox allows neither capitals nor slashes."""
    text = f"{key.rpartition('/')[2]}-{value}" if value else key.rpartition("/")[2]
    return text.lower()


def _topology_labels(config: ClusterConfig, host: str) -> dict[str, str]:
    """Where the machine is, in Kubernetes' well-known labels; nothing where the site is one nameless host."""
    region, labels = config.proxmox.cluster_name, {}
    if region:
        labels["topology.kubernetes.io/region"] = region
    if region or config.proxmox.nodes:
        labels["topology.kubernetes.io/zone"] = host
    return labels


def _static(
    config: ClusterConfig, addresses: AddressRange | None, index: int, override: NodeOverride
) -> StaticAddress | None:
    network = config.proxmox.network
    if network.cidr is None or network.gateway is None:
        return None
    address = override.ip_address or (addresses[index] if addresses else None)
    if address is None:
        return None
    interface6 = None
    if network.cidr6 is not None:
        place = int(address) - int(network.cidr.network_address)
        address6 = override.ipv6_address or network.cidr6.network_address + place
        interface6 = IPv6Interface(f"{address6}/{network.cidr6.prefixlen}")
    return StaticAddress(
        interface=IPv4Interface(f"{address}/{network.cidr.prefixlen}"),
        gateway=network.gateway,
        interface6=interface6,
        gateway6=network.gateway6,
        nameservers=tuple(network.nameservers),
    )


def _cards(
    config: ClusterConfig, settings: ControlPlane | Workers | NodePool, override: NodeOverride
) -> tuple[NetworkCard, ...]:
    network = config.proxmox.network
    further: list[NetworkInterface] = (
        override.network_interfaces if override.network_interfaces is not None else settings.network_interfaces
    )
    return (
        NetworkCard(
            bridge=network.bridge,
            vlan=network.vlan,
            mtu=network.mtu,
            mac=override.mac_address,
            dhcp=not config.static_addresses,
        ),
        *(NetworkCard(bridge=card.bridge, vlan=card.vlan, mtu=card.mtu, mac=None, dhcp=card.dhcp) for card in further),
    )


def _extra_disks(config: ClusterConfig, disks: list[DataDisk]) -> tuple[ExtraDisk, ...]:
    return tuple(
        ExtraDisk(
            interface=f"scsi{number}",  # scsi0 is the system disk
            size=disk.size,
            datastore=disk.datastore or config.proxmox.storage.datastore,
            ssd=disk.ssd,
            volume=disk.volume,
        )
        for number, disk in enumerate(disks, start=1)
    )


def cluster_schematic(config: ClusterConfig) -> Schematic | None:
    """The schematic of all nodes, before pools and nodes add to it; None where only its id is known."""
    talos = config.cluster.talos
    if talos.factory_schematic:
        return None
    if talos.schematic is None:
        return Schematic(official_extensions=(GUEST_AGENT,))
    overlay, custom = talos.schematic.overlay, talos.schematic.customization
    return Schematic(
        overlay=Overlay(image=overlay.image, name=overlay.name, options=overlay.options) if overlay else None,
        extra_kernel_args=tuple(custom.extra_kernel_args),
        meta=tuple((value.key, value.value) for value in custom.meta),
        official_extensions=tuple(custom.system_extensions.official_extensions),
        secureboot_include_well_known_certificates=custom.secureboot.include_well_known_certificates,
    )


@dataclass(frozen=True, kw_only=True)
class NodeSchematic:
    """What a node's image is customized with, as far as it is known."""

    id: str
    """Image Factory id."""
    schematic: Schematic | None
    """None where only the id is known."""

    @property
    def extensions(self) -> tuple[str, ...] | None:
        """Official system extensions; None where nobody knows."""
        return known_extensions(self.id) if self.schematic is None else self.schematic.official_extensions


def _schematic(config: ClusterConfig, extensions: Sequence[str]) -> NodeSchematic:
    base = cluster_schematic(config)
    if base is None:
        return NodeSchematic(id=config.cluster.talos.factory_schematic or "", schematic=None)
    return _customized(merge(base, extensions=extensions))


@cache
def _customized(schematic: Schematic) -> NodeSchematic:
    return NodeSchematic(id=schematic_id(schematic), schematic=schematic)
