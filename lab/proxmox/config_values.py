"""Values of a VM's options: from the text that a client sends to what stands in a configuration.

Owns conversions and what Proxmox adds by itself: MAC addresses, hashed passwords, sorted tags. Knows no VM.
"""

from __future__ import annotations

import hashlib
import re
import secrets
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from lab.proxmox import formats, schema
from lab.proxmox.description import Schema
from lab.proxmox.errors import failure
from lab.proxmox.guests import Value
from lab.proxmox.property_strings import render

MAC_PREFIX = "BC:24:11"
"""Proxmox's own."""


@dataclass(frozen=True)
class ConfigValues:
    properties: Mapping[str, Schema]  # of the call that creates a VM
    mac_is_repeated: Callable[[], bool]  # whether chance gives every network card the same address

    def value(self, option: str, text: str) -> Value:
        """The value as JSON answers carry it: numbers and flags as numbers, all else as text."""
        described = self.properties.get(option) or self.properties.get(re.sub(r"\d+$", "[n]", option)) or {}
        if described.get("type") in ("boolean", "integer"):
            return int(text)
        if option == "description":
            return text.rstrip()
        if option == "tags":
            return ";".join(dict.fromkeys(formats.split_list(text.lower())))
        if option == "vmgenid" and text == "1":
            return str(uuid.uuid4())
        if option == "cipassword":
            salt = secrets.token_hex(8)
            return f"$5${salt}${hashlib.sha256((salt + text).encode()).hexdigest()}"
        return text

    def prepared(self, options: Mapping[str, str]) -> dict[str, str]:
        """Options as Proxmox looks at them: every network device with an address, in its own spelling."""
        result = dict(options)
        for option, text in result.items():
            if re.fullmatch(r"net\d+", option):
                result[option] = self.with_mac(option, text)
        return result

    def with_mac(self, option: str, text: str, *, fresh: bool = False) -> str:
        """A network device with its MAC address, or with another one."""
        device = schema.parse_checked(self.network_format, text, option)
        if fresh or "macaddr" not in device:
            device["macaddr"] = f"{MAC_PREFIX}:00:00:01" if self.mac_is_repeated() else _random_mac()
        return render(self.network_format, device)

    def exists(self, option: str) -> bool:
        """Whether a VM can have such an option at all."""
        return schema.schema_of(self.properties, option) is not None or re.fullmatch(r"unused\d+", option) is not None

    def boot_order(self, boot: str) -> list[str]:
        if not boot:
            return []
        order = schema.parse_checked(formats.PROPERTY_STRINGS["pve-qm-boot"], boot, "boot").get("order", "")
        return formats.split_list(order)

    @property
    def network_format(self) -> Mapping[str, Schema]:
        found: Mapping[str, Schema] = self.properties["net[n]"]["format"]
        return found


def boot_text(devices: list[str]) -> str:
    """A boot order; one without devices is what Proxmox reads of an option without a value."""
    return f"order={';'.join(devices)}" if devices else " "


def _random_mac() -> str:
    return f"{MAC_PREFIX}:" + ":".join(f"{byte:02X}" for byte in secrets.token_bytes(3))


def memory_mib(config: Mapping[str, Value]) -> int:
    return int(str(config.get("memory", "512")).removeprefix("current="))


def processors(config: Mapping[str, Value]) -> int:
    return int(config.get("cores", 1)) * int(config.get("sockets", 1))


def check_balloon(options: Mapping[str, str], present: Mapping[str, Value]) -> None:
    if "memory" not in options and "balloon" not in options:
        return
    memory = memory_mib({"memory": options.get("memory", present.get("memory", "512"))})
    if int(options.get("balloon", present.get("balloon", 0))) > memory:
        raise failure("balloon value too large (must be smaller than assigned memory)")
