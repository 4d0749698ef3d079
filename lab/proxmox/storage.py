"""Storages and the volumes on them: names, sizes, images, who may read one.

Owns the file-based storage types (dir, nfs), for which a volume's name carries its format. A VM's disk is a folder
among the VM's own files (the guest writes there); an ISO has a description of the image instead of bytes.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lab.datacentre import Image, Proxmox, Storage
from lab.directory import LabDirectory, read_json, write_json
from lab.hardware import image_file
from lab.proxmox.access import Access
from lab.proxmox.errors import failure, not_permitted
from lab.proxmox.formats import VOLUME_ID

GIB = 1 << 30


@dataclass(frozen=True)
class VolumeName:
    """A parsed volume id: `local:800/vm-800-disk-0.raw`."""

    storage: str
    name: str
    content: str
    format: str
    owner: int | None

    @property
    def id(self) -> str:
        return f"{self.storage}:{self.name}"


@dataclass(frozen=True)
class Volume:
    name: VolumeName
    size: int
    created: int
    image: Image | None = None
    vmid: int | None = None


class Storages:
    def __init__(self, directory: LabDirectory, site: Proxmox, missing: Callable[[], frozenset[str]]) -> None:
        self._directory = directory
        self._file = directory.proxmox / "volumes.json"
        self._storages = {storage.id: storage for storage in site.storages}
        self._missing = missing
        self._volumes: dict[str, dict[str, Any]] = read_json(self._file, {})
        self._fixed = {iso.volume: Volume(self.parse(iso.volume), iso.size, 1763900000, iso.image) for iso in site.isos}

    def __iter__(self) -> Iterator[Storage]:
        return iter(self._storages.values())

    def get(self, identifier: str) -> Storage:
        if identifier not in self._storages:
            raise failure(f"storage '{identifier}' does not exist")
        return self._storages[identifier]

    def parse(self, volume_id: str) -> VolumeName:
        """Take a volume id apart; the storage must exist, the volume need not."""
        match = VOLUME_ID.fullmatch(volume_id)
        if match is None:
            raise failure(f"unable to parse volume ID '{volume_id}'")
        storage, name = match.groups()
        self.get(storage)
        if disk := re.fullmatch(r"(\d+)/(\S+)\.(raw|qcow2|vmdk)", name):
            return VolumeName(storage, name, "images", disk[3], int(disk[1]))
        if iso := re.fullmatch(r"iso/([^/]+\.(?:iso|img))", name, re.IGNORECASE):
            return VolumeName(storage, f"iso/{iso[1]}", "iso", "iso", None)
        if imported := re.fullmatch(r"import/[^/]+\.(ova|qcow2|raw|vmdk)", name):
            return VolumeName(storage, name, "import", imported[1], None)
        if template := re.fullmatch(r"vztmpl/[^/]+\.(tar\.(?:gz|xz|zst))", name):
            return VolumeName(storage, name, "vztmpl", template[1], None)
        if re.fullmatch(r"snippets/[^/]+", name):
            return VolumeName(storage, name, "snippets", "snippet", None)
        raise failure(f"unable to parse directory volume name '{name}'")

    def find(self, volume_id: str) -> Volume | None:
        if volume_id in self._missing():
            return None
        if volume_id in self._fixed:
            return self._fixed[volume_id]
        stored = self._volumes.get(volume_id)
        if stored is None:
            return None
        image = Image.model_validate(stored["image"]) if stored.get("image") else None
        return Volume(self.parse(volume_id), stored["size"], stored["created"], image, stored.get("vmid"))

    def require(self, volume_id: str) -> Volume:
        """The volume, or what Proxmox says when it activates one that is not there."""
        volume = self.find(volume_id)
        if volume is None:
            raise failure(f"volume '{volume_id}' does not exist")
        return volume

    def list(self, storage: str, content: str | None = None, vmid: int | None = None) -> list[Volume]:
        names = [name for name in (*self._fixed, *self._volumes) if name.startswith(f"{storage}:")]
        volumes = [volume for name in names if (volume := self.find(name)) is not None]
        return [
            v for v in volumes if (content is None or v.name.content == content) and (vmid is None or v.vmid == vmid)
        ]

    def used(self, storage: str) -> int:
        return sum(volume.size for volume in self.list(storage))

    def allocate_disk(
        self,
        storage: str,
        vmid: int,
        file_format: str,
        size: int,
        *,
        name: str | None = None,
        image: Image | None = None,
    ) -> Volume:
        """A new volume of a VM under the next free name, blank unless it is imported from an image."""
        if name is None:
            number = 0
            while any(
                f"{storage}:{vmid}/vm-{vmid}-disk-{number}.{f}" in self._volumes for f in ("raw", "qcow2", "vmdk")
            ):
                number += 1
            name = f"vm-{vmid}-disk-{number}"
        parsed = self.parse(f"{storage}:{vmid}/{name}.{file_format}")
        volume = Volume(parsed, size, int(time.time()), None, vmid)
        folder = self.disk_folder(parsed)
        folder.mkdir(parents=True, exist_ok=True)
        if image is not None:
            write_json(folder / "image.json", image_file(image))
        self._store(volume)
        return volume

    def add_file(self, volume_id: str, size: int, image: Image | None) -> None:
        """A downloaded ISO or disk image."""
        self._store(Volume(self.parse(volume_id), size, int(time.time()), image))

    def resize(self, volume_id: str, size: int) -> None:
        self._volumes[volume_id]["size"] = size
        self._save()

    def free(self, volume_id: str) -> None:
        if self._volumes.pop(volume_id, None) is not None:
            self._save()

    def free_all_of(self, vmid: int) -> None:
        for name in [name for name, stored in self._volumes.items() if stored.get("vmid") == vmid]:
            self.free(name)

    def disk_folder(self, name: VolumeName) -> Path:
        """Where the guest that owns a disk keeps what it wrote there."""
        return self._directory.vms / str(name.owner) / "disks" / Path(name.name).stem

    def check_access(self, access: Access, user: str, vmid: int | None, volume_id: str) -> None:
        """Whether a user may use a volume for a VM."""
        name = self.parse(volume_id)
        path = f"/storage/{name.storage}"
        if access.allowed(user, path, ["Datastore.Allocate"]):
            return
        if name.content in ("iso", "vztmpl", "import"):
            access.check(user, path, ["Datastore.AllocateSpace", "Datastore.Audit"], any_of=True)
        elif name.owner is not None and name.owner == vmid:
            return
        elif name.content == "images" and name.owner is not None:
            access.check(user, path, ["Datastore.Audit"])
            access.check(user, f"/vms/{name.owner}", ["VM.Config.Disk"])
        else:
            raise not_permitted(f"{path}, Datastore.Allocate")

    def _store(self, volume: Volume) -> None:
        self._volumes[volume.name.id] = {
            "size": volume.size,
            "created": volume.created,
            "vmid": volume.vmid,
            "image": volume.image.model_dump(mode="json") if volume.image else None,
        }
        self._save()

    def _save(self) -> None:
        write_json(self._file, self._volumes)
