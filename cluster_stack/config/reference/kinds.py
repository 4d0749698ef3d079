"""What the values of cluster.yaml look like that are texts with a form of their own: in words, and as patterns.

Most types of ``cluster_stack.config.models.values`` carry their pattern. Those that a function reads (addresses,
networks, ranges, endpoints) have none, so theirs stand here. Such a pattern lets everything through that the function
takes in the form described, and refuses what a regular expression can tell.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from pydantic import AfterValidator, BeforeValidator, StringConstraints

from cluster_stack.config.models import values


@dataclass(frozen=True)
class Kind:
    """``form`` says how to write a value, in a sentence that follows "Write"; ``schema`` is its JSON Schema where the
    type itself has no pattern."""

    name: str
    form: str
    example: str
    schema: dict[str, Any] = field(default_factory=dict, hash=False)


def _text(pattern: str) -> dict[str, Any]:
    return {"type": "string", "pattern": f"^{pattern}$"}


_BYTE = r"(25[0-5]|2[0-4]\d|1\d\d|[1-9]?\d)"
_IPV4 = rf"({_BYTE}\.){{3}}{_BYTE}"
_IPV6 = r"[0-9A-Fa-f]*:[0-9A-Fa-f:.]+"
_NETWORK4 = rf"{_IPV4}(/(3[0-2]|[12]?\d|{_IPV4}))?"
_NETWORK6 = rf"{_IPV6}(/(12[0-8]|1[01]\d|[1-9]?\d))?"
_USER = r"([^\s/?#@]+@)?"
_HOST = r"(\[[0-9A-Fa-f:.]+\]|[^\s/?#:@\[\]]+)"

_HTTPS = Kind(
    "https address",
    "`https://`, a host, and the port if it is not 443",
    "https://pve.example:8006/",
    _text(rf"https://{_USER}{_HOST}(:\d{{0,5}})?([/?#][^ ]*)?"),
)

KINDS: dict[Any, Kind] = {
    values.SettingName: Kind("name of a setting", "capitals, digits and `_`, a capital first", "GATEWAY_DOMAIN"),
    values.Name: Kind(
        "cluster name", "a lower-case letter, then lower-case letters, digits and `-`, 40 in all at most", "homelab"
    ),
    values.Tag: Kind("tag", "lower-case letters, digits, `_`, `+`, `.` and `-`", "production"),
    values.HostName: Kind("host name", "letters, digits and `-`, without a domain", "pve1"),
    values.Bridge: Kind("bridge name", "a letter, then letters, digits, `_`, `.` and `-`, 15 in all at most", "vmbr0"),
    values.Datastore: Kind("storage name", "a letter, then letters, digits, `_`, `.` and `-`", "local-lvm"),
    values.Duration: Kind("duration", "a whole number and `s`, `m` or `h`", "10m"),
    values.Extension: Kind("system extension", "`<publisher>/<name>`", "siderolabs/qemu-guest-agent"),
    values.MacAddress: Kind(
        "MAC address", "six pairs of hexadecimal digits; the second digit is even", "BC:24:11:00:08:03"
    ),
    values.LabelKey: Kind(
        "label key",
        "letters, digits, `_`, `.` and `-`, 63 at most; a domain and `/` may stand before them",
        "example.com/tier",
    ),
    values.LabelValue: Kind("label value", "letters, digits, `_`, `.` and `-`, 63 at most, or nothing", "edge"),
    values.Taint: Kind(
        "taint",
        "`key=value:effect` or `key:effect`; the effect is `NoSchedule`, `PreferNoSchedule` or `NoExecute`",
        "gpu=true:NoSchedule",
    ),
    values.KubernetesVersion: Kind("Kubernetes version", "three numbers, with or without a `v` before them", "v1.34.2"),
    values.TalosVersion: Kind("Talos version", "`v` and three numbers", "v1.11.5"),
    values.Address: Kind("IPv4 address", "four numbers", "10.0.0.1", _text(_IPV4)),
    values.Network: Kind("IPv4 network", "its first address, `/` and its length", "10.0.0.0/24", _text(_NETWORK4)),
    values.Address6: Kind("IPv6 address", "eight groups, or fewer and a `::`", "fd00::1", _text(_IPV6)),
    values.Network6: Kind("IPv6 network", "its first address, `/` and its length", "fd00::/64", _text(_NETWORK6)),
    values.AnyAddress: Kind(
        "IP address", "an IPv4 or IPv6 address, without a name or a port", "10.0.0.1", _text(f"({_IPV4}|{_IPV6})")
    ),
    values.AnyNetwork: Kind(
        "IP network", "its first address, `/` and its length", "10.244.0.0/16", _text(f"({_NETWORK4}|{_NETWORK6})")
    ),
    values.Range: Kind(
        "range of addresses",
        "the first and the last IPv4 address with `-` between them; both belong to it",
        "10.0.0.51-10.0.0.59",
        _text(rf"\s*{_IPV4}\s*(-\s*{_IPV4}\s*)?"),
    ),
    values.ProxmoxEndpoint: _HTTPS,
    values.KubernetesEndpoint: _HTTPS,
    values.IssuerUrl: _HTTPS,
    values.Patch: Kind(
        "Talos patch",
        "a mapping of Talos keys, a text of YAML documents, or `@` and the path of a file beside cluster.yaml",
        "@patches/sysctls.yaml",
        {"type": ["object", "string"], "minProperties": 1, "minLength": 1},
    ),
}


def mark(annotation: Any) -> object:
    """What a type of ``values`` is known by in a schema of pydantic: its pattern, or the function that reads it."""
    for part in annotation.__metadata__:
        match part:
            case StringConstraints(pattern=pattern):
                return pattern
            case BeforeValidator(func=function) | AfterValidator(func=function):
                return function
    raise TypeError(f"{annotation} has neither a pattern nor a function.")


_BY_MARK: dict[object, Kind] = {mark(annotation): kind for annotation, kind in KINDS.items()}


def kind_of(pattern_or_function: object) -> Kind | None:
    """The kind of value that has this pattern, or that this function reads."""
    return _BY_MARK.get(pattern_or_function)


def described_by(schema: dict[str, Any]) -> Kind | None:
    """The kind of value that a part of the JSON Schema describes."""
    for annotation, kind in KINDS.items():
        own = kind.schema or {"pattern": mark(annotation)}
        if own.items() <= schema.items():
            return kind
    return None
