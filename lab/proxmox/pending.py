"""Changes of a configuration that wait until the VM is off, and what becomes of a disk that leaves its drive.

Owns the cold application of pending changes. What a running VM takes at once is lab.proxmox.hotplug's business.
"""

from __future__ import annotations

from dataclasses import dataclass

from lab.proxmox.drives import Drive, Drives, is_cdrom, is_cloudinit, is_drive
from lab.proxmox.errors import failure
from lab.proxmox.guests import Config, Guest, Guests


@dataclass(frozen=True)
class PendingChanges:
    guests: Guests
    drives: Drives

    def apply(self, guest: Guest) -> None:
        """Make what is pending the configuration."""
        for option, force in sorted(guest.pending_delete.items()):
            if is_drive(option) and option in guest.config:
                self.let_go(guest, option, force=force)
            guest.config.pop(option, None)
        for option, value in guest.pending.items():
            if is_drive(option) and option in guest.config:
                self.keep_unused(guest, self.drives.parse(option, str(guest.config[option])))
            guest.config[option] = value
        guest.pending, guest.pending_delete = {}, {}
        self.save(guest)

    def save(self, guest: Guest) -> None:
        """Write a configuration; a volume that is in a drive again is not unused."""
        used = {drive["file"] for _, drive in self.drives.of(guest.config)}
        guest.config = {o: v for o, v in guest.config.items() if not (o.startswith("unused") and v in used)}
        self.guests.save(guest)

    def drop_what_changes_nothing(self, guest: Guest) -> None:
        guest.pending = {o: value for o, value in guest.pending.items() if guest.config.get(o) != value}
        guest.pending_delete = {o: force for o, force in guest.pending_delete.items() if o in guest.config}

    def let_go(self, guest: Guest, option: str, *, force: bool) -> None:
        """Empty a drive: its disk stays as an unused one, or is removed."""
        drive = self.drives.parse(option, str(guest.config[option]))
        if not force:
            self.keep_unused(guest, drive)
        elif not is_cdrom(drive) or is_cloudinit(drive):
            self.remove(guest, option, drive["file"])

    def keep_unused(self, guest: Guest, drive: Drive) -> None:
        """A VM's own disk that is in no drive stays with it; a cloud-init drive, which can be made again, does not."""
        if is_cloudinit(drive):
            self.drives.storages.on(guest.node).free(drive["file"])
            guest.cloudinit = {}
        elif not is_cdrom(drive) and self.drives.storages.parse(drive["file"]).owner == guest.vmid:
            guest.add_unused(drive["file"])

    def remove(self, guest: Guest, option: str, volume_id: str) -> None:
        """Remove a volume that only this option names. One that is somebody else's stays, and is named no more."""
        if self.drives.storages.parse(volume_id).owner != guest.vmid:
            return
        if self.is_in_use(guest, option, volume_id):
            raise failure(f"unable to delete '{volume_id}' - volume is still in use (snapshot?)")
        self.drives.storages.on(guest.node).free(volume_id)

    def is_in_use(self, guest: Guest, option: str, volume_id: str) -> bool:
        """Whether another drive, or any drive of a snapshot, has the volume."""
        now: Config = {name: value for name, value in guest.config.items() if name != option}
        return any(
            drive["file"] == volume_id
            for config in (now, *guest.snapshots.values())
            for _, drive in self.drives.of(config)
        )
