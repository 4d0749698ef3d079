"""The site that the lab plays, read from datacentre.yaml: names, hosts, storages, bridges, rights, images.

Owns the model of what is there from the start. What happens during a run (VMs, leases, tasks) and what a test breaks
on purpose (lab.control) live elsewhere.
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


class Node(Model):
    name: str
    cpus: int
    cpu_model: str
    memory_mib: int
    kernel: str


class Dhcp(Model):
    network: IPv4Network
    first: IPv4Address
    last: IPv4Address
    gateway: IPv4Address
    nameservers: tuple[IPv4Address, ...]
    lease_seconds: int


class Bridge(Model):
    name: str
    address: IPv4Interface
    dhcp: Dhcp | None = None


class Storage(Model):
    """`dir` and `nfs` keep volumes as files, so volume names carry their format; no other type is built."""

    id: str
    type: Literal["dir", "nfs"]
    content: tuple[ContentType, ...]
    size_gib: int
    shared: bool = False


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
    pools: tuple[str, ...]
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
