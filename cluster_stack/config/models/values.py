"""The kinds of values that cluster.yaml has: names, addresses, ranges, quantities, each with its own sentence for a
wrong one."""

from __future__ import annotations

from collections.abc import Callable
from ipaddress import (
    IPv4Address,
    IPv4Interface,
    IPv4Network,
    IPv6Address,
    IPv6Interface,
    IPv6Network,
    ip_address,
    ip_interface,
)
from typing import Annotated, Any, TypeVar
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator, Field, PlainSerializer, StringConstraints

from cluster_stack.config.document import quoted, shown
from cluster_stack.config.models.base import Model, refuse

Parsed = TypeVar("Parsed")


def _from_text(parse: Callable[[str], Parsed], noun: str, fix: str) -> BeforeValidator:
    def read(value: object) -> object:
        try:
            if isinstance(value, str) and "%" not in value:  # the zone of an IPv6 address is one machine's own
                return parse(value)
        except ValueError:
            pass
        raise refuse(f"{shown(value)} is not {noun}.", fix)

    return BeforeValidator(read)


def _network(parse: Callable[[str], IPv4Interface | IPv6Interface], noun: str, example: str) -> BeforeValidator:
    def read(value: object) -> object:
        try:
            if not isinstance(value, str) or "/" not in value or "%" in value:
                raise ValueError
            interface = parse(value)
        except ValueError:
            what = f"{shown(value)} is not {noun}."
            raise refuse(what, f"Write its first address and its length: {example}.") from None
        if interface.ip != interface.network.network_address:
            what = f"{shown(value)} is an address inside a network."
            raise refuse(what, f"Write the network: {interface.network}.")
        return interface.network

    return BeforeValidator(read)


def matching(pattern: str) -> StringConstraints:
    return StringConstraints(pattern=pattern)


_TEXT = PlainSerializer(str, return_type=str)

Text = Annotated[str, StringConstraints(min_length=1)]

Name = Annotated[str, matching(r"^[a-z]([a-z0-9-]{0,38}[a-z0-9])?$")]
"""A DNS label that leaves room for ``-worker100`` in a VM name of at most 63 characters."""

Tag = Annotated[str, matching(r"^[a-z0-9_][a-z0-9_+.-]*$")]
"""What Proxmox takes as a tag; lower case, because Proxmox folds the case, which then looks like a change."""

HostName = Annotated[str, matching(r"^[a-zA-Z0-9]([a-zA-Z0-9-]*[a-zA-Z0-9])?$")]
Bridge = Annotated[str, matching(r"^[a-zA-Z][a-zA-Z0-9_.-]{0,14}$")]
Datastore = Annotated[str, matching(r"^[a-zA-Z][a-zA-Z0-9_.-]*$")]
Duration = Annotated[str, matching(r"^[0-9]{1,6}(s|m|h)$")]
Extension = Annotated[str, matching(r"^[a-z0-9-]+/[a-z0-9-]+$")]
MacAddress = Annotated[
    str, matching(r"^[0-9a-fA-F][02468aceACE]:([0-9a-fA-F]{2}:){4}[0-9a-fA-F]{2}$"), AfterValidator(str.upper)
]
"""Unicast, and upper case, as Proxmox gives it back."""
VlanTag = Annotated[int, Field(ge=0, le=4094)]
Mtu = Annotated[int, Field(ge=576, le=65520, json_schema_extra={"unit": "bytes"})]
VmId = Annotated[int, Field(ge=100, le=999_999_999)]
Cores = Annotated[int, Field(ge=1, le=512)]
Megabytes = Annotated[int, Field(le=4_194_304, json_schema_extra={"unit": "MB"})]
Gigabytes = Annotated[int, Field(le=131_072, json_schema_extra={"unit": "GB"})]

_QUALIFIED = r"([a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?/)?[A-Za-z0-9]([A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?"
LabelKey = Annotated[str, matching(f"^{_QUALIFIED}$")]
LabelValue = Annotated[str, matching(r"^([A-Za-z0-9]([A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?)?$")]
SettingName = Annotated[str, matching(r"^[A-Z][A-Z0-9_]{0,62}$")]
Taint = Annotated[str, matching(rf"^{_QUALIFIED}(=[A-Za-z0-9_.-]{{0,63}})?:(NoSchedule|PreferNoSchedule|NoExecute)$")]

_NUMBER = r"(0|[1-9][0-9]{0,2})"
KubernetesVersion = Annotated[
    str, matching(rf"^v?1\.{_NUMBER}\.{_NUMBER}$"), AfterValidator(lambda text: text.removeprefix("v"))
]
TalosVersion = Annotated[str, matching(rf"^v1\.{_NUMBER}\.{_NUMBER}$")]

Address = Annotated[IPv4Address, _from_text(IPv4Address, "an IPv4 address", "Write four numbers: 10.0.0.1."), _TEXT]
Network = Annotated[IPv4Network, _network(IPv4Interface, "an IPv4 network", "10.0.0.0/24"), _TEXT]
Address6 = Annotated[
    IPv6Address, _from_text(IPv6Address, "an IPv6 address", "Write eight groups, or fewer and a `::`: fd00::1."), _TEXT
]
Network6 = Annotated[IPv6Network, _network(IPv6Interface, "an IPv6 network", "fd00:10::/64"), _TEXT]
AnyNetwork = Annotated[Any, _network(ip_interface, "a network", "10.244.0.0/16"), _TEXT]
"""``IPv4Network`` or ``IPv6Network``."""
AnyAddress = Annotated[
    Any, _from_text(ip_address, "an IP address", "Write it without a name or a port: 10.0.0.1 or fd00::1."), _TEXT
]
"""``IPv4Address`` or ``IPv6Address``."""


class AddressRange(Model):
    """``10.0.0.51-10.0.0.59``: first and last address, both included."""

    first: IPv4Address
    last: IPv4Address

    def __len__(self) -> int:
        return int(self.last) - int(self.first) + 1

    def __contains__(self, address: IPv4Address) -> bool:
        return self.first <= address <= self.last

    def __getitem__(self, index: int) -> IPv4Address:
        if not 0 <= index < len(self):
            raise IndexError(index)
        return self.first + index

    def __str__(self) -> str:
        return f"{self.first}-{self.last}"

    def overlaps(self, other: AddressRange) -> bool:
        return self.first <= other.last and other.first <= self.last


def _range(value: object) -> object:
    first, dash, last = value.partition("-") if isinstance(value, str) else ("", "", "")
    try:
        span = {"first": IPv4Address(first.strip()), "last": IPv4Address(last.strip() if dash else first.strip())}
    except ValueError:
        what = f"{shown(value)} is not a range of IPv4 addresses."
        raise refuse(what, "Write the first and the last one: 10.0.0.51-10.0.0.59.") from None
    if span["last"] < span["first"]:
        raise refuse(f"{shown(value)} ends before it begins.", "Write the smaller address first.")
    return AddressRange.model_validate(span)


Range = Annotated[AddressRange, BeforeValidator(_range), _TEXT]


def _https(what: str, example: str) -> AfterValidator:
    def check(endpoint: str) -> str:
        try:
            url = urlsplit(endpoint)
            blank = any(character.isspace() for character in endpoint)
            proper = url.scheme == "https" and bool(url.hostname) and url.port != 0 and not blank
            (url.hostname or "").encode("idna")
            log_in = "@" in url.netloc
        except ValueError:  # a port that is no number or too large, a name that is none
            proper = log_in = False
        if log_in:
            raise refuse("the address holds a user name or a password.", f"Write it without: {example}.")
        if not proper:
            raise refuse(f"{quoted(endpoint)} is not an https address.", f"{what} answers https only: write {example}.")
        return endpoint

    return AfterValidator(check)


ProxmoxEndpoint = Annotated[str, _https("Proxmox", "https://<host>:8006/")]
KubernetesEndpoint = Annotated[str, _https("Kubernetes", "https://<name or address>:6443")]
IssuerUrl = Annotated[str, _https("An OpenID Connect issuer", "https://<host>/")]


def _patch(value: object) -> object:
    if value in ("", {}):
        raise refuse("the patch is empty.", "Write it, or remove the item.")
    if isinstance(value, (dict, str)):
        return value
    fix = 'Write a mapping of Talos keys, a text of YAML documents, or "@patches/file.yaml".'
    raise refuse(f"{shown(value)} is not a patch.", fix)


Patch = Annotated[Any, BeforeValidator(_patch)]
"""A Talos strategic-merge patch: a mapping, a text with one or more YAML documents, or ``@`` and a file's path."""
