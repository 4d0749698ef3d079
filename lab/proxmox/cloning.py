"""Templates, and copies of whole VMs.

Owns what a clone has of its original, what it gets anew, and what Proxmox refuses to clone or to make a template of.
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from lab.proxmox import option_rights, schema, volumes
from lab.proxmox.access import Access
from lab.proxmox.config_values import ConfigValues
from lab.proxmox.copies import Copy, DiskCopies
from lab.proxmox.drives import Drives, base_stem, is_cdrom, is_cloudinit, is_drive
from lab.proxmox.errors import ApiError, failure, parameter_error
from lab.proxmox.formats import PROPERTY_STRINGS, words
from lab.proxmox.guests import Config, Guest, Guests
from lab.proxmox.property_strings import render
from lab.proxmox.tasks import Task

NOT_COPIED = words("parent snaptime vmstate snapstate runningcpu runningmachine template lock digest")


@dataclass(frozen=True)
class ClonePlan:
    source: Guest
    newid: int
    config: Config
    """All but the drives that are copied."""
    copies: list[Copy]
    target: str | None
    pool: str | None


@dataclass(frozen=True)
class Cloning:
    values: ConfigValues
    guests: Guests
    drives: Drives
    access: Access
    copies: DiskCopies
    is_running: Callable[[Guest], bool]
    pool_exists: Callable[[str], bool]
    node_exists: Callable[[str], bool]

    def check(self, user: str, guest: Guest, parameters: Mapping[str, str]) -> ClonePlan:
        """What is refused at once; else what the task has to do."""
        pool, target = parameters.get("pool"), parameters.get("target")
        target = None if target in (guest.node, "localhost") else target
        if pool and not self.pool_exists(pool):
            raise failure(f"pool '{pool}' does not exist")
        if target and not self.node_exists(target):
            raise failure(f"no such cluster node '{target}'")
        storage, snapshot = parameters.get("storage"), parameters.get("snapname")
        if storage:
            self._check_storage(guest, storage, target)
        guest.check_lock()
        if snapshot and snapshot not in guest.snapshots:
            raise failure(f"snapshot '{snapshot}' does not exist")
        full = parameters.get("full", "0" if guest.is_template else "1") == "1"
        for option in ("storage", "format"):
            if option in parameters and not full:
                raise failure(f"parameter '{option}' not allowed for linked clones")
        before = guest.snapshots[snapshot] if snapshot else guest.config
        shared = self._check_rights(user, before, storage)
        if target and not shared:
            raise failure(f"can't clone VM to node '{target}' (VM uses local storage)")
        newid = int(parameters["newid"])
        if self.guests.find(newid) is not None:
            raise failure(f"unable to create VM {newid}: config file already exists")
        copies = self._copies(guest, before, newid, parameters, full=full)
        return ClonePlan(guest, newid, self._new_config(guest, before, parameters), copies, target, pool)

    async def run(self, plan: ClonePlan, task: Task) -> None:
        task.log(f"creating a clone of VM {plan.source.vmid} with ID {plan.newid}")
        guest = self.guests.create_and_lock(plan.newid, plan.source.node, lock="clone")
        host, made = self.drives.storages.on(guest.node), list[str]()
        try:
            for copy in plan.copies:
                drive = await self.copies.make(host, copy, task)
                made.append(drive["file"])
                guest.config[copy.option] = self.drives.render(copy.option, drive)
                self.guests.save(guest)
        except BaseException as error:
            for volume in made:
                host.free(volume)
            self.guests.remove(guest)
            if isinstance(error, ApiError):
                raise failure(f"clone failed: {error.message}") from None
            raise
        if changes := [*plan.source.pending, *plan.source.pending_delete]:
            task.log(f"found pending changes for '{','.join(changes)}', discarding for clone")
        guest.config = {**plan.config, **{o: v for o, v in guest.config.items() if o != "lock"}}
        guest.node, guest.pool = plan.target or guest.node, plan.pool
        self.guests.save(guest)

    def check_template(self, guest: Guest, disk: str | None) -> None:
        guest.check_lock()
        if guest.snapshots:
            raise failure("unable to create template, because VM contains snapshots")
        if guest.is_template and not disk:
            raise failure("you can't convert a template to a template")
        if self.is_running(guest):
            raise failure("you can't convert a VM to template if VM is running")

    def make_template(self, guest: Guest, disk: str | None) -> None:
        """Turn the disks of a VM, or one of them, into base images."""
        self.check_template(guest, disk)
        guest.config["template"] = 1
        host = self.drives.storages.on(guest.node)
        for option, drive in self.drives.of(guest.config):
            if is_cdrom(drive) or (disk and disk != option):
                continue
            volume = host.require(drive["file"])
            if volume.name.is_base:
                continue
            if not volumes.has_feature(host.storages.get(volume.name.storage), volume.name, "template"):
                raise failure(f"volume '{volume.name.id}' does not support template/clone")
            base = host.rename(volume, guest.vmid, base_stem(volume.name))
            guest.config[option] = self.drives.render(option, {**drive, "file": base.name.id})
            self.guests.save(guest)
        self.guests.save(guest)

    def _check_storage(self, guest: Guest, storage: str, target: str | None) -> None:
        found = self.drives.storages.on(guest.node).enabled(storage)
        if "images" not in found.content:
            raise parameter_error({"storage": f"storage '{storage}' does not support vm images"})
        if target:
            self.drives.storages.on(target).enabled(storage)
            if not found.shared:
                raise failure(f"can't clone to non-shared storage '{storage}'")

    def _check_rights(self, user: str, before: Config, storage: str | None) -> bool:
        """Rights on storages and bridges; whether all of the VM is on shared storages."""
        shared = True
        for _, drive in self.drives.of(before):
            if drive["file"] in ("none", "cdrom"):
                continue
            where = self.drives.storages.get(drive["file"].partition(":")[0])
            shared = shared and where.shared
            if not is_cdrom(drive):
                self.access.check(user, f"/storage/{storage or where.id}", ["Datastore.AllocateSpace"])
        texts = {option: str(value) for option, value in before.items()}
        option_rights.check_mappings(self.access, user, self.values.properties, texts)
        option_rights.check_bridges(self.access, user, self.values.network_format, texts)
        return shared

    def _copies(
        self, guest: Guest, before: Config, newid: int, parameters: Mapping[str, str], *, full: bool
    ) -> list[Copy]:
        found, running, snapshot = [], self.is_running(guest), parameters.get("snapname")
        for option, drive in self.drives.of(before):
            if is_cdrom(drive) and not is_cloudinit(drive):
                continue
            if option == "tpmstate0" and full and running and not snapshot:
                raise failure("cannot clone TPM state while VM is running")
            copy = Copy(
                option=option,
                drive=drive,
                vmid=newid,
                storage=parameters.get("storage"),
                file_format=parameters.get("format"),
                snapshot=snapshot,
                linked=not (full or is_cloudinit(drive) or option == "tpmstate0"),
                running=running,
            )
            self.copies.check(self.drives.storages.on(guest.node), copy)
            found.append(copy)
        return found

    def _new_config(self, guest: Guest, before: Config, parameters: Mapping[str, str]) -> Config:
        config: Config = {}
        for option, value in before.items():
            if option in NOT_COPIED or option.startswith("unused"):
                continue
            if is_drive(option):
                drive = self.drives.parse(option, str(value))
                if is_cdrom(drive) and not is_cloudinit(drive):
                    config[option] = value
            elif re.fullmatch(r"net\d+", option):
                config[option] = self.values.with_mac(option, str(value), fresh=True)
            else:
                config[option] = value
        described = PROPERTY_STRINGS["pve-qm-smbios1"]
        machine = schema.parse_checked(described, str(before.get("smbios1", "")), "smbios1")
        config["smbios1"] = render(described, {**machine, "uuid": str(uuid.uuid4())})
        if "vmgenid" in config:
            config["vmgenid"] = str(uuid.uuid4())
        config["name"] = parameters.get("name") or f"Copy-of-VM-{before.get('name', guest.vmid)}"
        if parameters.get("description"):
            config["description"] = parameters["description"].rstrip()
        return config
