"""The configuration of a new VM: what Proxmox refuses before it makes one, and what it writes.

Permissions that the description does not state are asked for here, in the order of the real daemon. Changes of a
configuration are lab.proxmox.config_update's business.
"""

from __future__ import annotations

import re
import time
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from lab.proxmox import option_rights
from lab.proxmox.access import Access
from lab.proxmox.config_values import ConfigValues, boot_text
from lab.proxmox.drives import Drives, is_cdrom, is_drive
from lab.proxmox.errors import failure, not_permitted
from lab.proxmox.formats import words
from lab.proxmox.guests import Config, Guest, Guests, Value
from lab.proxmox.tasks import Task

QEMU_VERSION = "10.1.2"
NOT_OPTIONS = words(
    "node vmid archive storage force unique live-restore pool bwlimit start ha-managed import-working-storage "
    "delete revert digest skiplock background_delay"
)
NOT_BUILT = words("archive force unique live-restore import-working-storage storage")


@dataclass(frozen=True)
class GuestConfiguration:
    values: ConfigValues
    guests: Guests
    drives: Drives
    access: Access
    pool_exists: Callable[[str], bool]

    def check_creation(self, user: str, vmid: int, parameters: dict[str, str]) -> dict[str, str]:
        """Everything that Proxmox refuses before the task starts; returns the options with their MAC addresses."""
        refuse_unbuilt(parameters)
        pool = parameters.get("pool")
        if pool and not self.pool_exists(pool):
            raise failure(f"pool '{pool}' does not exist")
        if parameters.get("ha-managed") == "1":
            self.access.check(user, "/", ["Sys.Console"])
        if parameters.get("start") == "1":
            self.access.check_vm(user, vmid, pool, ["VM.PowerMgmt"])
        places = [f"/vms/{vmid}", *([f"/pool/{pool}"] if pool else [])]
        if not any(self.access.allowed(user, place, ["VM.Allocate"]) for place in places):
            raise not_permitted()
        options = self.values.prepared(options_of(parameters))
        self.drives.check_storage_access(user, vmid, options)
        option_rights.check_options(self.access, user, vmid, pool, options)
        option_rights.check_devices(self.access, user, vmid, pool, self.values.properties, options)
        option_rights.check_bridges(self.access, user, self.values.network_format, options)
        self.drives.check_parameters(options)
        return options

    def create(self, guest: Guest, options: Mapping[str, str], task: Task) -> None:
        """Fill a locked, empty configuration."""
        config: Config = {option: self.values.value(option, text) for option, text in options.items()}
        config["meta"] = f"creation-qemu={QEMU_VERSION},ctime={int(time.time())}"
        config |= self.drives.create(guest.node, guest.vmid, options, {}, task)
        if "boot" not in options:
            config["boot"] = boot_text(_default_boot_devices(config, self.drives))
        config.setdefault("smbios1", f"uuid={uuid.uuid4()}")
        config.setdefault("vmgenid", str(uuid.uuid4()))
        guest.config = config
        self.guests.save(guest)


def options_of(parameters: Mapping[str, str]) -> dict[str, str]:
    """The parameters of a call that are options of a VM."""
    return {name: value for name, value in parameters.items() if name not in NOT_OPTIONS}


def refuse_unbuilt(parameters: Mapping[str, str]) -> None:
    """Parameters whose effect is not built are refused, not ignored."""
    for name in sorted(NOT_BUILT.intersection(parameters)):
        if parameters[name] != "0":
            raise failure(f"parameter '{name}' is not built in this lab")


def _default_boot_devices(config: Mapping[str, Value], drives: Drives) -> list[str]:
    """First disk, first CD drive, first network device."""
    found: dict[str, str] = {}
    for option in sorted(config):
        if is_drive(option) and option not in ("efidisk0", "tpmstate0"):
            kind = "cdrom" if is_cdrom(drives.parse(option, str(config[option]))) else "disk"
            found.setdefault(kind, option)
        elif re.fullmatch(r"net\d+", option):
            found.setdefault("net", option)
    return [found[kind] for kind in ("disk", "cdrom", "net") if kind in found]
