"""``proxmox``: where the machines are made."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BeforeValidator, Field

from cluster_stack.config.models.base import Model, section
from cluster_stack.config.models.values import (
    Address,
    Address6,
    AnyAddress,
    Bridge,
    Cores,
    Datastore,
    Gigabytes,
    HostName,
    LabelValue,
    Megabytes,
    Mtu,
    Network,
    Network6,
    ProxmoxEndpoint,
    Range,
    Tag,
    Text,
    VlanTag,
    matching,
)


class Storage(Model):
    datastore: Datastore
    """Proxmox storage for the VMs' disks."""
    iso_path: Annotated[str, matching(r"^[^:/\s]+:iso/[^/\s]+\.iso$")] | None = None
    """Volume id of the Talos ISO that new VMs boot from: `<storage>:iso/<file>.iso`. Without it, Proxmox fetches a disk
    image from the Image Factory."""
    image_datastore: Datastore | None = None
    """Proxmox storage that disk images are fetched to; it keeps files and allows the content `import`. Without it:
    `datastore`."""
    shared: list[Datastore] = []
    """Those of the storages named here that all hosts share. Such a storage gets an image once, any other once on each
    host."""

    @property
    def iso_storage(self) -> Datastore | None:
        """The Proxmox storage that the ISO is on."""
        return self.iso_path.partition(":")[0] if self.iso_path else None


class IpRanges(Model):
    control_plane: Range
    """Addresses of the control planes, first node first."""
    workers: Range | None = None
    """Addresses of the workers, first node first."""


class ProxmoxNetwork(Model):
    bridge: Bridge = "vmbr0"
    """Proxmox bridge that the VMs are attached to."""
    vlan: VlanTag = 0
    """VLAN tag of the VMs' first network card, 0 for none."""
    mtu: Mtu | None = None
    """Largest packet of the VMs' first network card. Without it, that of the bridge."""
    cidr: Network | None = None
    """The nodes' network, for example `10.0.0.0/24`. With it, nodes have static addresses; without it, DHCP."""
    gateway: Address | None = None
    """Default gateway of static addresses."""
    cidr6: Network6 | None = None
    """The nodes' IPv6 network, beside `cidr`. A node has the same place in both: 10.0.0.51 and fd00::33 (51 in hex)."""
    gateway6: Address6 | None = None
    """Default IPv6 gateway."""
    nameservers: list[AnyAddress] = []
    """DNS servers of the nodes. Without it: those that DHCP or Talos itself gives."""
    ntp_servers: list[Text] = []
    """Time servers of the nodes. Without it: Talos' own choice."""
    ip_ranges: IpRanges | None = None
    """Which static addresses the nodes get."""
    dhcp: bool | None = None
    """Nodes ask DHCP for their address. Without it: `true` where there is no `cidr`."""


class Vm(Model):
    id_base: Annotated[int, Field(ge=100, le=999_999_000)]
    """Control planes have the VM ids from here on (ten of them), workers from `idBase` + 10 on."""
    cpu_type: Text = "x86-64-v2-AES"
    """CPU type that the VMs see. Talos needs x86-64-v2 or better."""
    on_boot: bool = False
    """Start the VMs when their Proxmox host starts."""
    force_stop: bool = False
    """On destroy, stop the VMs at once instead of shutting them down. A machine without the guest agent is always
    stopped at once, also when it restarts."""
    machine: Literal["q35", "pc"] | None = None
    """Machine type. Without it: Proxmox' default, or q35 where a PCI Express device needs it."""
    bios: Literal["seabios", "ovmf"] | None = None
    """Firmware. Without it: seabios, or ovmf where Secure Boot or a TPM needs it. Where machines begin as a disk image:
    decided when the cluster is made."""
    tpm: bool = False
    """Give the VMs a TPM 2.0. Disk encryption with `tpm` does so by itself."""
    numa: bool = False
    """Show the host's memory layout to the VMs."""
    balloon: Annotated[Megabytes, Field(ge=0)] = 0
    """Least memory in MB that the host may shrink a VM to. 0: memory stays as it is, as Talos wants it."""
    pool: Annotated[str, matching(r"^[A-Za-z0-9_./-]+$")] | None = None
    """Proxmox resource pool of the VMs. It must exist."""
    tags: list[Tag] = []
    """Further tags of the VMs."""
    protection: bool = False
    """Proxmox refuses to remove a protected VM, also on destroy."""
    ha: bool = False
    """Proxmox restarts the VMs on another host when theirs is lost. Control planes are kept on different hosts."""
    ha_group: Text | None = None
    """Proxmox HA group of the VMs (before Proxmox VE 9)."""


class Host(Model):
    name: HostName
    """Name of the Proxmox host."""
    cores: Cores | None = None
    """Processor threads that it has. A VM with more cores is refused."""
    memory: Annotated[Megabytes, Field(ge=1024)] | None = None
    """Memory in MB that VMs may have on it in all, over all clusters."""
    disk: Annotated[Gigabytes, Field(ge=1)] | None = None
    """Disk space in GB that VMs may have on it in all, over all clusters."""


def _host(value: object) -> object:
    return {"name": value} if isinstance(value, str) else value


class Proxmox(Model):
    endpoint: ProxmoxEndpoint
    """Address of the Proxmox API, for example `https://px.example:8006/`."""
    node: HostName | None = None
    """Proxmox host that the VMs run on. Or several: `nodes`."""
    nodes: list[Annotated[Host, BeforeValidator(_host)]] = []
    """Proxmox hosts that the VMs are spread over: names, or names with what each host has. Append new ones."""
    cluster_name: LabelValue | None = None
    """Name of the Proxmox cluster. Nodes get it as `topology.kubernetes.io/region`."""
    insecure: bool = False
    """Do not check the certificate of the Proxmox API."""
    storage: Storage
    """Proxmox storages of the disks and of the image that new VMs boot from."""
    network: ProxmoxNetwork = section()
    """The network of the VMs, and the addresses of the nodes in it."""
    vm: Vm
    """What all VMs of the cluster have in common."""
