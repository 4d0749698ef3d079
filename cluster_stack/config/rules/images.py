"""Talos version, schematic, boot image, firmware: do they go together?"""

from __future__ import annotations

from collections.abc import Iterator

from cluster_stack.config.document import Document, Path
from cluster_stack.config.models import ClusterConfig
from cluster_stack.config.problems import Problem

NEWEST_TALOS_MINOR = 13
"""The newest Talos minor whose machine configurations pulumiverse-talos 0.8 can write (its machinery is 1.13)."""
OLDEST_TALOS_MINOR = 10
"""The oldest Talos minor for which a Kubernetes version is known here (``cluster_stack.plan.versions``)."""

TOO_OLD_CPU_TYPES = {
    *("486", "athlon", "Conroe", "core2duo", "coreduo", "kvm32", "kvm64", "Opteron_G1", "Opteron_G2", "Opteron_G3"),
    *("Penryn", "pentium", "pentium2", "pentium3", "phenom", "qemu32", "qemu64"),
}
"""Processors of QEMU, as Proxmox calls them, that are less than x86-64-v2: they lack SSE 4.2 or POPCNT."""

_TALOS: Path = ("cluster", "talos")
_VM: Path = ("proxmox", "vm")
_STORAGE: Path = ("proxmox", "storage")


def check(config: ClusterConfig, document: Document) -> Iterator[Problem]:
    yield from _talos_version(config, document)
    yield from _one_of_two(config, document)
    yield from _extensions(config, document)
    yield from _boot_image(config, document)
    yield from _firmware(config, document)
    yield from _architecture(config, document)
    yield from _processor(config, document)


def _talos_version(config: ClusterConfig, document: Document) -> Iterator[Problem]:
    minor = int(config.cluster.talos.version.split(".")[1])
    if not OLDEST_TALOS_MINOR <= minor <= NEWEST_TALOS_MINOR:
        yield document.problem(
            (*_TALOS, "version"),
            f"Talos {config.cluster.talos.version} is not supported.",
            f"Write a version from v1.{OLDEST_TALOS_MINOR} to v1.{NEWEST_TALOS_MINOR}.",
        )


def _one_of_two(config: ClusterConfig, document: Document) -> Iterator[Problem]:
    talos = config.cluster.talos
    if talos.schematic and talos.factory_schematic:
        what = "the schematic is there twice: here and as the id factorySchematic."
        yield document.problem((*_TALOS, "schematic"), what, "Keep one of the two.")
    if talos.install_disk and talos.install_disk_selector:
        what = "the disk to install on is there twice: here and as installDisk."
        yield document.problem((*_TALOS, "installDiskSelector"), what, "Keep one of the two.")
    if talos.install_disk_selector and not talos.install_disk_selector.model_fields_set:
        what = "no property of the disk is named."
        yield document.problem((*_TALOS, "installDiskSelector"), what, 'Write one, for example `size: ">= 20GB"`.')


def _extensions(config: ClusterConfig, document: Document) -> Iterator[Problem]:
    if not config.cluster.talos.factory_schematic:
        return
    for path, group in config.groups():
        if group.extensions:
            what = "extensions cannot be added to a schematic of which only the id is known."
            fix = "Write the schematic itself as cluster.talos.schematic instead of factorySchematic."
            yield document.problem((*path, "extensions"), what, fix)


def _boot_image(config: ClusterConfig, document: Document) -> Iterator[Problem]:
    storage, talos = config.proxmox.storage, config.cluster.talos
    if storage.iso_path is None and talos.platform == "metal":
        yield document.problem(
            (*_TALOS, "platform"),
            "a disk image of the metal platform would install itself again.",
            "Write `platform: nocloud`, or name an ISO in proxmox.storage.isoPath.",
        )
    if storage.iso_path is not None and storage.image_datastore is not None:
        yield document.problem(
            (*_STORAGE, "imageDatastore"),
            "new VMs boot from the ISO in isoPath, so no disk image is fetched.",
            "Keep one of the two.",
        )
    known = {storage.datastore, storage.image_datastore, storage.iso_storage}
    known |= {disk.datastore for _, group in config.groups() for disk in group.disks or ()}
    for index, name in enumerate(storage.shared):
        if name not in known:
            fix = f"Storages named here: {', '.join(sorted(filter(None, known)))}."
            yield document.problem((*_STORAGE, "shared", index), f"this file uses no storage {name!r}.", fix)


def _firmware(config: ClusterConfig, document: Document) -> Iterator[Problem]:
    talos, vm = config.cluster.talos, config.proxmox.vm
    if vm.bios != "seabios":
        return
    if talos.secureboot:
        what = "Secure Boot needs UEFI firmware."
    elif talos.disk_encryption == "tpm" or vm.tpm:
        what = "a TPM is of use only with UEFI firmware."
    else:
        return
    yield document.problem((*_VM, "bios"), what, "Write `bios: ovmf`, or remove the key: it is chosen by itself.")


def _architecture(config: ClusterConfig, document: Document) -> Iterator[Problem]:
    talos, vm = config.cluster.talos, config.proxmox.vm
    if talos.arch != "arm64":
        return
    if vm.cpu_type.startswith("x86"):
        what = f"the CPU type {vm.cpu_type} is not one of arm64."
        yield document.problem((*_VM, "cpuType"), what, "Write `cpuType: host`.")
    if vm.bios == "seabios":
        yield document.problem((*_VM, "bios"), "arm64 machines have no seabios.", "Write `bios: ovmf`.")
    if vm.machine is not None:
        what = f"arm64 machines have no machine type {vm.machine}."
        yield document.problem((*_VM, "machine"), what, "Remove the key.")


def _processor(config: ClusterConfig, document: Document) -> Iterator[Problem]:
    cpu = config.proxmox.vm.cpu_type
    if cpu in TOO_OLD_CPU_TYPES:
        what = f"Talos does not start on the CPU type {cpu}, it needs x86-64-v2 or better."
        yield document.problem((*_VM, "cpuType"), what, "Write `cpuType: x86-64-v2-AES` or `cpuType: host`.")
