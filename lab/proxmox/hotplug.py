"""What a running VM takes of the changes of its configuration; the rest stays pending.

Owns Proxmox's rules, option by option. What the machine inside gets to see of a new disk or network device is
lab.proxmox.machines' business.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

from lab.proxmox import formats, schema
from lab.proxmox.config_values import processors
from lab.proxmox.description import Schema
from lab.proxmox.drives import Drives, is_cdrom, is_cloudinit, is_drive
from lab.proxmox.errors import ApiError, failure
from lab.proxmox.formats import words
from lab.proxmox.guests import Guest, Value
from lab.proxmox.option_rights import CLOUDINIT
from lab.proxmox.pending import PendingChanges

WITHOUT_EFFECT = words(
    "description hookscript lock migrate_downtime migrate_speed name onboot protection shares startup tags "
    "vmstatestorage"
)
"""What a running VM does not notice; it is changed at once, whoever asks for what else."""
DEFAULT_FEATURES = words("network disk usb")
NEEDS_NEW_DEVICE = ("model", "macaddr", "queues", "mtu")
NEEDS_NEW_START = words("aio discard iothread queues product cache ssd vendor ro")


@dataclass(frozen=True)
class Hotplug:
    properties: Mapping[str, Schema]  # of the call that creates a VM
    drives: Drives
    pending: PendingChanges

    def apply(self, guest: Guest, selection: set[str]) -> dict[str, str]:
        """Take over what can be of the selected options; returns what went wrong, by option."""
        errors: dict[str, str] = {}
        for option in [option for option in guest.pending if is_without_effect(option)]:
            self._take(guest, option)
        features = self._features(guest)
        for option, force in sorted(guest.pending_delete.items()):
            if option in selection:
                with _noting(option, errors):
                    if self._deletes(guest, option, features, force=force):
                        _record_cloudinit(guest, option, guest.config.pop(option, None), None)
                        del guest.pending_delete[option]
        cloudinit_drive = None
        for option, value in list(guest.pending.items()):
            if option in selection:
                with _noting(option, errors):
                    if is_drive(option) and is_cloudinit(self.drives.parse(option, str(value))):
                        cloudinit_drive = option  # when all else is as it is to be
                    elif self._changes(guest, option, value, features):
                        self._take(guest, option)
        if cloudinit_drive:
            with _noting(cloudinit_drive, errors):
                if self._changes_drive(guest, cloudinit_drive, str(guest.pending[cloudinit_drive]), features):
                    guest.config[cloudinit_drive] = guest.pending.pop(cloudinit_drive)
                    guest.cloudinit = {}
        if "cloudinit" in features:
            guest.cloudinit = {}
        self.pending.save(guest)
        return errors

    def _take(self, guest: Guest, option: str) -> None:
        value = guest.pending.pop(option)
        _record_cloudinit(guest, option, guest.config.get(option), value)
        guest.config[option] = value

    def _deletes(self, guest: Guest, option: str, features: frozenset[str], *, force: bool) -> bool:
        if is_drive(option):
            if "disk" not in features or re.match(r"efidisk|ide|sata|tpmstate", option):
                return False
            if option in guest.config:
                self.pending.let_go(guest, option, force=force)
            return True
        if option == "hotplug":
            return not re.search("cpu|memory", str(guest.config["hotplug"]))
        if option == "balloon":
            return guest.config.get("balloon") != 0
        return (
            self._needed_feature(guest, option) in features
            or option in ("cpuunits", "cpulimit")
            or (is_without_effect(option))
        )

    def _changes(self, guest: Guest, option: str, value: Value, features: frozenset[str]) -> bool:
        if is_drive(option):
            return option not in ("efidisk0", "tpmstate0") and self._changes_drive(guest, option, str(value), features)
        if re.fullmatch(r"net\d+", option):
            return self._changes_network(guest, option, str(value), features)
        if option == "hotplug":
            return not re.search("cpu|memory", f"{value} {guest.config.get('hotplug', '')}")
        if option == "balloon":
            return bool(guest.config.get("balloon", 1)) == bool(value)
        if option == "agent":
            return self._agent(guest.config.get("agent")) == self._agent(value)
        if option == "vcpus" and "cpu" in features and int(value) > processors(guest.config):
            raise failure("you can't add more vcpus than maxcpus")
        return self._needed_feature(guest, option) in features or option in ("cpuunits", "cpulimit")

    def _changes_drive(self, guest: Guest, option: str, value: str, features: frozenset[str]) -> bool:
        """Another disc in a CD drive goes always; of a disk only its limits and whether it is backed up."""
        new = self.drives.parse(option, value)
        if option in guest.config:
            old = self.drives.parse(option, str(guest.config[option]))
            if is_cdrom(new) != is_cdrom(old):
                raise failure("unable to change media type")
            if is_cdrom(old):
                if new["file"] == "none" and is_cloudinit(old):
                    self.pending.keep_unused(guest, old)
                return True
            if new["file"] == old["file"]:
                return not any(new.get(name) != old.get(name) for name in NEEDS_NEW_START)
            if "disk" not in features:
                return False
            self.pending.keep_unused(guest, old)
        return "disk" in features and not re.match("ide|sata", option)

    def _changes_network(self, guest: Guest, option: str, value: str, features: frozenset[str]) -> bool:
        if option in guest.config:
            old, new = (self._network(option, text) for text in (str(guest.config[option]), value))
            same_device = all(new.get(name) == old.get(name) for name in NEEDS_NEW_DEVICE)
            if same_device and new.get("bridge") and old.get("bridge"):
                return True  # the cable goes elsewhere
        return "network" in features

    def _needed_feature(self, guest: Guest, option: str) -> str:
        if re.fullmatch(r"usb\d+", option):
            return "usb" if guest.config.get("ostype") in ("l26", "win8", "win10", "win11") else ""
        if re.fullmatch(r"net\d+", option):
            return "network"
        return {"tablet": "usb", "vcpus": "cpu", "memory": "memory"}.get(option, "")

    def _features(self, guest: Guest) -> frozenset[str]:
        text = str(guest.config.get("hotplug", "1"))
        return DEFAULT_FEATURES if text == "1" else frozenset(formats.split_list(text)) - {"0"}

    def _agent(self, text: Value | None) -> dict[str, str] | None:
        """What of the agent's settings a running VM cannot change; None where there are none."""
        if text is None:
            return None
        settings = schema.parse_checked(self.properties["agent"]["format"], str(text), "agent")
        return {name: value for name, value in settings.items() if name != "fstrim_cloned_disks"}

    def _network(self, option: str, text: str) -> dict[str, str]:
        return schema.parse_checked(self.properties["net[n]"]["format"], text, option)


def is_without_effect(option: str) -> bool:
    return option in WITHOUT_EFFECT | CLOUDINIT or re.fullmatch(r"ipconfig\d+", option) is not None


def is_cloudinit_option(option: str) -> bool:
    """Whether an option tells in what the cloud-init drive says."""
    return option in CLOUDINIT | {"name"} or re.fullmatch(r"(ipconfig|net)\d+", option) is not None


def _record_cloudinit(guest: Guest, option: str, old: Value | None, new: Value | None) -> None:
    """Remember what the cloud-init drive says, for as long as the configuration says something else."""
    if not is_cloudinit_option(option) or (old is None and new is None):
        return
    recorded = guest.cloudinit.setdefault(option, old)
    if recorded == new:
        del guest.cloudinit[option]


@contextmanager
def _noting(option: str, errors: dict[str, str]) -> Iterator[None]:
    """Keeps what goes wrong with one option, and goes on with the next."""
    try:
        yield
    except ApiError as error:
        errors[option] = f"hotplug problem - {error.message}\n"
