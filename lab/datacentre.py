"""The site that the lab plays, read from datacentre.yaml: names, hosts, storages, bridges, rights, images.

Owns the model of what is there from the start. What happens during a run (VMs, leases, tasks) and what a test breaks
on purpose (lab.faults) live elsewhere.
"""

from __future__ import annotations

from collections.abc import Mapping
from ipaddress import IPv4Address, IPv4Interface, IPv4Network
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

DEFAULT_FILE = Path(__file__).with_name("datacentre.yaml")
ContentType = Literal["images", "rootdir", "iso", "vztmpl", "import", "backup", "snippets"]


class Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Image(Model):
    """A Talos image, as far as a machine needs to know one: it has no bytes here."""

    version: str
    platform: str
    arch: str
    schematic: str
    extensions: tuple[str, ...]
    secureboot: bool = False


class HostDevice(Model):
    """A PCI device of a host."""

    path: str
    id: str
    kind: str
    """Its class, such as 0x030000 for a graphics card."""
    iommugroup: int = -1
    vendor_name: str = ""
    device_name: str = ""
    subsystem: str = ""


class Node(Model):
    name: str
    address: IPv4Address
    cpus: int
    cpu_model: str
    memory_mib: int
    kernel: str
    pci: tuple[HostDevice, ...] = ()


class Dhcp(Model):
    network: IPv4Network
    first: IPv4Address
    last: IPv4Address
    gateway: IPv4Address
    nameservers: tuple[IPv4Address, ...]
    lease_seconds: int


class Bridge(Model):
    """One network, on each host that has an address in it."""

    name: str
    addresses: Mapping[str, IPv4Interface]
    mtu: int = 1500
    dhcp: Dhcp | None = None
    vlans: Mapping[int, Dhcp] = {}
    """The VLANs of the network that have a DHCP server, by tag; in any other nobody answers."""

    def dhcp_of(self, tag: int | None) -> Dhcp | None:
        return self.dhcp if tag is None else self.vlans.get(tag)


class Storage(Model):
    """A storage of the cluster. One that is not shared is another one on every host, under the same name."""

    id: str
    type: Literal["dir", "nfs", "lvmthin", "rbd"]
    content: tuple[ContentType, ...]
    size_gib: int
    used_gib: int = 0
    """What somebody else keeps there."""
    shared: bool = False
    nodes: tuple[str, ...] = ()
    """The hosts that have it; none named: all of them."""
    disabled: bool = False
    path: str = ""
    """Where a storage with files is mounted, if not at the usual place."""

    @property
    def keeps_files(self) -> bool:
        """Whether volumes are files, whose names carry their format; else they are raw block devices."""
        return self.type in ("dir", "nfs")

    @property
    def root(self) -> str:
        """Where a storage with files is on a host."""
        return self.path or ("/var/lib/vz" if self.type == "dir" else f"/mnt/pve/{self.id}")

    def is_on(self, node: str) -> bool:
        return not self.nodes or node in self.nodes


class PciDevice(Model):
    """One device of a PCI mapping, as the mapping's entry for a host names it."""

    node: str
    path: str
    id: str
    iommugroup: int


class PciMapping(Model):
    id: str
    description: str = ""
    map: tuple[PciDevice, ...]


class Pool(Model):
    id: str
    comment: str = ""


class Iso(Model):
    volume: Annotated[str, Field(pattern=r"^[\w-]+:(iso|import)/[^/]+$")]
    size: int
    image: Image


class Token(Model):
    user: str
    name: str
    privilege_separation: bool

    @property
    def id(self) -> str:
        return f"{self.user}!{self.name}"


class Permission(Model):
    path: str
    subject: str
    role: str
    propagate: bool


class Guest(Model):
    """A VM that is not ours: it counts as running and does nothing."""

    vmid: int
    node: str
    config: Mapping[str, str | int]


class Proxmox(Model):
    name: str
    version: Mapping[str, str]
    cluster: str
    nodes: tuple[Node, ...]
    bridges: tuple[Bridge, ...]
    storages: tuple[Storage, ...]
    isos: tuple[Iso, ...]
    mappings: tuple[PciMapping, ...] = ()
    pools: tuple[Pool, ...]
    roles: Mapping[str, frozenset[str]]
    users: tuple[str, ...]
    tokens: tuple[Token, ...]
    acl: tuple[Permission, ...]
    guests: tuple[Guest, ...]


class Factory(Model):
    registries: tuple[str, ...]
    versions: tuple[str, ...]
    default_schematic: str
    schematics: Mapping[str, str]
    last_generic_installer: str


class Delays(Model):
    boot: float
    install: float
    service: float
    task: float


class Datacentre(Model):
    names: Mapping[str, IPv4Address]
    proxmox: Proxmox
    factory: Factory
    kubernetes: bool = True
    """Whether the machines run Kubernetes. Without it they are up sooner, and say so in their list of services."""
    delays: Delays

    def hosts_file(self) -> str:
        lines = ["127.0.0.1 localhost", "::1 localhost", *(f"{address} {name}" for name, address in self.names.items())]
        return "\n".join(lines) + "\n"


class DatacentreError(Exception):
    """A datacentre file that describes no site."""


def load(path: Path = DEFAULT_FILE) -> Datacentre:
    """The site that a file describes; the usual one where there is no such file."""
    path = path if path.exists() else DEFAULT_FILE
    try:
        content: Any = yaml.safe_load(path.read_text(encoding="utf-8"))
        return Datacentre.model_validate(content)
    except (yaml.YAMLError, ValidationError) as error:
        raise DatacentreError(f"{path} describes no site: {error}") from None
