"""Drives of a VM: what a client asks for (`local:32`, an ISO, an import) and what then stands in the configuration.

Owns drive parameters end to end: who may use which storage, which volumes are made, how the result is printed.
Volumes themselves are lab.proxmox.storage's.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from lab.proxmox import formats, schema
from lab.proxmox.access import Access
from lab.proxmox.accounts import ROOT
from lab.proxmox.description import Schema
from lab.proxmox.errors import ApiError, failure, parameter_error
from lab.proxmox.property_strings import render
from lab.proxmox.storage import GIB, HostStorages, Storages
from lab.proxmox.tasks import Task
from lab.proxmox.volumes import Volume, VolumeName

DRIVE = re.compile(r"(scsi|virtio|sata|ide)\d+|efidisk0|tpmstate0")
NEW_DISK = re.compile(r"(?:([^/:\s]+):)(\d+(?:\.\d+)?)")
CLOUDINIT_SIZE = TPM_SIZE = 4 << 20
EFI_SIZES = {"2m": 128 << 10, "4m": 528 << 10}
NEEDED_FOR_IMPORT = {"efidisk0": ("efitype", "pre-enrolled-keys"), "tpmstate0": ("version",)}

Drive = dict[str, str]


def is_drive(option: str) -> bool:
    return DRIVE.fullmatch(option) is not None


def is_cdrom(drive: Drive) -> bool:
    return drive.get("media") == "cdrom"


def is_cloudinit(drive: Drive) -> bool:
    return drive["file"].endswith(":cloudinit") or re.search(r"-cloudinit(\.|$)", drive["file"]) is not None


def _refused_path(user: str) -> ApiError:
    if user == ROOT:
        return failure("drives on devices and files of a host are not built in this lab")
    return failure("Only root can pass arbitrary filesystem paths.")


def base_stem(name: VolumeName) -> str:
    """What a disk is called once it is a base image."""
    return re.sub(r"^vm-", "base-", name.stem)


@dataclass(frozen=True)
class Drives:
    """Drive handling of one cluster."""

    properties: Mapping[str, Schema]  # of the call that creates a VM
    storages: Storages
    access: Access

    def parse(self, option: str, text: str) -> Drive:
        return schema.parse_checked(self._format(option), text, option)

    def size_text(self, volume: Volume) -> str:
        """A disk's size as drives have it."""
        return formats.format_size(volume.size)

    def render(self, option: str, drive: Drive) -> str:
        return render(self._format(option), drive)

    def of(self, config: Mapping[str, object], *, unused: bool = False) -> list[tuple[str, Drive]]:
        """The drives of a configuration in order; where wanted, also the volumes that it has in no drive."""
        found = [(option, self.parse(option, str(config[option]))) for option in sorted(config) if is_drive(option)]
        if unused:
            options = (option for option in sorted(config) if re.fullmatch(r"unused\d+", option))
            found += [(option, {"file": str(config[option])}) for option in options]
        return found

    def check_parameters(self, parameters: Mapping[str, str]) -> None:
        """What Proxmox refuses before it makes anything: contradictory drive parameters."""
        for option, drive in self._drives(parameters):
            if "import-from" in drive:
                self._check_import_syntax(option, drive)
            if NEW_DISK.fullmatch(drive["file"]) or is_cloudinit(drive) or drive["file"] in ("none", "cdrom"):
                continue
            if drive["file"].startswith("/"):
                continue
            if self.storages.parse(drive["file"]).content == "iso" and not is_cdrom(drive):
                raise parameter_error({option: "explicit 'media=cdrom' is required for iso images"})

    def check_storage_access(self, user: str, vmid: int, parameters: Mapping[str, str]) -> None:
        """Whether the user may use every storage and volume that the drives name."""
        for option, drive in self._drives(parameters):
            source = drive["file"]
            if source == "none" or is_cloudinit(drive):
                pass
            elif is_cdrom(drive) and source == "cdrom":
                self.access.check(user, "/", ["Sys.Console"])
            elif not is_cdrom(drive) and (new := NEW_DISK.fullmatch(source)):
                self.access.check(user, f"/storage/{new[1]}", ["Datastore.AllocateSpace"])
                if "images" not in self.storages.get(new[1]).content:
                    raise parameter_error({"storage": f"storage '{new[1]}' does not support vm images"})
            elif source.startswith("/"):
                raise _refused_path(user)
            else:
                self.storages.check_access(self.access, user, vmid, source)
                if self.storages.parse(source).content not in ("images", "iso"):
                    raise parameter_error({option: "content type needs to be 'images' or 'iso'"})
            if imported := drive.get("import-from"):
                self._check_import(user, vmid, option, imported)

    def create(
        self, node: str, vmid: int, parameters: Mapping[str, str], existing: Mapping[str, object], task: Task | None
    ) -> dict[str, str]:
        """Make the volumes that new drives need; returns the drives as the configuration has them. All or nothing.

        A template's disks are base images from the start.
        """
        host = self.storages.on(node)
        made: list[str] = []
        result: dict[str, str] = {}
        try:
            for option, drive in sorted(self._drives(parameters)):
                before = drive["file"]
                self._provide(host, vmid, option, drive, {**existing, **result})
                if drive["file"] != before and existing.get("template") and not is_cloudinit(drive):
                    disk = host.require(drive["file"])
                    drive["file"] = host.rename(disk, vmid, base_stem(disk.name)).name.id
                if drive["file"] != before:
                    made.append(drive["file"])
                result[option] = self.render(option, drive)
                if task and drive["file"] != before:
                    task.log(f"{option}: successfully created disk '{result[option]}'")
        except Exception:
            for volume in made:
                host.free(volume)
            raise
        return result

    def _provide(
        self, host: HostStorages, vmid: int, option: str, drive: Drive, existing: Mapping[str, object]
    ) -> None:
        """Point a drive at its volume, making that volume where the drive asks for a new one."""
        source = drive["file"]
        if source in ("none", "cdrom"):
            drive.pop("size", None)
        elif source.endswith(":cloudinit"):
            self._provide_cloudinit(host, vmid, option, drive, existing)
        elif new := NEW_DISK.fullmatch(source):
            self._allocate(host, vmid, option, drive, new[1], float(new[2]))
        else:
            volume = host.require(source)
            wanted = drive.get("format")
            if wanted and volume.name.content == "images" and wanted != volume.name.format:
                raise failure(
                    f"drive '{option}' - volume '{source}' - 'format={wanted}' option different from storage format "
                    f"'{volume.name.format}'"
                )
            drive.pop("format", None)
            drive["size"] = formats.format_size(volume.size)

    def _provide_cloudinit(
        self, host: HostStorages, vmid: int, option: str, drive: Drive, existing: Mapping[str, object]
    ) -> None:
        for other, value in existing.items():
            if is_drive(other) and other != option and is_cloudinit(self.parse(other, str(value))):
                raise failure(f"{option} - cloud-init drive is already attached at '{other}'")
        storage = drive["file"].partition(":")[0]
        file_format = drive.pop("format", "qcow2" if self.storages.get(storage).keeps_files else "raw")
        volume = host.allocate_disk(storage, vmid, file_format, CLOUDINIT_SIZE, stem=f"vm-{vmid}-cloudinit")
        drive |= {"file": volume.name.id, "media": "cdrom"}

    def _allocate(
        self, host: HostStorages, vmid: int, option: str, drive: Drive, storage: str, gigabytes: float
    ) -> None:
        size, wanted = int(gigabytes * GIB), drive.pop("format", None)
        file_format, source = wanted or host.disk_format(storage), None
        if imported := drive.pop("import-from", None):
            source = host.find(imported)
            if source is None:
                raise failure(f"cannot import from '{imported}' - could not get size of {imported}")
            size = source.size
            file_format = host.disk_format(storage, wanted or source.name.format)
        elif option == "efidisk0":
            size = EFI_SIZES[drive.get("efitype", "2m")]
            if drive.get("pre-enrolled-keys") == "1":
                drive["ms-cert"] = "2023k"
        elif option == "tpmstate0":
            size = TPM_SIZE
        volume = host.allocate_disk(storage, vmid, file_format, size)
        if source is not None and source.vmid is not None:
            host.copy(source, volume)
        elif source is not None:
            host.fill(volume, source.image, source.used)
        drive |= {"file": volume.name.id, "size": formats.format_size(volume.size)}

    def _check_import_syntax(self, option: str, drive: Drive) -> None:
        new = NEW_DISK.fullmatch(drive["file"])
        if new is None or float(new[2]) != 0:
            raise parameter_error(
                {option: "'import-from' requires special syntax - use <storage ID>:0,import-from=<source>"}
            )
        for needed in NEEDED_FOR_IMPORT.get(option, ()):
            if needed not in drive:
                raise parameter_error({option: f"need to specify '{needed}' when using 'import-from'"})

    def _check_import(self, user: str, vmid: int, option: str, imported: str) -> None:
        if imported.startswith("/"):
            raise _refused_path(user)
        source = self.storages.parse(imported)
        if source.content not in ("images", "import"):
            raise parameter_error(
                {option: f"{imported} has wrong type '{source.content}' - needs to be 'images' or 'import'"}
            )
        if source.owner is not None:
            self.access.check(user, f"/vms/{source.owner}", ["VM.Clone"])
        else:
            self.storages.check_access(self.access, user, vmid, imported)

    def _drives(self, parameters: Mapping[str, str]) -> list[tuple[str, Drive]]:
        return [(option, self.parse(option, text)) for option, text in parameters.items() if is_drive(option)]

    def _format(self, option: str) -> Mapping[str, Schema]:
        name = option if option in self.properties else re.sub(r"\d+$", "[n]", option)
        found: Mapping[str, Schema] = self.properties[name]["format"]
        return found
