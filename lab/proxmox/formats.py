"""Proxmox's named formats: the description names them, its code defines them, so they are told again here.

Owns one check per format, each raising ValueError in Proxmox's words. A format that no built call uses is missing on
purpose: the schema check then refuses the parameter as "undefined format" instead of letting it through.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from ipaddress import IPv4Address, IPv4Interface, IPv6Address, IPv6Interface
from typing import Any


def words(text: str) -> frozenset[str]:
    return frozenset(text.split())


DNS_LABEL = r"[a-zA-Z0-9]([a-zA-Z0-9\-]*[a-zA-Z0-9])?"
CONFIG_ID = r"[a-z][a-z0-9_-]+"
VOLUME_ID = re.compile(r"([a-zA-Z][a-zA-Z0-9\-_.]*[a-zA-Z0-9]):(\S+)")
DISK_SIZE = re.compile(r"(\d+(?:\.\d+)?)([KMGT])?")
USUAL_MTU, SMALLEST_MTU = 1500, 576
UNITS = {None: 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}
BUILT_IN_CPUS = words(
    "486 athlon core2duo coreduo host kvm32 kvm64 max pentium pentium2 pentium3 phenom qemu32 qemu64 x86-64-v2 "
    "x86-64-v2-AES x86-64-v3 x86-64-v4 Conroe Penryn Nehalem Nehalem-IBRS Westmere Westmere-IBRS SandyBridge "
    "SandyBridge-IBRS IvyBridge IvyBridge-IBRS Haswell Haswell-IBRS Haswell-noTSX Haswell-noTSX-IBRS Broadwell "
    "Broadwell-IBRS Broadwell-noTSX Broadwell-noTSX-IBRS Skylake-Client Skylake-Client-IBRS Skylake-Client-noTSX- "
    "IBRS Skylake-Client-v4 Skylake-Server Skylake-Server-IBRS Skylake-Server-noTSX-IBRS Skylake-Server-v4 Skylake- "
    "Server-v5 Cascadelake-Server Cascadelake-Server-noTSX Cascadelake-Server-v2 Cascadelake-Server-v4 Cascadelake- "
    "Server-v5 Cooperlake Cooperlake-v2 Icelake-Client Icelake-Client-noTSX Icelake-Server Icelake-Server-noTSX "
    "Icelake-Server-v3 Icelake-Server-v4 Icelake-Server-v5 Icelake-Server-v6 KnightsMill SapphireRapids "
    "SapphireRapids-v2 GraniteRapids SierraForest Opteron_G1 Opteron_G2 Opteron_G3 Opteron_G4 Opteron_G5 EPYC EPYC- "
    "IBPB EPYC-v3 EPYC-v4 EPYC-Rome EPYC-Rome-v2 EPYC-Rome-v3 EPYC-Rome-v4 EPYC-Milan EPYC-Milan-v2 EPYC-Genoa"
)


def split_list(value: str) -> list[str]:
    """Proxmox's lists are separated by whatever looks like a separator."""
    return [item for item in re.split(r"[,;\0\s]+", value) if item]


def parse_size(value: str) -> int | None:
    match = DISK_SIZE.fullmatch(value)
    return int(float(match[1]) * UNITS[match[2]]) if match else None


def format_size(size: int) -> str:
    for unit in ("T", "G", "M", "K"):
        if size and size % UNITS[unit] == 0:
            return f"{size // UNITS[unit]}{unit}"
    return str(size)


def _pattern(pattern: str, message: str, flags: int = 0) -> Callable[[str], None]:
    compiled = re.compile(pattern, flags)

    def check(value: str) -> None:
        if not compiled.fullmatch(value):
            raise ValueError(message.format(value))

    return check


def _reads(constructor: Callable[[str], object], message: str, *, masked: bool = False) -> Callable[[str], None]:
    def check(value: str) -> None:
        try:
            constructor(value)
        except ValueError:
            raise ValueError(message) from None
        if masked and "/" not in value:
            raise ValueError(message)

    return check


def _any(*checks: Callable[[str], None], message: str) -> Callable[[str], None]:
    def check(value: str) -> None:
        for each in checks:
            try:
                return each(value)
            except ValueError:
                continue
        raise ValueError(message.format(value))

    return check


def _volume_id(value: str) -> None:
    if not VOLUME_ID.fullmatch(value):
        raise ValueError(f"unable to parse volume ID '{value}'")


def _drive_source(value: str) -> None:
    if value in ("none", "cdrom") or value.startswith("/"):
        return
    _volume_id(value)


def _import_source(value: str) -> None:
    if not value.startswith("/"):
        _volume_id(value)


def _boot_device(value: str) -> None:
    if not re.fullmatch(r"(ide|sata|scsi|virtio|net|usb|hostpci)\d+", value):
        raise ValueError("invalid boot device '" + value + "'")


def _hotplug(value: str) -> None:
    if value in ("0", "1"):
        return
    for feature in split_list(value):
        if feature not in ("network", "disk", "cpu", "memory", "usb", "cloudinit"):
            raise ValueError(f"invalid hotplug feature '{feature}'")


def _startup(value: str) -> None:
    if not value or not all(re.fullmatch(r"(order=)?\d+|up=\d+|down=\d+|\s*", part) for part in value.split(",")):
        raise ValueError("unable to parse startup options")


def _cpu_model(value: str) -> None:
    if not value.startswith("custom-") and value not in BUILT_IN_CPUS:
        raise ValueError(f"Built-in cputype '{value}' is not defined (missing 'custom-' prefix?)")


def _disk_size(value: str) -> None:
    if parse_size(value) is None:
        raise ValueError(f"value does not look like a valid disk size: {value}")


def _anything(value: str) -> None:
    """For formats whose call is not built: its 501 comes before anyone reads the value."""


_ipv4 = _reads(IPv4Address, "value does not look like a valid IPv4 address")
_ipv6 = _reads(IPv6Address, "value does not look like a valid IPv6 address")
_cidr4 = _reads(IPv4Interface, "value does not look like a valid IPv4 CIDR network", masked=True)
_cidr6 = _reads(IPv6Interface, "value does not look like a valid IPv6 CIDR network", masked=True)
_dns_name = _pattern(rf"({DNS_LABEL}\.)*{DNS_LABEL}", "value does not look like a valid DNS name")
_identifier = r"[a-z][a-z0-9\-\_\.]*[a-z0-9]"

CHECKS: Mapping[str, Callable[[str], None]] = {
    "string": _anything,
    "pve-vmid": _pattern(r"[1-9][0-9]{2,8}", "value does not look like a valid VM ID"),
    "pve-node": _pattern(DNS_LABEL, "value does not look like a valid node name"),
    "pve-configid": _pattern(CONFIG_ID, "invalid configuration ID '{}'", re.IGNORECASE),
    "pve-storage-id": _pattern(_identifier, "storage ID '{}' contains illegal characters", re.IGNORECASE),
    "storage-pair": _pattern(
        rf"1|{_identifier}(:{_identifier})?", "value '{}' does not look like a valid storage pair", re.IGNORECASE
    ),
    "pve-bridge-id": _pattern(r"[-_.\w\d]+", "invalid bridge ID '{}'"),
    "pve-poolid": _pattern(
        r"[A-Za-z0-9\.\-_]+(/[A-Za-z0-9\.\-_]+){0,2}", "value '{}' does not look like a valid pool name"
    ),
    "pve-volume-id": _volume_id,
    "pve-volume-id-or-qm-path": _drive_source,
    "pve-volume-id-or-absolute-path": _import_source,
    "pve-tag": _pattern(r"[a-z0-9_][a-z0-9_\-\+\.]*", "invalid characters in tag", re.IGNORECASE),
    "pve-startup-order": _startup,
    "pve-hotplug-features": _hotplug,
    "pve-cpuset": _pattern(r"\d+(-\d+)?(,\d+(-\d+)?)*", "unable to parse cpuset"),
    "pve-userid": _pattern(r"[^\s:/]+@[A-Za-z][A-Za-z0-9\.\-_]+", "value '{}' does not look like a valid user name"),
    "pve-groupid": _pattern(r"[A-Za-z0-9\.\-_]+", "value '{}' does not look like a valid group name"),
    "pve-roleid": _pattern(r"[A-Za-z0-9\.\-_]+", "value '{}' does not look like a valid role name"),
    "pve-priv": _pattern(r"[A-Za-z0-9\.\-_]+", "value '{}' does not look like a valid privilege"),
    "pve-realm": _pattern(r"[A-Za-z][A-Za-z0-9\.\-_]+", "value does not look like a valid realm"),
    "pve-tokenid": _pattern(
        r"[^\s:/]+@[A-Za-z][A-Za-z0-9\.\-_]+![A-Za-z][A-Za-z0-9\.\-_]+",
        "value '{}' does not look like a valid token ID",
    ),
    "email": _pattern(r"[^\s@]+@[^\s@]+", "value does not look like a valid email address"),
    "pve-qm-bootdisk": _pattern(r"(ide|sata|scsi|virtio)\d+", "invalid boot disk '{}'"),
    "pve-qm-bootdev": _boot_device,
    "pve-storage-content": _pattern(
        "images|rootdir|iso|vztmpl|import|backup|snippets|none", "invalid content type '{}'"
    ),
    "pve-task-status-type": _pattern("ok|error|warning|unknown", "invalid status '{}'", re.IGNORECASE),
    "mac-addr": _pattern(
        r"[a-f0-9][02468ace](?::[a-f0-9]{2}){5}", "value does not look like a valid unicast MAC address", re.IGNORECASE
    ),
    "urlencoded": _pattern(r"[-%a-zA-Z0-9_.!~*'()]*", "invalid urlencoded string: {}"),
    "disk-size": _disk_size,
    "dns-name": _dns_name,
    "ipv4": _ipv4,
    "ipv6": _ipv6,
    "ip": _any(_ipv4, _ipv6, message="value does not look like a valid IP address"),
    "address": _any(_ipv4, _ipv6, _dns_name, message="value does not look like a valid address: {}"),
    "pve-ipv4-config": _any(
        _pattern("dhcp|manual", ""), _cidr4, message="value does not look like a valid ipv4 network configuration"
    ),
    "pve-ipv6-config": _any(
        _pattern("auto|dhcp|manual", ""), _cidr6, message="value does not look like a valid ipv6 network configuration"
    ),
    "cpu-model": _cpu_model,
    "CIDR": _any(_cidr4, _cidr6, message="value does not look like a valid CIDR network"),
    "mac-prefix": _pattern(
        r"[a-f0-9][02468ace](?::[a-f0-9]{2}){0,5}:?",
        "value does not look like a valid unicast MAC address prefix",
        re.IGNORECASE,
    ),
    "pve-storage-path": _pattern(r"/[^,;()'\"]*|/", "value does not look like a valid absolute path"),
    "pve-storage-path-in-property-string": _pattern(r"/[^,;()'\"=]*", "value does not look like a valid absolute path"),
    "pve-storage-server": _any(_ipv4, _ipv6, _dns_name, message="value does not look like a valid server name or IP"),
    "pve-storage-portal-dns": _pattern(r"[^\s,;]+", "value does not look like a valid portal address"),
    "pve-storage-options": _anything,
    "pve-storage-vgname": _pattern(
        r"[a-z0-9_][a-z0-9+_.-]*", "lvm volume group '{}' name contains illegal", re.IGNORECASE
    ),
    "pve-ha-resource-id": _pattern(r"[a-z]+:\S+", "value does not look like a valid ha resource id"),
    "pve-ha-resource-or-vm-id": _pattern(r"[a-z]+:\S+|[1-9][0-9]+", "value does not look like a valid ha resource id"),
    "pve-ha-node": _pattern(rf"{DNS_LABEL}(:\d+)?", "unable to parse value"),
}

_optional_text: dict[str, Any] = {"type": "string", "optional": 1}
_optional_flag: dict[str, Any] = {"type": "boolean", "optional": 1}
_base64 = {"type": "string", "optional": 1, "pattern": r"[A-Za-z0-9+\/]+={0,2}"}

PROPERTY_STRINGS: Mapping[str, Mapping[str, dict[str, Any]]] = {
    "pve-qm-boot": {
        "legacy": {"type": "string", "optional": 1, "default_key": 1, "pattern": "[acdn]{1,4}"},
        "order": {"type": "string", "optional": 1, "format": "pve-qm-bootdev-list"},
    },
    "pve-vm-cpu-conf": {
        "cputype": {"type": "string", "optional": 1, "default_key": 1, "format": "cpu-model"},
        "flags": {"type": "string", "optional": 1, "pattern": r"[+-][a-zA-Z0-9\-_]+(;[+-][a-zA-Z0-9\-_]+)*"},
        "hidden": _optional_flag,
        "hv-vendor-id": {"type": "string", "optional": 1, "pattern": "[a-zA-Z0-9]{1,12}"},
        "phys-bits": _optional_text,
        "guest-phys-bits": {"type": "integer", "optional": 1, "minimum": 32, "maximum": 64},
        "reported-model": _optional_text,
    },
    "pve-qm-ipconfig": {
        "ip": {"type": "string", "optional": 1, "format": "pve-ipv4-config"},
        "gw": {"type": "string", "optional": 1, "format": "ipv4", "requires": "ip"},
        "ip6": {"type": "string", "optional": 1, "format": "pve-ipv6-config"},
        "gw6": {"type": "string", "optional": 1, "format": "ipv6", "requires": "ip6"},
    },
    "pve-qm-smbios1": {
        "uuid": {"type": "string", "optional": 1, "pattern": "[a-fA-F0-9]{8}(?:-[a-fA-F0-9]{4}){3}-[a-fA-F0-9]{12}"},
        "version": _base64,
        "serial": _base64,
        "manufacturer": _base64,
        "product": _base64,
        "sku": _base64,
        "family": _base64,
        "base64": _optional_flag,
    },
    "pve-qm-watchdog": {
        "model": {"type": "string", "optional": 1, "default_key": 1, "enum": ["i6300esb", "ib700"]},
        "action": {
            "type": "string", "optional": 1, "enum": ["reset", "shutdown", "poweroff", "pause", "debug", "none"],
        },
    },
    "pve-qm-rng": {
        "source": {"type": "string", "default_key": 1, "enum": ["/dev/urandom", "/dev/random", "/dev/hwrng"]},
        "max_bytes": {"type": "integer", "optional": 1},
        "period": {"type": "integer", "optional": 1},
    },
    "pve-qm-cicustom": {
        name: {"type": "string", "optional": 1, "format": "pve-volume-id"}
        for name in ("meta", "network", "user", "vendor")
    },
    "prune-backups": {
        "keep-all": _optional_flag,
        **{
            f"keep-{what}": {"type": "integer", "optional": 1, "minimum": 0}
            for what in ("last", "hourly", "daily", "weekly", "monthly", "yearly")
        },
    },
    "pve-qm-hostpci": {
        "host": {"type": "string", "optional": 1, "default_key": 1},
        "mapping": {"type": "string", "optional": 1, "format": "pve-configid"},
        "mdev": _optional_text,
        "pcie": _optional_flag,
        "rombar": _optional_flag,
        "romfile": _optional_text,
        "x-vga": _optional_flag,
        "legacy-igd": _optional_flag,
        "vendor-id": _optional_text,
        "device-id": _optional_text,
        "driver": {"type": "string", "optional": 1, "enum": ["vfio", "keep"]},
        "sub-vendor-id": _optional_text,
        "sub-device-id": _optional_text,
    },
}  # fmt: skip
