"""What machines boot: firmware, and the disk images that Proxmox fetches for them."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from cluster_stack.config import ClusterConfig
from cluster_stack.plan.images import qcow2_url
from cluster_stack.plan.nodes import NodePlan

Bios = Literal["seabios", "ovmf"]


@dataclass(frozen=True, kw_only=True)
class BootImage:
    """A Talos disk image as Proxmox is to fetch it from the Image Factory."""

    name: str
    """Of the resource; the same for ever, whatever Talos version the image has."""
    schematic: str
    """Image Factory id."""
    host: str
    """Proxmox host that fetches it."""
    datastore: str
    file_name: str
    url: str


@dataclass(frozen=True, kw_only=True)
class Firmware:
    bios: Bios
    machine: str | None
    """Proxmox machine type; None: Proxmox' default."""
    tpm: bool


def firmware(config: ClusterConfig, node: NodePlan) -> Firmware:
    """What follows from Secure Boot, disk encryption, architecture and devices where nobody wrote it down."""
    needs_q35 = any(device.pcie for device in node.pci_devices)
    return Firmware(
        bios=bios(config),
        machine=config.proxmox.vm.machine or ("q35" if needs_q35 else None),
        tpm=_tpm(config),
    )


def bios(config: ClusterConfig) -> Bios:
    """The same for all machines of a cluster."""
    talos = config.cluster.talos
    needs_uefi = _tpm(config) or talos.secureboot or talos.arch == "arm64"
    return config.proxmox.vm.bios or ("ovmf" if needs_uefi else "seabios")


def _tpm(config: ClusterConfig) -> bool:
    return config.proxmox.vm.tpm or config.cluster.talos.disk_encryption == "tpm"


def image_of(config: ClusterConfig, node: NodePlan) -> BootImage | None:
    """The disk image that a node's disk begins as; None where it boots an ISO.

    A storage that all hosts share has each image once, fetched by the first host; any other has it once on each host.
    The cluster's name is in the file's: another cluster may remove its own file without taking ours.
    """
    storage, talos = config.proxmox.storage, config.cluster.talos
    if storage.iso_path is not None:
        return None
    datastore = storage.image_datastore or storage.datastore
    shared = datastore in storage.shared
    url = qcow2_url(
        talos.image_factory.registry_url,
        node.schematic.id,
        talos.version,
        platform=config.platform,
        arch=talos.arch,
        secureboot=talos.secureboot,
    )
    cluster = config.metadata.name
    # Another image is another file: the new one is there before the old one goes.
    source = hashlib.sha256(url.encode()).hexdigest()[:12]
    return BootImage(
        name=f"{cluster}-image-{node.schematic.id[:12]}" + ("" if shared else f"-{node.host}"),
        schematic=node.schematic.id,
        host=config.hosts[0].name if shared else node.host,
        datastore=datastore,
        file_name=f"{cluster}-talos-{talos.version}-{talos.arch}-{source}.qcow2",
        url=url,
    )


def boot_images(config: ClusterConfig, nodes: Sequence[NodePlan]) -> tuple[BootImage, ...]:
    """Every image that the nodes need, each once."""
    found = (image_of(config, node) for node in nodes)
    return tuple(dict.fromkeys(image for image in found if image))
