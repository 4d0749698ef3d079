"""``cluster.talos``, ``cluster.kubernetes``, ``cluster.cni``: what runs on the machines."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from cluster_stack.config.models.base import Model, section
from cluster_stack.config.models.values import (
    Address,
    AnyNetwork,
    Extension,
    IssuerUrl,
    KubernetesEndpoint,
    KubernetesVersion,
    Patch,
    TalosVersion,
    Text,
    matching,
)


class SystemExtensions(Model):
    official_extensions: list[Extension] = []
    """Official system extensions of Talos, for example `siderolabs/qemu-guest-agent`."""


class MetaValue(Model):
    key: Annotated[int, Field(ge=0, le=255)]
    """Number of the value in Talos' META partition."""
    value: str
    """The value."""


class SchematicSecureBoot(Model):
    include_well_known_certificates: bool = False
    """Enroll Microsoft's certificates beside Talos' own."""


class Customization(Model):
    extra_kernel_args: list[Text] = []
    """Kernel arguments that the images carry, for example `console=ttyS0`."""
    meta: list[MetaValue] = []
    """Initial values of Talos' META partition."""
    system_extensions: SystemExtensions = section()
    """Which system extensions the images hold."""
    secureboot: SchematicSecureBoot = section()
    """What the images bring for Secure Boot, beside the signature."""


class Overlay(Model):
    image: Text
    """Image of the overlay, for example `siderolabs/sbc-raspberrypi`."""
    name: Text
    """Name of the overlay inside that image."""
    options: dict[str, Any] = {}
    """What the overlay itself is told."""


class Schematic(Model):
    """A schematic as the Image Factory takes it; its id is computed here, the same that the factory would give."""

    overlay: Overlay | None = None
    """Overlay for single-board computers. A virtual machine needs none."""
    customization: Customization = section()
    """What the images hold beside Talos itself."""


class ImageFactory(Model):
    registry_url: Annotated[str, matching(r"^[a-zA-Z0-9.-]+(:\d+)?$"), Field(alias="registryURL")] = "factory.talos.dev"
    """Host of the Image Factory that boot images and installer images come from."""


class InstallDiskSelector(Model):
    """Which disk Talos is installed on, by its properties; the first disk that has all of them."""

    size: Annotated[str, matching(r"^(<|>|<=|>=|==)? ?\d+(\.\d+)? ?[KMGT]?i?B$")] | None = None
    """Size, for example `>= 20GB`."""
    model: Text | None = None
    """Model, for example `QEMU*`."""
    serial: Text | None = None
    """Serial number."""
    modalias: Text | None = None
    """Modalias in `/sys/block/<dev>/device/modalias`."""
    uuid: Text | None = None
    """UUID."""
    wwid: Text | None = None
    """World-wide id."""
    type: Literal["ssd", "hdd", "nvme", "sd"] | None = None
    """Kind of disk."""
    bus_path: Text | None = None
    """Path on the bus, for example `/pci0000:00/*`."""


class Talos(Model):
    version: TalosVersion
    """Talos Linux version of the nodes, for example `v1.11.5`."""
    cluster_name: Text | None = None
    """Name of the cluster inside Talos and Kubernetes. Without it: `metadata.name`."""
    factory_schematic: Annotated[str, matching(r"^[0-9a-f]{64}$")] | None = None
    """Image Factory id of a schematic. Instead of `schematic`. Without either: the guest agent alone."""
    schematic: Schematic | None = None
    """The schematic itself (extensions, kernel arguments). Instead of `factorySchematic`."""
    image_factory: ImageFactory = section()
    """The Image Factory, which makes the boot images and the installer images."""
    install_disk: Annotated[str, matching(r"^/dev/[a-z0-9/_-]+$")] | None = None
    """Disk that Talos is installed on. Without it: `/dev/sda`. Only an ISO installs; a disk image is already there."""
    install_disk_selector: InstallDiskSelector | None = None
    """The same by the disk's properties. Instead of `installDisk`."""
    arch: Literal["amd64", "arm64"] = "amd64"
    """Processor architecture of the Proxmox hosts."""
    platform: Literal["metal", "nocloud"] | None = None
    """Platform of the boot image. `nocloud` reads its address from a drive that Proxmox makes; it needs no DHCP.
    Without it: `metal` with an `isoPath`, `nocloud` without."""
    secureboot: bool = False
    """Secure Boot: a signed image, OVMF firmware that trusts it. Decided when the cluster is made."""
    disk_encryption: Literal["tpm", "nodeID"] | None = None
    """Encrypt the system disk's STATE and EPHEMERAL partitions; with a key that a (virtual) TPM keeps, or one derived
    from the machine's UUID. `tpm` adds the TPM. Decided when the cluster is made."""
    patches: list[Patch] = []
    """Patches of every node's machine configuration: mappings, texts, or `@file` beside cluster.yaml."""


class Oidc(Model):
    issuer_url: IssuerUrl
    """Address of the OpenID Connect issuer that the API server trusts."""
    client_id: Text
    """Client id that a token must be made for."""


class Kubernetes(Model):
    version: KubernetesVersion | None = None
    """Kubernetes version. Without it: the one that came with the Talos version that the cluster was made with."""
    endpoint: KubernetesEndpoint | None = None
    """Address of the Kubernetes API. Without it: that of `vip`, else that of the first control plane."""
    vip: Address | None = None
    """Address that the control planes share: one of them has it, another takes it over when that one is lost."""
    domain: Annotated[str, matching(r"^[a-z0-9]([a-z0-9.-]*[a-z0-9])?$")] = "cluster.local"
    """DNS domain of services."""
    pod_subnets: Annotated[list[AnyNetwork], Field(min_length=1, max_length=2)] | None = None
    """Networks of the pods. Two of them, IPv4 and IPv6, for dual-stack. Each node takes a /24 (IPv6: /64): a /16 is
    enough for 256 nodes. Without it: `10.244.0.0/16`."""
    service_subnets: Annotated[list[AnyNetwork], Field(min_length=1, max_length=2)] | None = None
    """Networks of the services. Without it: `10.96.0.0/12`."""
    cert_sans: Annotated[list[Text], Field(alias="certSANs")] = []
    """Further names and addresses in the certificate of the API server."""
    allow_scheduling_on_control_planes: bool | None = None
    """May workloads run on control planes? Without it: only where there are no workers."""
    oidc: Oidc | None = None
    """Log-in with OpenID Connect."""


class Cni(Model):
    name: Literal["flannel", "cilium", "none"] = "flannel"
    """Pod network. `flannel` is Talos' own, `cilium` is installed as the cluster comes up (docs/components.md); with
    `none` you install one yourself."""
    values_file: Annotated[str, matching(r"^[^/@].*\.ya?ml$")] | None = None
    """Helm values of the pod network, a file beside cluster.yaml. Only for cilium. What it needs on Talos is there
    without it."""
    kube_proxy: bool = True
    """Run kube-proxy. `false` where the pod network replaces it."""
