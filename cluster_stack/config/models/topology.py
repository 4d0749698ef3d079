"""``cluster.topology``: which machines there are, and what is particular to some of them."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from cluster_stack.config.models.base import Model, refuse, section
from cluster_stack.config.models.values import (
    Address,
    Address6,
    Bridge,
    Cores,
    Datastore,
    Extension,
    Gigabytes,
    HostName,
    LabelKey,
    LabelValue,
    MacAddress,
    Megabytes,
    Mtu,
    Patch,
    Range,
    Taint,
    Text,
    VlanTag,
    VmId,
    matching,
)


def _odd(count: int) -> int:
    if count % 2 == 0:
        majority = count // 2 + 1
        what = (
            f"{count} control planes: etcd needs a majority of {majority}, so {count} survive no more losses "
            f"than {count - 1} do."
        )
        raise refuse(what, f"Write {count - 1} or {count + 1}.")
    return count


class ControlPlaneResources(Model):
    cores: Annotated[Cores, Field(ge=2)] = 4
    """Virtual CPU cores of each socket. Talos asks for 2 at least on a control plane."""
    sockets: Annotated[int, Field(ge=1, le=4)] = 1
    """Virtual CPU sockets."""
    memory: Annotated[Megabytes, Field(ge=2048)] = 8192
    """Memory in MB. Talos asks for 2048 at least on a control plane."""
    disk: Annotated[Gigabytes, Field(ge=10)] = 32
    """System disk in GB. Talos asks for 10 at least. It can grow later, never shrink."""


class WorkerResources(Model):
    cores: Cores = 8
    """Virtual CPU cores of each socket."""
    sockets: Annotated[int, Field(ge=1, le=4)] = 1
    """Virtual CPU sockets."""
    memory: Annotated[Megabytes, Field(ge=1024)] = 16384
    """Memory in MB. Talos asks for 1024 at least on a worker."""
    disk: Annotated[Gigabytes, Field(ge=10)] = 100
    """System disk in GB. Talos asks for 10 at least. It can grow later, never shrink."""


class NodeResources(Model):
    """What one node has otherwise than its pool."""

    cores: Cores | None = None
    """Virtual CPU cores of each socket."""
    sockets: Annotated[int, Field(ge=1, le=4)] | None = None
    """Virtual CPU sockets."""
    memory: Annotated[Megabytes, Field(ge=1024)] | None = None
    """Memory in MB."""
    disk: Annotated[Gigabytes, Field(ge=10)] | None = None
    """System disk in GB. It can grow later, never shrink."""


class DataDisk(Model):
    size: Annotated[Gigabytes, Field(ge=1)]
    """Size in GB. It can grow later, never shrink."""
    datastore: Datastore | None = None
    """Proxmox storage of this disk. Without it: `proxmox.storage.datastore`."""
    ssd: bool = False
    """Tell the machine that it is a solid-state disk."""
    volume: Annotated[str, matching(r"^[a-z0-9]([a-z0-9-]{0,18}[a-z0-9])?$")] | None = None
    """Name of the Talos user volume on it, mounted at `/var/mnt/<name>`. Without it, Talos leaves the disk alone."""


class NetworkInterface(Model):
    bridge: Bridge
    """Proxmox bridge that this network card is attached to."""
    vlan: VlanTag = 0
    """VLAN tag, 0 for none."""
    mtu: Mtu | None = None
    """Largest packet. Without it, that of the bridge."""
    dhcp: bool = True
    """Ask DHCP for an address."""


class PciDevice(Model):
    mapping: Annotated[str, matching(r"^[a-zA-Z][a-zA-Z0-9_-]*$")]
    """Name of the resource mapping in Proxmox (Datacenter > Resource Mappings). API tokens may use no other way."""
    pcie: bool = True
    """Show it as a PCI Express device. That needs the machine type q35, which it then gets."""


class Placement(Model):
    nodes: list[HostName] = []
    """Proxmox hosts that these machines may run on. Without it: all of `proxmox.nodes`."""
    strategy: Literal["spread", "pack"] = "spread"
    """`spread` gives each machine the next host in turn; `pack` puts all on the first."""


class Pool(Model):
    """Machines that are alike."""

    labels: dict[LabelKey, LabelValue] = {}
    """Kubernetes labels of these nodes."""
    annotations: dict[LabelKey, str] = {}
    """Kubernetes annotations of these nodes."""
    taints: list[Taint] = []
    """Kubernetes taints of these nodes: `key=value:NoSchedule`. A worker takes them when it joins, and not again."""
    extensions: list[Extension] = []
    """Official system extensions of these nodes, beside those of the cluster's schematic."""
    placement: Placement = section()
    """Which Proxmox hosts these machines run on."""
    disks: list[DataDisk] = []
    """Further disks of each machine. Append new ones: a disk's place in the list is its place in the machine."""
    network_interfaces: list[NetworkInterface] = []
    """Further network cards of each machine, beside the one on `proxmox.network.bridge`."""
    pci_devices: list[PciDevice] = []
    """PCI devices of the host that each machine gets."""
    patches: list[Patch] = []
    """Patches of these nodes' machine configurations, after those of the cluster."""


class ControlPlane(Pool):
    count: Annotated[int, Field(ge=1), AfterValidator(_odd)]
    """How many control planes: 1, or 3 to survive the loss of one, or 5 to survive the loss of two."""
    resources: ControlPlaneResources = section()
    """Size of each control plane: processor, memory, system disk."""


class Workers(Pool):
    count: Annotated[int, Field(ge=0)]
    """How many workers. With 0, the control planes run the workloads too."""
    resources: WorkerResources = section()
    """Size of each worker: processor, memory, system disk."""


class NodePool(Pool):
    name: Annotated[str, matching(r"^[a-z]([a-z0-9-]{0,18}[a-z])?$")]
    """Name of the pool. Its nodes are called `<metadata.name>-<name>1` and so on, so it does not end with a digit."""
    count: Annotated[int, Field(ge=0)]
    """How many nodes."""
    id_base: VmId
    """VM id of the pool's first node. Written down, so that no other pool can ever move these machines."""
    ip_range: Range | None = None
    """Static addresses of the pool's nodes, first node first. Only with `proxmox.network.cidr`."""
    resources: WorkerResources = section()
    """Size of each node: processor, memory, system disk."""


class NodeOverride(Model):
    """What is particular to one node. Labels and annotations are merged with those of its pool, taints, extensions and
    patches come after them, disks, network cards and PCI devices are instead of them."""

    node: HostName | None = None
    """Proxmox host of this machine."""
    ip_address: Address | None = None
    """Static address of this machine. Only with `proxmox.network.cidr`."""
    ipv6_address: Address6 | None = None
    """Static IPv6 address of this machine. Only with `proxmox.network.cidr6`."""
    mac_address: MacAddress | None = None
    """MAC address of the first network card. Without it, Proxmox chooses one and keeps it."""
    vm_id: VmId | None = None
    """VM id of this machine."""
    resources: NodeResources = section()
    """Size of this machine, where it is not that of its pool."""
    labels: dict[LabelKey, LabelValue] = {}
    """Kubernetes labels of this node."""
    annotations: dict[LabelKey, str] = {}
    """Kubernetes annotations of this node."""
    taints: list[Taint] = []
    """Kubernetes taints of this node. A worker takes them when it joins, and not again."""
    extensions: list[Extension] = []
    """Official system extensions of this node."""
    disks: list[DataDisk] | None = None
    """Further disks of this machine."""
    network_interfaces: list[NetworkInterface] | None = None
    """Further network cards of this machine."""
    pci_devices: list[PciDevice] | None = None
    """PCI devices of the host that this machine gets."""
    patches: list[Patch] = []
    """Patches of this node's machine configuration, after those of its pool."""


class Topology(Model):
    control_plane: ControlPlane
    """The machines that run etcd and the Kubernetes API."""
    workers: Workers
    """The machines that run the workloads."""
    node_pools: list[NodePool] = []
    """Further pools of workers, each with its own size, labels, devices."""
    nodes: dict[Text, NodeOverride] = {}
    """What is particular to single nodes, by the node's name."""

    @property
    def pools(self) -> tuple[ControlPlane | Workers | NodePool, ...]:
        """Control planes, workers, and the further pools."""
        return (self.control_plane, self.workers, *self.node_pools)
