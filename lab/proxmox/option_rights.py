"""Which privilege each option of a VM's configuration needs: Proxmox has this in its code, not in its API description.

Owns the table and its walk. Storage, bridge and device rights depend on the value and are checked where values are
read.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from lab.proxmox import schema
from lab.proxmox.access import Access
from lab.proxmox.description import Schema
from lab.proxmox.drives import is_drive
from lab.proxmox.errors import failure
from lab.proxmox.formats import PROPERTY_STRINGS, words

CPU = words("cores cpu cpulimit cpuunits numa smp sockets vcpus")
MEMORY = words("memory balloon shares allow-ksm")
HARDWARE = words("acpi hotplug kvm machine scsihw smbios1 tablet vga watchdog audio0 rng0")
OPTIONS = words(
    "agent autostart bios description keyboard localtime migrate_downtime migrate_speed name onboot ostype "
    "protection reboot startdate startup tdf template"
)
DISK = words("boot bootdisk vmstatestorage")
CLOUDINIT = words("cicustom cipassword citype ciuser ciupgrade nameserver searchdomain sshkeys")
LOCAL_ZONE = "/sdn/zones/localnetwork"


def check_options(access: Access, user: str, vmid: int, pool: str | None, options: Iterable[str]) -> None:
    """Raise 403 for the first option that the user may not set (or delete)."""
    for option in options:
        if (
            is_drive(option)
            or option in ("cdrom", "tags")
            or re.fullmatch(r"(unused|serial|usb|hostpci|virtiofs)\d+", option)
        ):
            continue
        if option in CPU or re.fullmatch(r"numa\d+", option):
            access.check_vm(user, vmid, pool, ["VM.Config.CPU"])
        elif option in MEMORY:
            access.check_vm(user, vmid, pool, ["VM.Config.Memory"])
        elif option in HARDWARE:
            access.check_vm(user, vmid, pool, ["VM.Config.HWType"])
        elif option in OPTIONS:
            access.check_vm(user, vmid, pool, ["VM.Config.Options"])
            if option == "startup":
                access.check(user, "/", ["Sys.Modify"])
        elif option == "freeze":
            access.check_vm(user, vmid, pool, ["VM.PowerMgmt"])
        elif option in DISK:
            access.check_vm(user, vmid, pool, ["VM.Config.Disk"])
        elif re.fullmatch(r"net\d+", option):
            access.check_vm(user, vmid, pool, ["VM.Config.Network"])
        elif option in CLOUDINIT or re.fullmatch(r"ipconfig\d+", option):
            access.check_vm(user, vmid, pool, ["VM.Config.Cloudinit", "VM.Config.Network"], any_of=True)
        else:
            raise failure(f"only root can set '{option}' config")


def check_devices(access: Access, user: str, vmid: int, pool: str | None, parameters: Mapping[str, str]) -> None:
    """Rights that hang on a device's value: serial ports, PCI and USB passthrough."""
    for option, value in parameters.items():
        if re.fullmatch(r"serial\d+", option):
            if value != "socket":
                raise failure(f"only root can set '{option}' config for real devices")
            access.check_vm(user, vmid, pool, ["VM.Config.HWType"])
        elif re.fullmatch(r"hostpci\d+", option):
            device = schema.parse_checked(PROPERTY_STRINGS["pve-qm-hostpci"], value, option)
            if "host" in device:
                raise failure(f"only root can set '{option}' config for non-mapped devices")
            if "mapping" not in device:
                raise failure("either 'host' or 'mapping' must be set.")
            if "mapping" not in device:
                raise failure("either 'host' or 'mapping' must be set.")
            access.check(user, f"/mapping/pci/{device['mapping']}", ["Mapping.Use"])
            access.check_vm(user, vmid, pool, ["VM.Config.HWType"])
        elif re.fullmatch(r"(usb|virtiofs)\d+", option):
            raise failure(f"only root can set '{option}' config for real devices")


def check_bridges(
    access: Access, user: str, network_format: Mapping[str, Schema], parameters: Mapping[str, str]
) -> None:
    """SDN.Use on every bridge, or on the VLAN of it, that a network device names."""
    for option, value in sorted(parameters.items()):
        if re.fullmatch(r"net\d+", option):
            device = schema.parse_checked(network_format, value, option)
            if bridge := device.get("bridge"):
                path = f"{LOCAL_ZONE}/{bridge}"
                access.check(user, f"{path}/{device['tag']}" if "tag" in device else path, ["SDN.Use"])
