"""Changes of a VM's configuration: first all of them pending, then as much applied as can be.

Owns the order of the real daemon: what is refused before anything changes, deletions, changes, then hot-plugging for a
VM that runs and cold application for one that does not.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from lab.proxmox import option_rights
from lab.proxmox.access import Access
from lab.proxmox.accounts import ROOT
from lab.proxmox.config_values import ConfigValues, boot_text, check_balloon
from lab.proxmox.drives import Drives, is_cdrom, is_cloudinit, is_drive
from lab.proxmox.errors import failure, parameter_error
from lab.proxmox.formats import split_list
from lab.proxmox.guest_config import options_of, refuse_unbuilt
from lab.proxmox.guests import Guest
from lab.proxmox.hotplug import Hotplug
from lab.proxmox.pending import PendingChanges
from lab.proxmox.tasks import Task

FIXED_VERSION = "cannot change TPM state version after creation"


@dataclass
class Wanted:
    """What a call asks for, after the checks that need no VM."""

    user: str
    options: dict[str, str]
    deleted: list[str]
    reverted: list[str]
    force: bool
    digest: str | None
    ignore_lock: bool
    modified: set[str] = field(default_factory=set)


@dataclass(frozen=True)
class ConfigUpdate:
    values: ConfigValues
    drives: Drives
    access: Access
    pending: PendingChanges
    hotplug: Hotplug

    def check(self, user: str, guest: Guest, parameters: Mapping[str, str]) -> Wanted:
        """Everything that is refused before there is a task."""
        refuse_unbuilt({name: value for name, value in parameters.items() if name != "force"})
        skip = parameters.get("skiplock") == "1"
        if skip and user != ROOT:
            raise parameter_error({"skiplock": "Only root may use this option."})
        options = options_of(parameters)
        deleted = [_alias(option) for option in split_list(parameters.get("delete", ""))]
        reverted = split_list(parameters.get("revert", ""))
        if not (options or deleted or reverted):
            raise failure("no options specified")
        options = self.values.prepared(options)
        self._check_names(options, deleted, reverted)
        self.drives.check_parameters(options)
        option_rights.check_options(self.access, user, guest.vmid, None, deleted)
        option_rights.check_options(self.access, user, guest.vmid, None, options)
        self.drives.check_storage_access(user, guest.vmid, options)
        option_rights.check_bridges(self.access, user, self.values.network_format, options)
        force, digest = parameters.get("force") == "1", parameters.get("digest")
        wanted = Wanted(user, options, deleted, reverted, force, digest, skip)
        self._check_guest(guest, wanted)
        return wanted

    def run(self, guest: Guest, wanted: Wanted, *, running: bool, task: Task | None = None) -> None:
        """Change the configuration; what a running VM cannot take now stays pending."""
        self._check_guest(guest, wanted)
        if task:
            task.log(f"update VM {guest.vmid}: {_told(wanted)}")
        for option in wanted.reverted:
            if option in guest.config:
                wanted.options[option] = str(guest.config[option])
            elif option in guest.pending:
                wanted.deleted.append(option)
        order = self.values.boot_order(str(guest.config.get("boot", "")))
        for option in wanted.deleted:
            self._delete(guest, option, wanted, order)
        for option, text in wanted.options.items():
            self._change(guest, option, text, wanted, order)
        self.pending.drop_what_changes_nothing(guest)
        self.pending.save(guest)
        if running:
            if errors := self.hotplug.apply(guest, wanted.modified):
                raise parameter_error(errors)
        else:
            self.pending.apply(guest)
            guest.cloudinit = {} if self._makes_cloudinit_anew(wanted) else guest.cloudinit
            self.pending.save(guest)

    def _check_names(self, options: Mapping[str, str], deleted: list[str], reverted: list[str]) -> None:
        for option in reverted:
            if not self.values.exists(option):
                raise parameter_error({"revert": f"unknown option '{option}'"})
            if option in options:
                raise parameter_error({"delete": f"you can't use '-{option}' and -revert {option}' at the same time"})
        for option in deleted:
            if option in options:
                raise parameter_error({"delete": f"you can't use '-{option}' and -delete {option}' at the same time"})
            if option in reverted:
                raise parameter_error(
                    {"revert": f"you can't use '-delete {option}' and -revert {option}' at the same time"}
                )
            if not self.values.exists(option):
                raise parameter_error({"delete": f"unknown option '{option}'"})

    def _check_guest(self, guest: Guest, wanted: Wanted) -> None:
        guest.check_digest(wanted.digest)
        if not wanted.ignore_lock:
            guest.check_lock()
        check_balloon(wanted.options, guest.effective())

    def _delete(self, guest: Guest, option: str, wanted: Wanted, order: list[str]) -> None:
        value = guest.config.get(option, guest.pending.get(option))
        if value is None:
            return
        wanted.modified.add(option)
        was_pending = guest.pending.pop(option, None) is not None
        if option in order:
            order.remove(option)
            guest.pending["boot"] = boot_text(order)
            wanted.modified.add("boot")
        if option.startswith("unused"):
            self._remove_unused(guest, option, str(value), wanted.user)
        elif option == "tags":
            self.access.check(wanted.user, f"/vms/{guest.vmid}", ["VM.Config.Options"])
            guest.config.pop(option, None)
        else:
            if is_drive(option):
                guest.check_protection(f"can't remove drive '{option}'")
                self._check_drive_right(wanted.user, guest, option, str(value))
                if was_pending:
                    self.pending.keep_unused(guest, self.drives.parse(option, str(value)))
                if wanted.force:
                    self._check_may_free(wanted.user, self.drives.parse(option, str(value))["file"])
            else:
                self._check_device(wanted.user, guest, option, str(value), "delete")
            guest.pending_delete[option] = wanted.force

    def _change(self, guest: Guest, option: str, text: str, wanted: Wanted, order: list[str]) -> None:
        wanted.modified.add(option)
        value = self.values.value(option, text)
        if guest.pending.get(option) == value:
            return
        if is_drive(option):
            self._change_drive(guest, option, text, wanted, order)
        elif option == "cipassword":
            guest.config[option] = value
        else:
            if option == "tags":
                self.access.check(wanted.user, f"/vms/{guest.vmid}", ["VM.Config.Options"])
            elif option == "boot":
                self._check_boot_order(guest, text, wanted)
            elif option in guest.config:
                self._check_device(wanted.user, guest, option, str(guest.config[option]), "modify")
            self._check_device(wanted.user, guest, option, text, "modify")
            guest.pending[option] = value
        guest.pending_delete.pop(option, None)

    def _change_drive(self, guest: Guest, option: str, text: str, wanted: Wanted, order: list[str]) -> None:
        if option in guest.config:
            self._check_drive_right(wanted.user, guest, option, str(guest.config[option]))
            if option == "tpmstate0":
                self._check_tpm_version(str(guest.config[option]), text)
        self._check_drive_right(wanted.user, guest, option, text)
        if option in guest.pending:
            self.pending.keep_unused(guest, self.drives.parse(option, str(guest.pending.pop(option))))
        present = {name: value for name, value in {**guest.config, **guest.pending}.items() if name != option}
        made = self.drives.create(guest.node, guest.vmid, {option: text}, present, None)[option]
        guest.pending[option] = made
        drive = self.drives.parse(option, made)
        if order and is_cdrom(drive) and not is_cloudinit(drive) and option not in order:
            order.append(option)
            guest.pending["boot"] = boot_text(order)
            wanted.modified.add("boot")

    def _check_boot_order(self, guest: Guest, text: str, wanted: Wanted) -> None:
        known = {*guest.config, *guest.pending, *wanted.options} - set(wanted.deleted)
        for device in self.values.boot_order(text):
            if device not in known:
                raise failure(f"invalid bootorder: device '{device}' does not exist'")

    def _check_drive_right(self, user: str, guest: Guest, option: str, text: str) -> None:
        drive = self.drives.parse(option, text)
        if is_cloudinit(drive):
            needed = ["VM.Config.Cloudinit", "VM.Config.CDROM"]
        else:
            needed = ["VM.Config.CDROM"] if is_cdrom(drive) else ["VM.Config.Disk"]
        self.access.check(user, f"/vms/{guest.vmid}", needed)

    def _check_tpm_version(self, before: str, after: str) -> None:
        old, new = self.drives.parse("tpmstate0", before), self.drives.parse("tpmstate0", after)
        if old["file"] == new["file"] and old.get("version", "v1.2") != new.get("version", "v1.2"):
            raise failure(FIXED_VERSION)

    def _check_device(self, user: str, guest: Guest, option: str, text: str, verb: str) -> None:
        if re.fullmatch(r"serial\d+", option) and text != "socket" and user != ROOT:
            raise failure(f"only root can {verb} '{option}' config for real devices")
        option_rights.check_devices(self.access, user, guest.vmid, None, self.values.properties, {option: text})
        if re.fullmatch(r"net\d+", option):
            option_rights.check_bridges(self.access, user, self.values.network_format, {option: text})

    def _remove_unused(self, guest: Guest, option: str, volume_id: str, user: str) -> None:
        guest.check_protection(f"can't remove unused disk '{volume_id}'")
        self.access.check(user, f"/vms/{guest.vmid}", ["VM.Config.Disk"])
        self._check_may_free(user, volume_id)
        self.pending.remove(guest, option, volume_id)
        del guest.config[option]

    def _check_may_free(self, user: str, volume_id: str) -> None:
        if ":" in volume_id:
            self.access.check(user, f"/storage/{volume_id.partition(':')[0]}", ["Datastore.AllocateSpace"])

    def _makes_cloudinit_anew(self, wanted: Wanted) -> bool:
        drives = ((option, text) for option, text in wanted.options.items() if is_drive(option))
        return any(is_cloudinit(self.drives.parse(option, text)) for option, text in drives)


def _alias(option: str) -> str:
    return "ide2" if option == "cdrom" else option


def _told(wanted: Wanted) -> str:
    shown = {option: "<hidden>" if option == "cipassword" else text for option, text in wanted.options.items()}
    if wanted.deleted:
        shown["delete"] = ",".join(wanted.deleted)
    return " ".join(f"-{option} {text}" for option, text in sorted(shown.items()))
