"""Storages and the volumes on them: names, sizes, images, who may read one.

Owns volume names, which differ by type of storage: with files (dir, nfs) the name carries the format, block devices
(lvmthin, rbd) are raw. A storage that is not shared is another one on each host, so volumes are asked for on a host.
A VM's disk is a folder among the VM's own files (the guest writes there); an image has a description instead of bytes.
"""

from __future__ import annotations

import re
import shutil
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
FILE_FORMATS = ("raw", "qcow2", "vmdk")
DEFAULT_FORMAT = "raw"
ALIGNMENT = {"dir": 1 << 10, "nfs": 1 << 10, "lvmthin": 4 << 20, "rbd": 1 << 20}
"""What sizes are multiples of: kilobytes, physical extents, megabytes."""
EVERYWHERE = ""  # where the volumes of a shared storage are


@dataclass(frozen=True)
class VolumeName:
    """A parsed volume id: `local:800/vm-800-disk-0.raw`, `ceph:vm-800-disk-0`."""

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
    """The size of the disk in it, for what is or has a disk image."""
    created: int
    image: Image | None = None
    vmid: int | None = None
    file_size: int | None = None

    @property
    def used(self) -> int:
        return self.size if self.file_size is None else self.file_size


class Storages:
    """The storages of the cluster."""

    def __init__(self, directory: LabDirectory, site: Proxmox, missing: Callable[[], frozenset[str]]) -> None:
        self._directory = directory
        self._file = directory.proxmox / "volumes.json"
        self._storages = {storage.id: storage for storage in site.storages}
        self._missing = missing
        self._volumes: dict[str, dict[str, dict[str, Any]]] = read_json(self._file, {})  # by host, by id
        self._fixed = {iso.volume: Volume(self.parse(iso.volume), iso.size, 1763900000, iso.image) for iso in site.isos}

    def __iter__(self) -> Iterator[Storage]:
        return iter(self._storages.values())

    def get(self, identifier: str) -> Storage:
        if identifier not in self._storages:
            raise failure(f"storage '{identifier}' does not exist")
        return self._storages[identifier]

    def on(self, node: str) -> HostStorages:
        """The storages as one host has them."""
        return HostStorages(self, node)

    def parse(self, volume_id: str) -> VolumeName:
        """Take a volume id apart; the storage must exist, the volume need not."""
        match = VOLUME_ID.fullmatch(volume_id)
        if match is None:
            raise failure(f"unable to parse volume ID '{volume_id}'")
        storage, name = match.groups()
        if not self.get(storage).keeps_files:
            return _block_name(self.get(storage), name)
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

    def disk_folder(self, name: VolumeName) -> Path:
        """Where the guest that owns a disk keeps what it wrote there."""
        stem = name.name.rpartition("/")[2].removesuffix(f".{name.format}")
        return self._directory.vms / str(name.owner) / "disks" / name.storage / stem

    def free_all_of(self, vmid: int) -> None:
        """Remove every volume that a VM owns, on whatever host."""
        for node in list(self._volumes):
            for name, stored in list(self._volumes[node].items()):
                if stored.get("vmid") == vmid:
                    self.on(node).free(name)

    def move(self, volume_id: str, source: str, target: str) -> None:
        """Move a volume of a storage that is not shared to another host."""
        self._volumes.setdefault(target, {})[volume_id] = self._volumes[source].pop(volume_id)
        self.save()

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

    def stored(self, node: str, storage: str) -> dict[str, dict[str, Any]]:
        """The records of the volumes on one storage as a host has it; shared ones are the same on all."""
        return self._volumes.setdefault(EVERYWHERE if self.get(storage).shared else node, {})

    def fixed(self) -> dict[str, Volume]:
        return {name: volume for name, volume in self._fixed.items() if name not in self._missing()}

    def is_missing(self, volume_id: str) -> bool:
        return volume_id in self._missing()

    def save(self) -> None:
        write_json(self._file, self._volumes)


@dataclass(frozen=True)
class HostStorages:
    """The storages of the cluster as one host has them."""

    storages: Storages
    node: str

    def enabled(self, identifier: str) -> Storage:
        """A storage, if this host has it."""
        storage = self.storages.get(identifier)
        if not storage.is_on(self.node):
            raise failure(f"storage '{identifier}' is not available on node '{self.node}'")
        return storage

    def find(self, volume_id: str) -> Volume | None:
        if volume_id in (fixed := self.storages.fixed()):
            return fixed[volume_id]
        name = self.storages.parse(volume_id)
        stored = self.storages.stored(self.node, name.storage).get(volume_id)
        if stored is None or self.storages.is_missing(volume_id):
            return None
        image = Image.model_validate(stored["image"]) if stored.get("image") else None
        return Volume(name, stored["size"], stored["created"], image, stored.get("vmid"), stored.get("file_size"))

    def require(self, volume_id: str) -> Volume:
        """The volume, or what Proxmox says when it activates one that is not there."""
        self.enabled(self.storages.parse(volume_id).storage)
        volume = self.find(volume_id)
        if volume is None:
            raise failure(f"volume '{volume_id}' does not exist")
        return volume

    def list(self, storage: str, content: str | None = None, vmid: int | None = None) -> list[Volume]:
        names = [*self.storages.fixed(), *self.storages.stored(self.node, storage)]
        volumes = [v for name in names if name.startswith(f"{storage}:") and (v := self.find(name)) is not None]
        return [
            v for v in volumes if (content is None or v.name.content == content) and (vmid is None or v.vmid == vmid)
        ]

    def used(self, storage: str) -> int:
        return sum(volume.used for volume in self.list(storage))

    def disk_format(self, storage: str, *wanted: str | None) -> str:
        """The first wanted format that a storage has, else its own."""
        formats = FILE_FORMATS if self.storages.get(storage).keeps_files else (DEFAULT_FORMAT,)
        return next((name for name in wanted if name and name in formats), DEFAULT_FORMAT)

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
        where = self.enabled(storage)
        if file_format not in (FILE_FORMATS if where.keeps_files else (DEFAULT_FORMAT,)):
            raise failure(f"unsupported format '{file_format}'")
        taken = {self.storages.disk_folder(volume.name).name for volume in self.list(storage, vmid=vmid)}
        name = name or next(
            free for number in range(len(taken) + 1) if (free := f"vm-{vmid}-disk-{number}") not in taken
        )
        volume_id = f"{storage}:{vmid}/{name}.{file_format}" if where.keeps_files else f"{storage}:{name}"
        step = ALIGNMENT[where.type]
        volume = Volume(self.storages.parse(volume_id), -(-size // step) * step, int(time.time()), None, vmid)
        folder = self.storages.disk_folder(volume.name)
        folder.mkdir(parents=True, exist_ok=True)
        if image is not None:
            write_json(folder / "image.json", image_file(image))
        self._store(volume)
        return volume

    def add_file(self, volume_id: str, size: int, image: Image | None, file_size: int) -> None:
        """A downloaded ISO or disk image."""
        self._store(Volume(self.storages.parse(volume_id), size, int(time.time()), image, file_size=file_size))

    def resize(self, volume_id: str, size: int) -> None:
        self._records(volume_id)[volume_id]["size"] = size
        self.storages.save()

    def free(self, volume_id: str) -> None:
        if self._records(volume_id).pop(volume_id, None) is not None:
            self.storages.save()
            name = self.storages.parse(volume_id)
            if name.owner is not None:
                shutil.rmtree(self.storages.disk_folder(name), ignore_errors=True)

    def _records(self, volume_id: str) -> dict[str, dict[str, Any]]:
        return self.storages.stored(self.node, volume_id.partition(":")[0])

    def _store(self, volume: Volume) -> None:
        self._records(volume.name.id)[volume.name.id] = {
            "size": volume.size,
            "created": volume.created,
            "vmid": volume.vmid,
            "image": volume.image.model_dump(mode="json") if volume.image else None,
            "file_size": volume.file_size,
        }
        self.storages.save()


def _block_name(storage: Storage, name: str) -> VolumeName:
    if disk := re.fullmatch(r"(?:vm|base)-(\d+)-\S+", name):
        return VolumeName(storage.id, name, "images", DEFAULT_FORMAT, int(disk[1]))
    raise failure(f"unable to parse {'lvm' if storage.type == 'lvmthin' else storage.type} volume name '{name}'")
