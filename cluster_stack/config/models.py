"""The models of cluster.yaml: every key, its type, its default, its meaning.

Keys are the original system's (camelCase in the file). A model says what one value may be; what several values must be
together is said in ``cluster_stack.config.rules``. Nothing here knows Pulumi, Proxmox calls or Talos documents.
"""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, StringConstraints
from pydantic.alias_generators import to_camel
from pydantic_core import PydanticCustomError

GUEST_AGENT_SCHEMATIC = "ce4c980550dd2ab1b17bbf2b08801c7eb59418eafe8f279833297925d67c7515"
"""Image Factory id of the schematic that holds ``siderolabs/qemu-guest-agent`` and nothing else."""


class Model(BaseModel):
    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        strict=True,
        alias_generator=to_camel,
        defer_build=True,  # one validator, for the whole file, instead of one for each model: 40 ms of every start
    )


def _section() -> Any:
    """A mapping of which every key may be left out.

    Its default is validated with the whole file. An instance as the default would build a validator of its own for each
    such model at every start.
    """
    return Field(default={}, validate_default=True)


def _refuse(what: str, fix: str) -> PydanticCustomError:
    return PydanticCustomError("cluster_yaml", "{what} {fix}", {"what": what, "fix": fix})


def _odd(count: int) -> int:
    if count % 2 == 0:
        majority = count // 2 + 1
        what = (
            f"{count} control planes: etcd needs a majority of {majority}, so {count} survive no more losses "
            f"than {count - 1} do."
        )
        raise _refuse(what, f"Write {count - 1} or {count + 1}.")
    return count


def _address(value: object) -> object:
    try:
        return IPv4Address(value) if isinstance(value, str) else value
    except ValueError:
        raise _refuse(f"{value!r} is not an IPv4 address.", "Write four numbers: 10.0.0.1.") from None


def _network(value: object) -> object:
    try:
        return IPv4Network(value) if isinstance(value, str) else value
    except ValueError:
        fix = "Write its first address and its length: 10.0.0.0/24."
        raise _refuse(f"{value!r} is not a network.", fix) from None


def _https(endpoint: str) -> str:
    try:
        url = urlsplit(endpoint)
        proper = url.scheme == "https" and bool(url.hostname) and url.port != 0 and " " not in endpoint
    except ValueError:  # a port that is no number, or too large
        proper = False
    if not proper:
        raise _refuse(
            f"{endpoint!r} is not an https address.", "Proxmox answers https only: write https://<host>:8006/."
        )
    return endpoint


Name = Annotated[str, StringConstraints(pattern=r"^[a-z]([a-z0-9-]{0,38}[a-z0-9])?$")]
"""A DNS label that leaves room for ``-worker100`` in a VM name of at most 63 characters."""

Tag = Annotated[str, StringConstraints(pattern=r"^[a-z0-9_][a-z0-9_+.-]*$")]
"""What Proxmox takes as a tag; lower case, because Proxmox folds the case, which then looks like a change."""

Address = Annotated[IPv4Address, BeforeValidator(_address)]
Network = Annotated[IPv4Network, BeforeValidator(_network)]


class AddressRange(Model):
    """``10.0.0.51-10.0.0.59``: first and last address, both included."""

    first: IPv4Address
    last: IPv4Address

    def __len__(self) -> int:
        return int(self.last) - int(self.first) + 1

    def __contains__(self, address: IPv4Address) -> bool:
        return self.first <= address <= self.last

    def __getitem__(self, index: int) -> IPv4Address:
        if not 0 <= index < len(self):
            raise IndexError(index)
        return self.first + index

    def __str__(self) -> str:
        return f"{self.first}-{self.last}"


def _range(value: object) -> object:
    if not isinstance(value, str):
        return value
    first, dash, last = value.partition("-")
    try:
        span = {"first": IPv4Address(first.strip()), "last": IPv4Address(last.strip() if dash else first.strip())}
    except ValueError:
        raise _refuse(
            f"{value!r} is not a range of addresses.", "Write the first and the last one: 10.0.0.51-10.0.0.59."
        ) from None
    if span["last"] < span["first"]:
        raise _refuse(f"{value!r} ends before it begins.", "Write the smaller address first.")
    return AddressRange.model_validate(span)


Range = Annotated[AddressRange, BeforeValidator(_range)]


class Metadata(Model):
    name: Name
    """Name of the cluster, its folder and its Pulumi stack. VMs are called `<name>-cp1`, `<name>-worker1` and so on."""
    environment: Tag | None = None
    """A word for what the cluster is for (`dev`, `production`). Becomes a tag of every VM."""
    description: str = ""
    """What the cluster is, in your words. Stands in the notes of every VM."""


class ControlPlaneResources(Model):
    cores: Annotated[int, Field(ge=2, le=512)] = 4
    """Virtual CPU cores. Talos asks for 2 at least on a control plane."""
    memory: Annotated[int, Field(ge=2048, le=4_194_304, json_schema_extra={"unit": "MB"})] = 8192
    """Memory in MB. Talos asks for 2048 at least on a control plane."""
    disk: Annotated[int, Field(ge=10, le=131_072, json_schema_extra={"unit": "GB"})] = 32
    """System disk in GB. Talos asks for 10 at least. It can grow later, never shrink."""


class WorkerResources(Model):
    cores: Annotated[int, Field(ge=1, le=512)] = 8
    """Virtual CPU cores."""
    memory: Annotated[int, Field(ge=1024, le=4_194_304, json_schema_extra={"unit": "MB"})] = 16384
    """Memory in MB. Talos asks for 1024 at least on a worker."""
    disk: Annotated[int, Field(ge=10, le=131_072, json_schema_extra={"unit": "GB"})] = 100
    """System disk in GB. Talos asks for 10 at least. It can grow later, never shrink."""


class ControlPlane(Model):
    count: Annotated[int, Field(ge=1), AfterValidator(_odd)]
    """How many control planes: 1, or 3 to survive the loss of one, or 5 to survive the loss of two."""
    resources: ControlPlaneResources = _section()


class Workers(Model):
    count: Annotated[int, Field(ge=0)]
    """How many workers. With 0, the control planes run the workloads too."""
    resources: WorkerResources = _section()


class Topology(Model):
    control_plane: ControlPlane
    workers: Workers


class Talos(Model):
    version: Annotated[str, StringConstraints(pattern=r"^v1\.\d+\.\d+$")]
    """Talos Linux version of the nodes, for example `v1.11.5`."""
    cluster_name: Annotated[str, StringConstraints(min_length=1)] | None = None
    """Name of the cluster inside Talos and Kubernetes. Without it: `metadata.name`."""
    factory_schematic: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")] = GUEST_AGENT_SCHEMATIC
    """Image Factory id of the schematic (extensions, kernel arguments) of the nodes. Default: the guest agent alone."""
    install_disk: Annotated[str, StringConstraints(pattern=r"^/dev/[a-z0-9/_-]+$")] = "/dev/sda"
    """Disk that Talos is installed on."""
    platform: Literal["metal", "nocloud"] = "metal"
    """Platform of the boot image. `nocloud` reads its address from a drive that Proxmox makes; it needs no DHCP."""


class Cluster(Model):
    talos: Talos
    topology: Topology


class Storage(Model):
    datastore: Annotated[str, StringConstraints(min_length=1)]
    """Proxmox storage for the VMs' disks."""
    iso_path: Annotated[str, StringConstraints(pattern=r"^[^:/\s]+:iso/[^/\s]+\.iso$")]
    """Volume id of the Talos ISO that new VMs boot from: `<storage>:iso/<file>.iso`."""


class IpRanges(Model):
    control_plane: Range
    """Addresses of the control planes, first node first."""
    workers: Range | None = None
    """Addresses of the workers, first node first."""


class ProxmoxNetwork(Model):
    bridge: Annotated[str, StringConstraints(pattern=r"^[a-zA-Z][a-zA-Z0-9_.-]{0,14}$")] = "vmbr0"
    """Proxmox bridge that the VMs are attached to."""
    cidr: Network | None = None
    """The nodes' network, for example `10.0.0.0/24`. With it, nodes have static addresses; without it, DHCP."""
    gateway: Address | None = None
    """Default gateway of static addresses."""
    nameservers: list[Address] = []
    """DNS servers of nodes with static addresses."""
    ip_ranges: IpRanges | None = None
    """Which static addresses the nodes get."""


class Vm(Model):
    id_base: Annotated[int, Field(ge=100, le=999_999_000)]
    """Control planes have the VM ids from here on (ten of them), workers from `idBase` + 10 on."""
    cpu_type: Annotated[str, StringConstraints(min_length=1)] = "x86-64-v2-AES"
    """CPU type that the VMs see. Talos needs x86-64-v2 or better."""
    on_boot: bool = False
    """Start the VMs when their Proxmox host starts."""
    force_stop: bool = False
    """On destroy, stop the VMs at once instead of shutting them down."""


class Proxmox(Model):
    endpoint: Annotated[str, AfterValidator(_https)]
    """Address of the Proxmox API, for example `https://px.example:8006/`."""
    node: Annotated[str, StringConstraints(pattern=r"^[a-zA-Z0-9]([a-zA-Z0-9-]*[a-zA-Z0-9])?$")]
    """Proxmox host that the VMs run on."""
    insecure: bool = False
    """Do not check the certificate of the Proxmox API."""
    storage: Storage
    network: ProxmoxNetwork = _section()
    vm: Vm


class Flux(Model):
    version: str = ""
    """Version of Flux."""
    repository: str = ""
    """Git repository that Flux follows."""
    branch: str = "main"
    """Branch of that repository."""
    path: str = ""
    """Folder in that repository."""


class Infrastructure(Model):
    core: list[str] = []
    """Components that every cluster gets."""
    optional: list[str] = []
    """Further components."""


class Gitops(Model):
    enabled: bool = False
    """Install Flux. Not acted on yet: `true` gets a warning."""
    flux: Flux = _section()
    infrastructure: Infrastructure = _section()


class ClusterConfig(Model):
    """One cluster, as its cluster.yaml describes it."""

    metadata: Metadata
    cluster: Cluster
    proxmox: Proxmox
    gitops: Gitops = _section()

    @property
    def talos_cluster_name(self) -> str:
        return self.cluster.talos.cluster_name or self.metadata.name

    @property
    def static_addresses(self) -> bool:
        return self.proxmox.network.cidr is not None
