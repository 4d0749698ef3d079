"""How a text is written that Talos turns into a value: an address, a size, a duration."""

from __future__ import annotations

import base64
import binascii
import ipaddress
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Form:
    """One way of writing."""

    name: str
    accepts: Callable[[str], object]
    """Returns something true for a text that is so written."""
    fix: str
    or_empty: bool = True
    """An empty text stands for no value."""
    secret: bool = False
    """The text may be one that no message should show."""


def _matches(pattern: str) -> Callable[[str], object]:
    return re.compile(pattern, re.IGNORECASE).fullmatch


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def _is_prefix(text: str) -> bool:
    address, _, length = text.partition("/")
    return _is_address(address) and length.isdigit() and int(length) <= (128 if ":" in address else 32)


def _is_address_with_port(text: str) -> bool:
    address, _, port = text.rpartition(":")
    if ":" in address:
        if not (address.startswith("[") and address.endswith("]")):
            return False
        address = address[1:-1]
    return _is_address(address) and _is_port(port)


def _is_port(text: str) -> bool:
    return text.isdigit() and int(text) <= 65535


def _is_ports(text: str) -> bool:
    first, _, last = text.partition("-")
    return _is_port(first) and _is_port(last)


def _is_base64(text: str) -> bool:
    try:
        base64.b64decode("".join(text.splitlines()), validate=True)
    except (binascii.Error, ValueError):
        return False
    return True


_BYTES = r"\d[\d,]*(\.\d*)?\s*([kmgtpe]i?)?b?"
_DURATION = r"0|[-+]?((\d+(\.\d*)?|\.\d+)(ns|us|µs|ms|s|m|h))+"
_TABLE = r"unspec|main|local|default|[1-9]\d?|1\d\d|2[0-4]\d|25[0-2]"

FORMS: Mapping[str, Form] = {
    "address": Form("an IP address", _is_address, "Write one such as 10.0.0.1 or fd00::1, without /24 or a port."),
    "address-port": Form("an address with a port", _is_address_with_port, "Write it such as 10.0.0.1:51820."),
    "base64": Form("base64", _is_base64, "Write the output of `base64 --wrap 0 <file>`.", secret=True),
    "bytes": Form("a size", _matches(rf"-?{_BYTES}"), "Write one such as 10GiB or 500MB."),
    "duration": Form(
        "a duration", _matches(_DURATION), "Write one with its unit, such as 30s, 5m or 1h30m.", or_empty=False
    ),
    "hardware-address": Form(
        "a hardware address", _matches(r"[0-9a-f]{2}(:[0-9a-f]{2})*"), "Write one such as 52:54:00:12:34:56."
    ),
    "ports": Form("a range of ports", _is_ports, "Write one such as 30000-32767, or one port without quotes."),
    "prefix": Form("a network", _is_prefix, "Write an address and its length, such as 10.0.0.0/24."),
    "routing-table": Form(
        "a routing table", _matches(_TABLE), "Write main, local, default or a number from 1 to 252.", or_empty=False
    ),
    "size": Form("a size", _matches(rf"-?({_BYTES}|\d+(\.\d+)?%)"), "Write one such as 10GiB or 50%."),
    "url": Form(
        "a URL", _matches(r"[a-z][a-z0-9+.-]*://\S+"), "Write it with its scheme, such as tcp://10.0.0.1:5044."
    ),
}
"""By the ``format`` in the schema, which names what Talos' types read from text."""
