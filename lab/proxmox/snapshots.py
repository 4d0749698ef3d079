"""Snapshots of a VM: its configuration and its disks as they were. The contents of its memory are not kept here.

Owns the tree of snapshots, and what Proxmox refuses to take, to go back to and to remove.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from lab.proxmox import volumes
from lab.proxmox.drives import Drives, is_cdrom
from lab.proxmox.errors import failure
from lab.proxmox.formats import words
from lab.proxmox.guests import Config, Guest, Guests
from lab.proxmox.machines import Machines

NOT_KEPT = words("lock digest description snaptime snapstate vmstate")
RESERVED = ("current", "pending")
WITH_MEMORY = "snapshots with the contents of the memory are not built in this lab"


@dataclass(frozen=True)
class Snapshots:
    guests: Guests
    drives: Drives
    machines: Machines

    def listed(self, guest: Guest) -> list[dict[str, Any]]:
        """The snapshots, and last the VM as it is now."""
        shown = [
            {
                "name": name,
                "snaptime": taken.get("snaptime", 0),
                "vmstate": 0,
                "description": taken.get("description", ""),
                **({"parent": taken["parent"]} if "parent" in taken else {}),
            }
            for name, taken in guest.snapshots.items()
        ]
        now: dict[str, Any] = {
            "name": "current",
            "digest": guest.digest,
            "running": int(self.machines.is_running(guest)),
            "description": "You are here!",
        }
        return [*shown, {**now, **({"parent": guest.config["parent"]} if "parent" in guest.config else {})}]

    def get(self, guest: Guest, name: str) -> Config:
        if name not in guest.snapshots:
            raise failure(f"snapshot '{name}' does not exist")
        return guest.snapshots[name]

    def check_name(self, name: str) -> None:
        if name.lower() in RESERVED:
            raise failure(f"unable to use snapshot name '{name.lower()}' (reserved name)")

    def take(self, guest: Guest, name: str, description: str, *, memory: bool) -> None:
        guest.check_lock()
        if memory and self.machines.is_running(guest):
            raise failure(WITH_MEMORY)
        if guest.is_template:
            raise failure("you can't take a snapshot if it's a template")
        if name in guest.snapshots:
            raise failure(f"snapshot name '{name}' already used")
        host = self.drives.storages.on(guest.node)
        disks = list(self._disks(guest.config))
        for volume_id in disks:
            volume = self.drives.storages.parse(volume_id)
            if not volumes.has_feature(self.drives.storages.get(volume.storage), volume, "snapshot"):
                raise failure("snapshot feature is not available")
        for volume_id in disks:
            host.snapshot(volume_id, name)
        guest.snapshots[name] = {
            **{option: value for option, value in guest.config.items() if _is_kept(option)},
            "snaptime": int(time.time()),
            **({"description": description} if description else {}),
        }
        guest.config["parent"] = name
        self.guests.save(guest)

    def describe(self, guest: Guest, name: str, description: str) -> None:
        guest.check_lock()
        self.get(guest, name)["description"] = description
        self.guests.save(guest)

    async def roll_back(self, guest: Guest, name: str) -> None:
        """Make the VM what it was; it is off afterwards. Disks that it did not have then stay with it, unused."""
        taken = self.get(guest, name)
        guest.check_lock()
        if guest.is_template:
            raise failure("unable to rollback if VM is a template")
        if self.machines.is_running(guest):
            await self.machines.stop(guest)
        host = self.drives.storages.on(guest.node)
        then, now = list(self._disks(taken)), list(self._disks(guest.config))
        for volume_id in then:
            host.roll_back(volume_id, name)
        kept = {o: v for o, v in guest.config.items() if o.startswith("unused") or o == "description"}
        guest.config = {**kept, **{option: value for option, value in taken.items() if _is_kept(option)}}
        guest.config["parent"] = name
        guest.pending, guest.pending_delete = {}, {}
        for volume_id in now:
            if volume_id not in then:
                guest.add_unused(volume_id)
        self.guests.save(guest)

    def remove(self, guest: Guest, name: str, *, force: bool) -> None:
        taken = self.get(guest, name)
        guest.check_lock()
        host = self.drives.storages.on(guest.node)
        for volume_id in self._disks(taken):
            if not (force and host.find(volume_id) is None):
                host.remove_snapshot(volume_id, name)
        del guest.snapshots[name]
        for config in (guest.config, *guest.snapshots.values()):
            if config.get("parent") == name:
                config.pop("parent")
                if "parent" in taken:
                    config["parent"] = taken["parent"]
        self.guests.save(guest)

    def has_feature(self, config: Config, feature: volumes.Feature, snapshot: str | None) -> bool:
        """Whether every disk of a configuration can be copied, linked to, or be part of a snapshot."""
        names = [self.drives.storages.parse(volume_id) for volume_id in self._disks(config)]
        return all(volumes.has_feature(self.drives.storages.get(n.storage), n, feature, snapshot) for n in names)

    def shared_nodes(self, config: Config) -> list[str]:
        """The hosts that have all the storages of a configuration, and the same volumes on them."""
        nodes = [node.name for node in self.machines.assembly.datacentre.proxmox.nodes]
        storages = [self.drives.storages.get(volume_id.partition(":")[0]) for volume_id in self._disks(config)]
        return [node for node in nodes if all(storage.shared and storage.is_on(node) for storage in storages)]

    def _disks(self, config: Config) -> Iterator[str]:
        return (drive["file"] for _, drive in self.drives.of(config) if not is_cdrom(drive))


def _is_kept(option: str) -> bool:
    return option not in NOT_KEPT and not option.startswith("unused")
