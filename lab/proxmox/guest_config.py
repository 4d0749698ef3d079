"""What a VM's configuration becomes when a client creates or changes it, echoed as Proxmox echoes it.

Owns value conversion, random MAC addresses, generated ids, pending changes of running VMs. Permissions that the
description does not state are asked for here, in the order of the real daemon.
"""

from __future__ import annotations

import re
import secrets
import time
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from lab.proxmox import formats, option_rights, schema
from lab.proxmox.access import Access
from lab.proxmox.description import Schema
from lab.proxmox.drives import Drives, is_cdrom, is_cloudinit, is_drive
from lab.proxmox.errors import failure, parameter_error
from lab.proxmox.formats import words
from lab.proxmox.guests import Config, Guest, Guests, Value
from lab.proxmox.property_strings import render
from lab.proxmox.tasks import Task

QEMU_VERSION = "10.1.2"
NOT_OPTIONS = words(
    "node vmid archive storage force unique live-restore pool bwlimit start ha-managed import-working-storage "
    "delete revert digest skiplock background_delay"
)
# What a running VM takes over at once; everything else waits for the next power cycle. Proxmox also hot-plugs disks and
# network devices; a machine here reads its hardware when it powers on, so those wait too.
HOT = words("name description tags onboot startup protection hookscript shares vmstatestorage")
NOT_BUILT = words("archive force unique live-restore ha-managed import-working-storage storage start revert")


@dataclass(frozen=True)
class GuestConfiguration:
    properties: Mapping[str, Schema]  # of the call that creates a VM
    guests: Guests
    drives: Drives
    access: Access
    pool_exists: Callable[[str], bool]

    def check_creation(self, user: str, vmid: int, parameters: dict[str, str]) -> dict[str, str]:
        """Everything that Proxmox refuses before the task starts; returns the options with their MAC addresses."""
        _refuse_unbuilt(parameters)
        pool = parameters.get("pool")
        if pool and not self.pool_exists(pool):
            raise failure(f"pool '{pool}' does not exist")
        if not self.access.allowed(user, f"/vms/{vmid}", ["VM.Allocate"]) and not (
            pool and self.access.allowed(user, f"/pool/{pool}", ["VM.Allocate"])
        ):
            self.access.check(user, f"/vms/{vmid}", ["VM.Allocate"])
        options = _options(parameters)
        self.drives.check_storage_access(user, vmid, options)
        option_rights.check_options(self.access, user, vmid, pool, options)
        option_rights.check_devices(self.access, user, vmid, pool, options)
        option_rights.check_bridges(self.access, user, self._network_format, options)
        self.drives.check_parameters(options)
        return self._with_macs(options)

    def create(self, guest: Guest, options: Mapping[str, str], task: Task) -> None:
        """Fill a locked, empty configuration."""
        config: Config = {option: self._value(option, text) for option, text in options.items()}
        config["meta"] = f"creation-qemu={QEMU_VERSION},ctime={int(time.time())}"
        config |= self.drives.create(guest.node, guest.vmid, options, {}, task)
        if "boot" in options:
            self._check_boot_order(options["boot"], config)
        else:
            config["boot"] = f"order={';'.join(_default_boot_devices(config, self.drives))}"
        config.setdefault("smbios1", f"uuid={uuid.uuid4()}")
        if config.get("vmgenid", "1") == "1":
            config["vmgenid"] = str(uuid.uuid4())
        guest.config = config
        self.guests.save(guest)

    def update(self, user: str, guest: Guest, parameters: dict[str, str], *, running: bool) -> None:
        """`PUT .../config`: deletions, then changes; what a running VM cannot take now stays pending."""
        _refuse_unbuilt(parameters)
        options = _options(parameters)
        deleted = formats.split_list(parameters.get("delete", ""))
        for option in deleted:
            if option in options:
                raise parameter_error({"delete": f"you can't use '-{option}' and -delete {option}' at the same time"})
        self.drives.check_parameters(options)
        options = self._with_macs(options)
        option_rights.check_options(self.access, user, guest.vmid, None, [*deleted, *options])
        option_rights.check_devices(self.access, user, guest.vmid, None, options)
        self.drives.check_storage_access(user, guest.vmid, options)
        option_rights.check_bridges(self.access, user, self._network_format, options)
        if (digest := parameters.get("digest")) and digest != guest.digest:
            raise failure("checksum mismatch (file change by other user?)")
        guest.check_lock()
        self._check_balloon(options, guest)

        for option in deleted:
            self._delete(user, guest, option, running=running)
        for option, text in options.items():
            self._change(user, guest, option, text, running=running)
        if boot := options.get("boot"):
            self._check_boot_order(boot, guest.effective())
        if not running:
            guest.apply_pending()
        self.guests.save(guest)

    def _delete(self, user: str, guest: Guest, option: str, *, running: bool) -> None:
        present = guest.effective()
        if option not in present:
            return
        if is_drive(option):
            guest.check_protection(f"can't remove drive '{option}'")
            self._check_drive_right(user, guest, option, str(present[option]))
        guest.pending.pop(option, None)
        if running and option in HOT:
            guest.config.pop(option, None)
        elif option in guest.config:
            guest.pending_delete.append(option)
        self._drop_from_boot_order(guest, option)
        if is_drive(option):
            drive = self.drives.parse(option, str(present[option]))
            if is_cloudinit(drive):
                self.drives.storages.on(guest.node).free(drive["file"])
            elif not is_cdrom(drive):  # a detached disk keeps its data
                guest.pending[_next_unused(guest.effective())] = drive["file"]
        elif option.startswith("unused"):
            self.access.check(user, f"/vms/{guest.vmid}", ["VM.Config.Disk"])
            self.drives.storages.on(guest.node).free(str(present[option]))

    def _change(self, user: str, guest: Guest, option: str, text: str, *, running: bool) -> None:
        value = self._value(option, text)
        hot = option in HOT
        if is_drive(option):
            if option in guest.config:
                self._check_drive_right(user, guest, option, str(guest.config[option]))
            self._check_drive_right(user, guest, option, text)
            value = self.drives.create(guest.node, guest.vmid, {option: text}, guest.effective(), None)[option]
            hot = (
                is_cdrom(self.drives.parse(option, value)) and option in guest.config
            )  # another disc in the same drive
        elif option == "tags":
            self.access.check(user, f"/vms/{guest.vmid}", ["VM.Config.Options"])
        if option in guest.pending_delete:
            guest.pending_delete.remove(option)
        if hot or not running or guest.config.get(option) == value:
            guest.config[option] = value
            guest.pending.pop(option, None)
        else:
            guest.pending[option] = value

    def _check_drive_right(self, user: str, guest: Guest, option: str, text: str) -> None:
        drive = self.drives.parse(option, text)
        if is_cloudinit(drive):
            needed = ["VM.Config.Cloudinit", "VM.Config.CDROM"]
        else:
            needed = ["VM.Config.CDROM"] if is_cdrom(drive) else ["VM.Config.Disk"]
        self.access.check(user, f"/vms/{guest.vmid}", needed)

    def _check_balloon(self, options: Mapping[str, str], guest: Guest) -> None:
        present = guest.effective()
        memory = int(str(options.get("memory", present.get("memory", "512"))).removeprefix("current="))
        if int(options.get("balloon", present.get("balloon", 0))) > memory:
            raise failure("balloon value too large (must be smaller than assigned memory)")

    def _check_boot_order(self, boot: str, config: Mapping[str, Value]) -> None:
        order = schema.parse_checked(formats.PROPERTY_STRINGS["pve-qm-boot"], boot, "boot").get("order", "")
        for device in formats.split_list(order):
            if device not in config:
                raise failure(f"invalid bootorder: device '{device}' does not exist'")

    def _drop_from_boot_order(self, guest: Guest, option: str) -> None:
        boot = str(guest.effective().get("boot", ""))
        devices = formats.split_list(boot.removeprefix("order="))
        if boot.startswith("order=") and option in devices:
            guest.pending["boot"] = "order=" + ";".join(device for device in devices if device != option)

    def _with_macs(self, options: Mapping[str, str]) -> dict[str, str]:
        """Network devices get the MAC address that they were not given, and the spelling that Proxmox writes."""
        result = dict(options)
        for option, text in options.items():
            if re.fullmatch(r"net\d+", option):
                device = schema.parse_checked(self._network_format, text, option)
                device.setdefault("macaddr", random_mac())
                result[option] = render(self._network_format, device)
        return result

    def _value(self, option: str, text: str) -> Value:
        """The value as JSON answers carry it: numbers and flags as numbers, all else as text."""
        described = self.properties.get(option) or self.properties.get(re.sub(r"\d+$", "[n]", option)) or {}
        if described.get("type") in ("boolean", "integer"):
            return int(text)
        if option == "description":
            return text.rstrip()
        if option == "tags":
            return ";".join(dict.fromkeys(formats.split_list(text.lower())))
        return text

    @property
    def _network_format(self) -> Mapping[str, Schema]:
        found: Mapping[str, Schema] = self.properties["net[n]"]["format"]
        return found


def random_mac() -> str:
    """In Proxmox's own prefix."""
    return "BC:24:11:" + ":".join(f"{byte:02X}" for byte in secrets.token_bytes(3))


def _options(parameters: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in parameters.items() if name not in NOT_OPTIONS}


def _refuse_unbuilt(parameters: Mapping[str, str]) -> None:
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


def _next_unused(config: Mapping[str, Value]) -> str:
    return next(f"unused{number}" for number in range(256) if f"unused{number}" not in config)
