"""Which privilege each option of a VM's configuration needs: Proxmox has this in its code, not in its API description.

Owns the table and its walk. Storage, bridge and device rights depend on the value and are checked where values are
read.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from lab.proxmox import schema
from lab.proxmox.access import Access
from lab.proxmox.accounts import ROOT
from lab.proxmox.description import Schema
from lab.proxmox.drives import is_drive
from lab.proxmox.errors import failure, parameter_error
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
    if user == ROOT:
        return
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


def check_devices(
    access: Access,
    user: str,
    vmid: int,
    pool: str | None,
    properties: Mapping[str, Schema],
    parameters: Mapping[str, str],
) -> None:
    """Rights that hang on a device's value: serial ports, PCI and USB passthrough, shared folders, the host's dice."""
    if user == ROOT:
        return
    for option, value in parameters.items():
        kind = re.sub(r"\d+$", "", option)
        if kind not in ("serial", "hostpci", "usb", "virtiofs", "rng"):
            continue
        if kind == "serial":
            if value != "socket":
                raise failure(f"only root can set '{option}' config for real devices")
        elif kind == "hostpci":
            device = schema.parse_checked(PROPERTY_STRINGS["pve-qm-hostpci"], value, option)
            _check_mapped(access, user, option, "pci", device, "non-mapped")
            if "romfile" in device:
                raise parameter_error({option: "only root@pam can set 'romfile' option"})
        elif kind == "usb":
            device = schema.parse_checked(properties["usb[n]"]["format"], value, option)
            if device.get("host", "").lower() != "spice":
                _check_mapped(access, user, option, "usb", device, "real")
        elif kind == "virtiofs":
            folder = schema.parse_checked(properties["virtiofs[n]"]["format"], value, option)["dirid"]
            access.check(user, f"/mapping/dir/{folder}", ["Mapping.Use"])
        elif schema.parse_checked(PROPERTY_STRINGS["pve-qm-rng"], value, option)["source"] == "/dev/hwrng":
            access.check(user, "/mapping/hwrng", ["Mapping.Use"])
        access.check_vm(user, vmid, pool, ["VM.Config.Disk" if kind == "virtiofs" else "VM.Config.HWType"])


def check_mappings(access: Access, user: str, properties: Mapping[str, Schema], parameters: Mapping[str, str]) -> None:
    """The right to use every hardware mapping that a configuration names."""
    for option, value in sorted(parameters.items()):
        kind = re.sub(r"\d+$", "", option)
        if kind == "hostpci":
            name = schema.parse_checked(PROPERTY_STRINGS["pve-qm-hostpci"], value, option).get("mapping")
        elif kind == "usb":
            name = schema.parse_checked(properties["usb[n]"]["format"], value, option).get("mapping")
        else:
            continue
        if name:
            access.check(user, f"/mapping/{'pci' if kind == 'hostpci' else kind}/{name}", ["Mapping.Use"])


def _check_mapped(access: Access, user: str, option: str, kind: str, device: Mapping[str, str], named: str) -> None:
    if "host" in device:
        raise failure(f"only root can set '{option}' config for {named} devices")
    if "mapping" not in device:
        raise failure("either 'host' or 'mapping' must be set.")
    access.check(user, f"/mapping/{kind}/{device['mapping']}", ["Mapping.Use"])


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
