"""The virtual hardware of one machine, as the hypervisor hands it to the node process: `machine.json` and `dhcp.json`.

Owns the shape of the contract with `talos-node machine <dir>` (lab/node), field by field; fills in nothing itself.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal, TypedDict

from lab.datacentre import Image
from lab.dhcp import Offer
from lab.directory import read_json, write_json


class ImageFile(TypedDict):
    version: str
    platform: str
    arch: str
    schematic: str
    extensions: list[str]
    secureBoot: bool


class Disk(TypedDict):
    device: str
    path: str
    sizeBytes: int
    transport: str
    serial: str
    rotational: bool


class Cdrom(TypedDict):
    device: str
    image: ImageFile


class Nic(TypedDict):
    """A network card, and where its cable goes: a bridge and VLAN, or nowhere. It may be pulled out."""

    name: str
    mac: str
    bridge: str
    tag: int | None
    connected: bool
    mtu: int
    dhcp: Offer | None


class CidataNic(TypedDict, total=False):
    """One NIC on the cloud-init drive. The address may be `dhcp`; without one, the NIC has no IPv4."""

    mac: str
    address: str
    gateway: str
    address6: str
    gateway6: str


class PciDevice(TypedDict):
    """A device of the host that the machine has for itself."""

    address: str
    id: str


class Firmware(TypedDict):
    """`keys` are those that the EFI disk has from the start: none (setup mode) or microsoft."""

    kind: Literal["seabios", "ovmf"]
    secureBoot: bool
    efiDisk: bool
    keys: Literal["none", "microsoft"]


class Cidata(TypedDict):
    hostname: str
    nameservers: list[str]
    nics: list[CidataNic]


class MachineDelays(TypedDict):
    bootSeconds: float
    installSeconds: float
    serviceSeconds: float


class Pluggable(TypedDict, total=False):
    """What of a machine's hardware can change while it runs."""

    disks: list[Disk]
    cdrom: Cdrom | None
    nics: list[Nic]
    cidata: Cidata | None


class Machine(TypedDict):
    vmid: int
    uuid: str
    hypervisor: str
    cores: int
    memoryMiB: int
    disks: list[Disk]
    cdrom: Cdrom | None
    bootOrder: list[str]
    firmware: Firmware
    tpm: str
    nics: list[Nic]
    pciDevices: list[PciDevice]
    cidata: Cidata | None
    agentChannel: bool
    kubelets: str
    """The socket of the process that plays kubelets; empty on a site without Kubernetes."""
    delays: MachineDelays


def image_file(image: Image) -> ImageFile:
    return ImageFile(
        version=image.version,
        platform=image.platform,
        arch=image.arch,
        schematic=image.schematic,
        extensions=list(image.extensions),
        secureBoot=image.secureboot,
    )


def write(folder: Path, machine: Machine) -> None:
    (folder / "run").mkdir(parents=True, exist_ok=True)
    for disk in machine["disks"]:
        Path(disk["path"]).mkdir(parents=True, exist_ok=True)
    write_json(folder / "machine.json", machine)


def replug(folder: Path, changed: Pluggable) -> None:
    """Change the hardware of a machine that runs."""
    for disk in changed.get("disks", []):
        Path(disk["path"]).mkdir(parents=True, exist_ok=True)
    write_json(folder / "machine.json", {**read_json(folder / "machine.json"), **changed})


def nics(folder: Path) -> list[Nic]:
    """The network cards that a machine has now."""
    machine: Machine = read_json(folder / "machine.json")
    return machine["nics"]


class MachineFaults(TypedDict):
    """What is wrong with a machine, as far as only the machine itself can play it: `faults.json`."""

    clockOffsetSeconds: float
    certificateExpired: bool
    diskDelaySeconds: float
    """How long its disk takes to write; 0 for none that is worth a word."""
    brokenImages: list[str]
    """Versions and schematics of images that boot and die."""


def write_faults(folder: Path, faults: MachineFaults) -> None:
    write_json(folder / "faults.json", faults)


def write_dhcp(folder: Path, offers: dict[str, Offer | None]) -> None:
    write_json(folder / "dhcp.json", offers)
