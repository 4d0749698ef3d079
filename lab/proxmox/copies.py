"""Copies of disks: full ones, which take their time and say how far they are, and linked clones of base images.

Owns the new volume and what the task says meanwhile; whose drive it becomes is the caller's business.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

from lab.proxmox import volumes
from lab.proxmox.drives import CLOUDINIT_SIZE, Drive, Drives, is_cloudinit
from lab.proxmox.errors import failure
from lab.proxmox.storage import HostStorages
from lab.proxmox.tasks import Task
from lab.proxmox.volumes import Volume

STEPS = 4
UNITS = ("B", "KiB", "MiB", "GiB", "TiB")


@dataclass(frozen=True)
class Copy:
    """What is to be copied, and to where. What is not told of the copy is as in the original."""

    option: str
    drive: Drive
    vmid: int
    storage: str | None = None
    file_format: str | None = None
    snapshot: str | None = None
    linked: bool = False
    running: bool = False


@dataclass(frozen=True)
class DiskCopies:
    drives: Drives
    seconds: Callable[[], float]
    """How long a full copy takes."""

    def check(self, host: HostStorages, copy: Copy) -> None:
        """Whether the storage can make such a copy at all."""
        name = self.drives.storages.parse(copy.drive["file"])
        feature: volumes.Feature = "clone" if copy.linked else "copy"
        if volumes.has_feature(host.storages.get(name.storage), name, feature, copy.snapshot):
            return
        what = f"{'a snapshot of ' if copy.snapshot else ''}'{name.id}' ({copy.option})"
        raise failure(f"{'Linked' if copy.linked else 'Full'} clone feature is not supported for {what}")

    async def make(self, host: HostStorages, copy: Copy, task: Task) -> Drive:
        """The drive with its copy in it. Whoever fails afterwards frees the volume."""
        source = host.require(copy.drive["file"])
        drive = {name: value for name, value in copy.drive.items() if name != "format"}
        if copy.linked:
            task.log(f"create linked clone of drive {copy.option} ({source.name.id})")
            volume = self._link(host, source, copy.vmid)
        else:
            task.log(f"create full clone of drive {copy.option} ({source.name.id})")
            volume = await self._copy(host, source, copy, task)
        return {**drive, "file": volume.name.id, "size": self.drives.size_text(volume)}

    def _link(self, host: HostStorages, source: Volume, vmid: int) -> Volume:
        storage = host.storages.get(source.name.storage)
        file_format = "qcow2" if storage.keeps_files else "raw"
        volume = host.allocate_disk(storage.id, vmid, file_format, source.size, base=source.name)
        host.copy(source, volume)
        return volume

    async def _copy(self, host: HostStorages, source: Volume, copy: Copy, task: Task) -> Volume:
        storage = copy.storage or source.name.storage
        file_format = host.disk_format(storage, copy.file_format or source.name.format)
        if is_cloudinit(copy.drive):
            stem, size = f"vm-{copy.vmid}-cloudinit", CLOUDINIT_SIZE
            return host.allocate_disk(storage, copy.vmid, file_format, size, stem=stem)
        volume = host.allocate_disk(storage, copy.vmid, file_format, source.size)
        try:
            await self._tell_progress(copy, source.size, task)
            host.copy(source, volume, copy.snapshot)
        except BaseException:
            host.free(volume.name.id)
            raise
        return volume

    async def _tell_progress(self, copy: Copy, size: int, task: Task) -> None:
        if copy.running:
            task.log(f"drive mirror is starting for drive-{copy.option}")
        for step in range(STEPS + 1):
            done = f"transferred {_amount(size * step / STEPS)} of {_amount(size)} ({100 * step / STEPS:.2f}%)"
            task.log(f"drive-{copy.option}: {done} in {step}s" if copy.running else done)
            if step < STEPS:
                await asyncio.sleep(self.seconds() / STEPS)
        if copy.running:
            task.log("all 'mirror' jobs are ready")


def _amount(size: float) -> str:
    for unit in UNITS[:-1]:
        if size < 1024:
            return f"{size:.1f} {unit}"
        size /= 1024
    return f"{size:.1f} {UNITS[-1]}"
