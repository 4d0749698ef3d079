"""Disks that go elsewhere: to another storage, or to another VM.

Owns what Proxmox refuses to move, and the configuration afterwards.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from lab.proxmox import volumes
from lab.proxmox.config_update import ConfigUpdate
from lab.proxmox.config_values import ConfigValues, boot_text
from lab.proxmox.copies import Copy, DiskCopies
from lab.proxmox.drives import Drive, Drives, base_stem, is_cdrom, is_cloudinit
from lab.proxmox.errors import ApiError, failure, parameter_error
from lab.proxmox.guests import Guest, Guests
from lab.proxmox.tasks import Task


@dataclass(frozen=True)
class DiskMoves:
    values: ConfigValues
    guests: Guests
    drives: Drives
    copies: DiskCopies
    update: ConfigUpdate
    is_running: Callable[[Guest], bool]

    def check_move(self, guest: Guest, parameters: Mapping[str, str]) -> Drive:
        """What is refused at once; else the drive that moves."""
        disk, storage, wanted = parameters["disk"], parameters["storage"], parameters.get("format")
        guest.check_lock()
        guest.check_digest(parameters.get("digest"))
        drive = self._drive(guest, disk, f"disk '{disk}' does not exist")
        if is_cdrom(drive) and not is_cloudinit(drive):
            raise failure("you can't move a cdrom")
        name = self.drives.storages.parse(drive["file"])
        if name.storage == storage and (not wanted or wanted == name.format):
            raise failure("you can't move to the same storage with same format")
        if "images" not in self.drives.storages.on(guest.node).enabled(storage).content:
            raise parameter_error({"storage": f"storage '{storage}' does not support vm images"})
        if parameters.get("delete") == "1" and self._is_snapshotted(guest, drive["file"]):
            raise failure("you can't move a disk with snapshots and delete the source")
        return drive

    async def move(self, guest: Guest, parameters: Mapping[str, str], task: Task) -> None:
        drive, disk, storage = self.check_move(guest, parameters), parameters["disk"], parameters["storage"]
        host, before = self.drives.storages.on(guest.node), drive["file"]
        task.log(
            f"copying volume '{before}' from current storage '{before.partition(':')[0]}' to target storage '{storage}'"
        )
        if self._is_snapshotted(guest, before):
            task.warn("moving disk with snapshots, snapshots will not be moved!")
        running = self.is_running(guest)
        copy = Copy(disk, drive, guest.vmid, storage, parameters.get("format"), running=running)
        try:
            moved = await self.copies.make(host, copy, task)
        except ApiError as error:
            raise failure(f"storage migration failed: {error.message}") from None
        if guest.is_template and not is_cloudinit(moved):
            volume = host.require(moved["file"])
            moved["file"] = host.rename(volume, guest.vmid, base_stem(volume.name)).name.id
        guest.config[disk] = moved["file"] if disk.startswith("unused") else self.drives.render(disk, moved)
        if parameters.get("delete") == "1":
            task.log(f"removing source volume '{before}' after successful copy")
            host.free(before)
        else:
            task.log(f"adding source volume '{before}' as '{guest.add_unused(before)}' to config")
        self.guests.save(guest)

    def check_reassign(self, guest: Guest, target: Guest, parameters: Mapping[str, str]) -> Drive:
        disk = parameters["disk"]
        wanted = parameters.get("target-disk", disk)
        if guest.node != target.node:
            raise failure(f"Both VMs need to be on the same node ({guest.node} != {target.node})")
        guest.check_lock()
        target.check_lock()
        if guest.is_template or target.is_template:
            raise failure("Can't move disks from or to template VMs")
        for owner, digest in ((guest, "digest"), (target, "target-digest")):
            try:
                owner.check_digest(parameters.get(digest))
            except ApiError as error:
                raise failure(f"VM {owner.vmid}: {error.message}") from None
        drive = self._drive(guest, disk, f"Disk '{disk}' for VM '{guest.vmid}' does not exist")
        if wanted in target.config:
            raise failure(f"Target disk key '{wanted}' is already in use for VM '{target.vmid}'")
        if is_cdrom(drive) and not is_cloudinit(drive):
            raise failure("CD drive contents can't be moved to another VM")
        name = self.drives.storages.parse(drive["file"])
        if self._is_snapshotted(guest, name.id):
            raise failure("Can't move disk used by a snapshot to another VM")
        if not volumes.has_feature(self.drives.storages.get(name.storage), name, "rename"):
            raise failure("Storage does not support moving of this disk to another VM")
        if self.is_running(guest) and not disk.startswith("unused"):
            raise failure("Cannot move disk to another VM while the source VM is running - detach first")
        return drive

    def reassign(self, user: str, guest: Guest, target: Guest, parameters: Mapping[str, str], task: Task) -> None:
        """Give a disk to another VM of the same host."""
        drive, disk = self.check_reassign(guest, target, parameters), parameters["disk"]
        wanted = parameters.get("target-disk", disk)
        task.log(f"reassign disk '{disk}' from VM '{guest.vmid}' as '{wanted}' to VM '{target.vmid}'")
        host = self.drives.storages.on(guest.node)
        volume = host.require(drive["file"])
        stem = host.free_stem(volume.name.storage, target.vmid)
        drive["file"] = host.rename(volume, target.vmid, stem).name.id
        order = self.values.boot_order(str(guest.config.get("boot", "")))
        if disk in order:
            task.log(f"removing disk '{disk}' from boot order config")
            guest.config["boot"] = boot_text([device for device in order if device != disk])
        task.log(f"removing disk '{disk}' from VM '{guest.vmid}' config")
        del guest.config[disk]
        self.guests.save(guest)
        if wanted.startswith("unused"):
            target.config[wanted] = drive["file"]
            self.guests.save(target)
        else:
            change = self.update.check(user, target, {wanted: self.drives.render(wanted, drive)})
            self.update.run(target, change, running=self.is_running(target))

    def _drive(self, guest: Guest, disk: str, missing: str) -> Drive:
        if disk not in guest.config:
            raise failure(missing)
        text = str(guest.config[disk])
        return {"file": text} if re.fullmatch(r"unused\d+", disk) else self.drives.parse(disk, text)

    def _is_snapshotted(self, guest: Guest, volume_id: str) -> bool:
        return any(
            drive["file"] == volume_id for taken in guest.snapshots.values() for _, drive in self.drives.of(taken)
        )
