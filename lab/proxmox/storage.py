"""The volumes on the storages: which there are, what is in them, who may read one.

A storage that is not shared is another one on each host, so volumes are asked for on a host. A VM's disk is a folder
among the VM's own files (the guest writes there); an image has a description instead of bytes.
"""

from __future__ import annotations

import re
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from lab.datacentre import Image, Proxmox, Storage
from lab.directory import LabDirectory, read_json, write_json
from lab.faults.fault import Faults
from lab.hardware import image_file
from lab.proxmox import volumes
from lab.proxmox.access import Access
from lab.proxmox.errors import failure, not_permitted
from lab.proxmox.formats import VOLUME_ID
from lab.proxmox.storage_config import StorageConfiguration
from lab.proxmox.volumes import DEFAULT_FORMAT, FILE_FORMATS, Volume, VolumeName

GIB = 1 << 30
ALIGNMENT = {"dir": 1 << 10, "nfs": 1 << 10, "lvmthin": 4 << 20, "rbd": 1 << 20}
"""What sizes are multiples of: kilobytes, physical extents, megabytes."""
EVERYWHERE = ""  # where the volumes of a shared storage are


class Storages:
    """The storages of the cluster."""

    def __init__(self, directory: LabDirectory, site: Proxmox, faults: Callable[[], Faults]) -> None:
        self._directory = directory
        self._file = directory.proxmox / "volumes.json"
        self.configuration = StorageConfiguration(directory.proxmox / "storages.json", site)
        self._faults = faults
        self._volumes: dict[str, dict[str, dict[str, Any]]] = read_json(self._file, {})  # by host, by id
        self._fixed = {
            iso.volume: Volume(self.parse(iso.volume), iso.size, 1763900000, iso.image)
            for iso in site.isos
            if iso.volume.partition(":")[0] in self.configuration
        }

    def __iter__(self) -> Iterator[Storage]:
        return iter(self.configuration)

    def get(self, identifier: str) -> Storage:
        return self.configuration.get(identifier)

    def on(self, node: str) -> HostStorages:
        """The storages as one host has them."""
        return HostStorages(self, node)

    def parse(self, volume_id: str) -> VolumeName:
        """Take a volume id apart; the storage must exist, the volume need not."""
        match = VOLUME_ID.fullmatch(volume_id)
        if match is None:
            raise failure(f"unable to parse volume ID '{volume_id}'")
        storage, name = match.groups()
        return volumes.parse(self.get(storage), name)

    def disk_folder(self, name: VolumeName, snapshot: str | None = None) -> Path:
        """Where the guest that owns a disk keeps what it wrote there, or had written at a snapshot."""
        folder = self._directory.vms / str(name.owner) / "disks" / name.storage
        return folder / (f"{name.stem}@{snapshot}" if snapshot else name.stem)

    def owned_by(self, vmid: int) -> list[tuple[HostStorages, Volume]]:
        """Every volume that belongs to a VM, on whatever host."""
        found = []
        for node in list(self._volumes):
            host = self.on(node)
            records = self._volumes[node].items()
            names = [n for n, r in records if r.get("vmid") == vmid and n.partition(":")[0] in self.configuration]
            found += [(host, volume) for name in names if (volume := host.find(name)) is not None]
        return found

    def linked_clones_of(self, base: VolumeName) -> list[str]:
        records = (item for node in self._volumes.values() for item in node.items())
        return sorted(name for name, record in records if record.get("parent") == base.id)

    def move(self, volume_id: str, source: str, target: str) -> None:
        """Move a volume of a storage that is not shared to another host."""
        self._volumes.setdefault(target, {})[volume_id] = self._volumes[source].pop(volume_id)
        self.save()

    def check_access(
        self, access: Access, user: str, vmid: int | None, volume_id: str, content: str | None = None
    ) -> None:
        """Whether a user may use a volume for a VM."""
        name = self.parse(volume_id)
        path = f"/storage/{name.storage}"
        if content and name.content != content:
            raise failure(f"volume '{volume_id}' has wrong content type '{name.content}' - expected '{content}'")
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
        return {name: volume for name, volume in self._fixed.items() if name not in self._faults().missing_volumes}

    def is_missing(self, volume_id: str) -> bool:
        return volume_id in self._faults().missing_volumes

    def is_full(self, storage: str) -> bool:
        return storage in self._faults().full_storages

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
        if storage.disabled:
            raise failure(f"storage '{identifier}' is disabled")
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
        return Volume(
            name,
            stored["size"],
            stored["created"],
            Image.model_validate(stored["image"]) if stored.get("image") else None,
            stored.get("vmid"),
            stored.get("file_size"),
            stored.get("written", 0),
            stored.get("parent"),
            tuple(stored.get("snapshots", ())),
            stored.get("sums", {}),
            stored.get("notes"),
            stored.get("protected", False),
        )

    def require(self, volume_id: str) -> Volume:
        """The volume, or what Proxmox says when it activates one that is not there."""
        self.enabled(self.storages.parse(volume_id).storage)
        volume = self.find(volume_id)
        if volume is None:
            raise failure(f"volume '{volume_id}' does not exist")
        return volume

    def list(self, storage: str, content: str | None = None, vmid: int | None = None) -> list[Volume]:
        names = [*self.storages.fixed(), *self.storages.stored(self.node, storage)]
        found = [v for name in names if name.startswith(f"{storage}:") and (v := self.find(name)) is not None]
        return [v for v in found if (content is None or v.name.content == content) and (vmid is None or v.vmid == vmid)]

    def used(self, storage: str) -> int:
        if self.storages.is_full(storage):
            return self.storages.get(storage).size_gib * GIB
        here = sum(volume.used for volume in self.list(storage))
        return here + self.storages.get(storage).used_gib * GIB

    def disk_format(self, storage: str, *wanted: str | None) -> str:
        """The first wanted format that a storage has, else its own."""
        known = FILE_FORMATS if self.storages.get(storage).keeps_files else (DEFAULT_FORMAT,)
        return next((name for name in wanted if name and name in known), DEFAULT_FORMAT)

    def allocate_disk(
        self,
        storage: str,
        vmid: int,
        file_format: str,
        size: int,
        *,
        stem: str | None = None,
        base: VolumeName | None = None,
    ) -> Volume:
        """A new, blank volume of a VM, under the next free name."""
        where = self.enabled(storage)
        if file_format not in (FILE_FORMATS if where.keeps_files else (DEFAULT_FORMAT,)):
            raise failure(f"unsupported format '{file_format}'")
        stem = stem or self.free_stem(storage, vmid)
        volume_id = f"{storage}:{volumes.disk_name(where, vmid, stem, file_format, base)}"
        name = self.storages.parse(volume_id)
        if self.find(volume_id) is not None:
            raise failure(self._already_there(where, name))
        self._check_space(where, name, size)
        step = ALIGNMENT[where.type]
        volume = Volume(name, -(-size // step) * step, int(time.time()), None, vmid, parent=base.id if base else None)
        self.storages.disk_folder(name).mkdir(parents=True, exist_ok=True)
        self._store(volume)
        return volume

    def fill(self, volume: Volume, image: Image | None, written: int) -> None:
        """Put an image on a disk, as an import does."""
        if image is not None:
            write_json(self.storages.disk_folder(volume.name) / "image.json", image_file(image))
        self._store(replace(volume, written=written))

    def copy(self, source: Volume, target: Volume, snapshot: str | None = None) -> None:
        """Make one disk's contents those of another."""
        folder = self.storages.disk_folder(target.name)
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(self.storages.disk_folder(source.name, snapshot), folder)
        self._store(replace(target, written=0 if target.parent else source.written))

    def rename(self, volume: Volume, vmid: int, stem: str) -> Volume:
        """Give a disk another name and, it may be, another owner."""
        where = self.storages.get(volume.name.storage)
        new_id = f"{where.id}:{volumes.disk_name(where, vmid, stem, volume.name.format)}"
        renamed = replace(volume, name=self.storages.parse(new_id), vmid=vmid)
        folder = self.storages.disk_folder(renamed.name)
        folder.parent.mkdir(parents=True, exist_ok=True)
        self.storages.disk_folder(volume.name).rename(folder)
        self._records(volume.name.id).pop(volume.name.id)
        self._store(renamed)
        return renamed

    def free_stem(self, storage: str, vmid: int) -> str:
        """The next name that no disk of a VM has, under either of the forms that names have."""
        taken = {re.sub(r"^base-", "vm-", volume.name.stem) for volume in self.list(storage, vmid=vmid)}
        return next(free for number in range(len(taken) + 1) if (free := f"vm-{vmid}-disk-{number}") not in taken)

    def add_file(
        self, volume_id: str, size: int, image: Image | None, file_size: int, sums: Mapping[str, str] | None = None
    ) -> None:
        """A downloaded or uploaded ISO or disk image."""
        name = self.storages.parse(volume_id)
        self._check_space(self.storages.get(name.storage), name, file_size)
        self._store(Volume(name, size, int(time.time()), image, file_size=file_size, sums=sums or {}))

    def resize(self, volume_id: str, size: int) -> None:
        self._records(volume_id)[volume_id]["size"] = size
        self.storages.save()

    def describe(self, volume: Volume, notes: str | None, protected: bool) -> None:
        self._store(replace(volume, notes=notes, protected=protected))

    def snapshot(self, volume_id: str, name: str) -> None:
        volume = self.require(volume_id)
        target = self.storages.disk_folder(volume.name, name)
        shutil.copytree(self.storages.disk_folder(volume.name), target)
        self._store(replace(volume, snapshots=(*volume.snapshots, name)))

    def remove_snapshot(self, volume_id: str, name: str) -> None:
        volume = self.require(volume_id)
        if name not in volume.snapshots:
            raise failure(f"snapshot '{name}' does not exist on volume '{volume_id}'")
        shutil.rmtree(self.storages.disk_folder(volume.name, name), ignore_errors=True)
        self._store(replace(volume, snapshots=tuple(other for other in volume.snapshots if other != name)))

    def roll_back(self, volume_id: str, name: str) -> None:
        volume = self.require(volume_id)
        folder = self.storages.disk_folder(volume.name)
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(self.storages.disk_folder(volume.name, name), folder)

    def free(self, volume_id: str) -> None:
        """Remove a volume. A base image stays while linked clones of it exist."""
        name = self.storages.parse(volume_id)
        if clones := self.storages.linked_clones_of(name):
            raise failure(f"base volume '{name.name}' is still in use by linked cloned '{clones[0].partition(':')[2]}'")
        if self._records(volume_id).pop(volume_id, None) is not None:
            self.storages.save()
            if name.owner is not None:
                folder = self.storages.disk_folder(name)
                for part in [folder, *folder.parent.glob(f"{folder.name}@*")]:
                    shutil.rmtree(part, ignore_errors=True)

    def _already_there(self, storage: Storage, name: VolumeName) -> str:
        path = volumes.host_path(storage, name)
        return f"disk image '{path}' already exists" if storage.keeps_files else f"volume '{name.id}' already exists"

    def _check_space(self, storage: Storage, name: VolumeName, size: int) -> None:
        """A storage that is full takes nothing more. Disks are thin: a blank one needs no space of its own."""
        free = storage.size_gib * GIB - self.used(storage.id)
        if free > 0 and (name.owner is not None or size <= free):
            return
        path = volumes.host_path(storage, name)
        if storage.type == "lvmthin":
            raise failure(
                f"lvcreate 'pve/{name.stem}' error:   Cannot create new thin volume, free space in thin pool pve/data "
                "reached threshold."
            )
        if storage.type == "rbd":
            raise failure(f"rbd create '{name.stem}' error: rbd: create error: (28) No space left on device")
        if name.owner is not None:
            raise failure(f"unable to create image: qemu-img: {path}: Could not resize file: No space left on device")
        raise failure(f"download failed: {path}: No space left on device")

    def _records(self, volume_id: str) -> dict[str, dict[str, Any]]:
        return self.storages.stored(self.node, volume_id.partition(":")[0])

    def _store(self, volume: Volume) -> None:
        record: dict[str, Any] = {
            "size": volume.size,
            "created": volume.created,
            "vmid": volume.vmid,
            "image": volume.image.model_dump(mode="json") if volume.image else None,
            "file_size": volume.file_size,
        }
        optional = {
            "written": volume.written,
            "parent": volume.parent,
            "snapshots": list(volume.snapshots),
            "sums": dict(volume.sums),
            "notes": volume.notes,
            "protected": volume.protected,
        }
        record |= {name: value for name, value in optional.items() if value}
        self._records(volume.name.id)[volume.name.id] = record
        self.storages.save()
