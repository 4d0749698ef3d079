"""Moves VMs between hosts: what Proxmox refuses to move, and what moves along.

Owns the checks before a migration and the change of host. A machine's process goes on running, as a live migration
promises its guest.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any

from lab.datacentre import Datacentre
from lab.proxmox.drives import Drive, Drives, is_cdrom, is_cloudinit
from lab.proxmox.errors import ApiError, failure, parameter_error
from lab.proxmox.formats import split_list
from lab.proxmox.guests import Guest, Guests
from lab.proxmox.machines import Machines
from lab.proxmox.tasks import Task

ABORTED = "migration aborted"


@dataclass
class StorageMap:
    """To which storage of another host a disk goes; without a word, to the one of the same name."""

    default: str | None = None
    pairs: dict[str, str] = field(default_factory=dict)

    def target(self, storage: str) -> str:
        return self.pairs.get(storage, self.default or storage)


@dataclass(frozen=True)
class Migration:
    datacentre: Datacentre
    guests: Guests
    machines: Machines
    drives: Drives

    def storage_map(self, user: str, guest: Guest, target: str, wanted: str | None) -> StorageMap:
        """Where disks go that cannot stay on the storage of the same name: one storage for all, or pairs."""
        found = StorageMap()
        for pair in split_list(wanted or ""):
            source, colon, there = pair.partition(":")
            if colon:
                found.pairs[source] = there
            elif pair != "1":
                found.default = pair
        if found.default or found.pairs:
            self.drives.access.check(user, f"/vms/{guest.vmid}", ["VM.Config.Disk"])
        for storage in [*found.pairs.values(), *filter(None, [found.default])]:
            known = self.drives.storages.on(target).enabled(storage)
            self.drives.access.check(user, f"/storage/{storage}", ["Datastore.AllocateSpace"])
            if "images" not in known.content:
                raise failure(f"storage '{storage}' does not support vm images")
        return found

    def check(self, guest: Guest, target: str, storages: StorageMap, *, online: bool) -> None:
        """What is refused at once, before there is a task."""
        if target == guest.node:
            raise parameter_error({"target": "target is local node."})
        if target not in [node.name for node in self.datacentre.proxmox.nodes]:
            raise failure(f"no such cluster node '{target}'")
        guest.check_lock()
        if self.machines.is_running(guest) and not online:
            raise failure("can't migrate running VM without --online")
        for _, drive in self._drives(guest):
            storage = drive["file"].partition(":")[0]
            self.drives.storages.on(guest.node).enabled(storage)
            if storages.target(storage) == storage:
                self.drives.storages.on(target).enabled(storage)

    def preconditions(self, guest: Guest) -> dict[str, Any]:
        """What a person is told before they choose a host."""
        guest.check_lock()
        allowed, refused = [], {}
        for node in (node.name for node in self.datacentre.proxmox.nodes if node.name != guest.node):
            used = {drive["file"].partition(":")[0] for _, drive in self._drives(guest)}
            missing = sorted(name for name in used if not self.drives.storages.get(name).is_on(node))
            if missing:
                refused[node] = {"unavailable_storages": missing}
            else:
                allowed.append(node)
        local = [(o, d) for o, d in self._drives(guest) if not self._is_shared(d)]
        mapped = {o: m for o in self._pci(guest) if (m := self.machines.assembly.mapping_of(guest, o))}
        return {
            "running": int(self.machines.is_running(guest)),
            "allowed_nodes": allowed,
            "not_allowed_nodes": refused,
            "local_disks": [
                {"volid": d["file"], "cdrom": int(is_cdrom(d)), "is_unused": int(o.startswith("unused"))}
                for o, d in local
            ],
            "local_resources": [option for option in self._pci(guest) if option not in mapped],
            "mapped-resources": sorted(mapped),
            "mapped-resource-info": {option: {"name": name} for option, name in mapped.items()},
            "has-dbus-vmstate": 1,
        }

    def run(self, guest: Guest, target: str, task: Task, storages: StorageMap, *, local_disks: bool) -> None:
        """Move a VM with its disks; fails the task where Proxmox would."""
        task.log(f"starting migration of VM {guest.vmid} to node '{target}'")
        try:
            if target in self.machines.faults().hosts_down:
                raise failure("Can't connect to destination address using public key")
            guest.check_lock()
            self._check_devices(guest, target)
            moved = self._volumes_to_move(guest, task, local_disks=local_disks)
            self._check_bridges(guest, target)
        except ApiError as error:
            task.log(f"ERROR: {ABORTED}: {error.message}")
            raise failure(ABORTED) from None
        for option, drive in moved:
            self._move_volume(guest, option, drive, target, storages, task)
        guest.node = target
        self.guests.save(guest)
        self.machines.hypervisor.moved()
        task.log("migration finished successfully")

    def _move_volume(
        self, guest: Guest, option: str, drive: Drive, target: str, storages: StorageMap, task: Task
    ) -> None:
        """Move a disk to the other host, to the storage of the same name or to another."""
        volume_id = drive["file"]
        wanted = storages.target(volume_id.partition(":")[0])
        task.log(f"copying local disk image '{volume_id}' to storage '{wanted}' on node '{target}'")
        if self.drives.storages.parse(volume_id).storage == wanted:
            self.drives.storages.move(volume_id, guest.node, target)
            return
        here, there = self.drives.storages.on(guest.node), self.drives.storages.on(target)
        volume = here.require(volume_id)
        moved = there.allocate_disk(wanted, guest.vmid, there.disk_format(wanted, volume.name.format), volume.size)
        there.copy(volume, moved)
        here.free(volume_id)
        config = guest.pending if option in guest.pending else guest.config
        new = {**drive, "file": moved.name.id}
        config[option] = moved.name.id if option.startswith("unused") else self.drives.render(option, new)

    def _check_devices(self, guest: Guest, target: str) -> None:
        mapped = {option: self.machines.assembly.mapping_of(guest, option) for option in self._pci(guest)}
        if local := [option for option in mapped if self.machines.assembly.is_unmapped(guest, option)]:
            raise failure(f"can't migrate VM which uses local devices: {', '.join(local)}")
        for option, mapping in mapped.items():
            devices = self.machines.assembly.mappings.devices("pci", mapping) if mapping else []
            if target not in [device.node for device in devices]:
                raise failure(f"can't migrate to '{target}': missing mapped devices {option}")
        if mapped and self.machines.is_running(guest):
            names = ", ".join(f"{option}:{mapping}" for option, mapping in mapped.items() if mapping)
            raise failure(f"can't live migrate running VM which uses following mapped devices: {names}")

    def _volumes_to_move(self, guest: Guest, task: Task, *, local_disks: bool) -> list[tuple[str, Drive]]:
        """The drives with volumes of storages that are not shared."""
        found: list[tuple[str, Drive]] = []
        problems = False
        for option, drive in self._drives(guest):
            if self._is_shared(drive):
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
                found.append((option, drive))
        if problems:
            raise failure("Problem found while scanning volumes - can't migrate VM - check log")
        return found

    def _drives(self, guest: Guest) -> list[tuple[str, Drive]]:
        found = self.drives.of(guest.effective(), unused=True)
        return [(option, drive) for option, drive in found if drive["file"] not in ("none", "cdrom")]

    def _is_shared(self, drive: Drive) -> bool:
        return self.drives.storages.get(drive["file"].partition(":")[0]).shared

    def _pci(self, guest: Guest) -> list[str]:
        return sorted(option for option in guest.config if re.fullmatch(r"hostpci\d+", option))

    def _check_bridges(self, guest: Guest, target: str) -> None:
        if self.machines.is_running(guest):
            for bridge in self.machines.assembly.missing_bridges(guest.config, target):
                raise failure(f"bridge '{bridge}' does not exist")
