"""Moves VMs between hosts: what Proxmox refuses to move, and what moves along.

Owns the checks before a migration and the change of host. A machine's process goes on running, as a live migration
promises its guest.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from lab.datacentre import Datacentre
from lab.proxmox.drives import Drives, is_cdrom, is_cloudinit, is_drive
from lab.proxmox.errors import ApiError, failure, parameter_error
from lab.proxmox.guests import Guest, Guests
from lab.proxmox.machines import Machines
from lab.proxmox.tasks import Task

ABORTED = "migration aborted"


@dataclass(frozen=True)
class Migration:
    datacentre: Datacentre
    guests: Guests
    machines: Machines
    drives: Drives

    def check(self, guest: Guest, target: str, *, online: bool) -> None:
        """What is refused at once, before there is a task."""
        if target == guest.node:
            raise parameter_error({"target": "target is local node."})
        if target not in [node.name for node in self.datacentre.proxmox.nodes]:
            raise failure(f"no such cluster node '{target}'")
        guest.check_lock()
        if self.machines.is_running(guest) and not online:
            raise failure("can't migrate running VM without --online")

    def run(self, guest: Guest, target: str, task: Task, *, local_disks: bool) -> None:
        """Move a VM with its disks; fails the task where Proxmox would."""
        task.log(f"starting migration of VM {guest.vmid} to node '{target}'")
        try:
            guest.check_lock()
            self._check_devices(guest, target)
            moved = self._volumes_to_move(guest, target, task, local_disks=local_disks)
            self._check_bridges(guest, target)
        except ApiError as error:
            task.log(f"ERROR: {ABORTED}: {error.message}")
            raise failure(ABORTED) from None
        for volume in moved:
            self.drives.storages.move(volume, guest.node, target)
        guest.node = target
        self.guests.save(guest)
        task.log("migration finished successfully")

    def _check_devices(self, guest: Guest, target: str) -> None:
        used = {option for option in guest.config if re.fullmatch(r"hostpci\d+", option)}
        mapped = {option: self.machines.assembly.mapping_of(guest, option) for option in sorted(used)}
        for option, mapping in mapped.items():
            if mapping is None or target not in [device.node for device in mapping.map]:
                raise failure(f"can't migrate to '{target}': missing mapped devices {option}")
        if mapped and self.machines.is_running(guest):
            names = ", ".join(f"{option}:{mapping.id}" for option, mapping in mapped.items() if mapping)
            raise failure(f"can't live migrate running VM which uses following mapped devices: {names}")

    def _volumes_to_move(self, guest: Guest, target: str, task: Task, *, local_disks: bool) -> list[str]:
        """The volumes of storages that are not shared."""
        found: list[str] = []
        problems = False
        for option, text in guest.effective().items():
            if not (is_drive(option) or option.startswith("unused")):
                continue
            drive = self.drives.parse(option, str(text)) if is_drive(option) else {"file": str(text)}
            if drive["file"] in ("none", "cdrom"):
                continue
            storage = self.drives.storages.on(target).enabled(drive["file"].partition(":")[0])
            if storage.shared:
                continue
            problem = None
            if is_cdrom(drive) and not is_cloudinit(drive):
                problem = "local cdrom image"
            elif self.machines.is_running(guest) and not local_disks and not is_cloudinit(drive):
                problem = "can't live migrate attached local disks without with-local-disks option"
            if problem:
                problems = True
                task.log(f"can't migrate local disk '{drive['file']}': {problem}")
            else:
                found.append(drive["file"])
        if problems:
            raise failure("Problem found while scanning volumes - can't migrate VM - check log")
        return found

    def _check_bridges(self, guest: Guest, target: str) -> None:
        if self.machines.is_running(guest):
            for bridge in self.machines.assembly.missing_bridges(guest.config, target):
                raise failure(f"bridge '{bridge}' does not exist")
