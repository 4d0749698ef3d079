"""Proxmox's whole API description: what is not built says so, and what is built knows all that it may be asked."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

import pytest

from lab.proxmox import formats, schema
from lab.proxmox.description import Call
from lab.proxmox.registry import CALLS

from .conftest import DESCRIPTION, Lab

EVERYTHING = list(DESCRIPTION)
PLACES = {"node": "ms01", "vmid": "100", "storage": "local"}
NEVER_ASKED = {
    "pve-acme-alias", "pve-acme-domain", "pve-acme-domain-list", "pve-dir-override-list", "pve-iface", "pve-qm-ide",
    "pve-qemu-sev-fmt", "pve-qemu-tdx-fmt", "pve-storage-zfs-blocksize",
}  # fmt: skip
"""Formats of parameters that the lab refuses whatever they say."""


def path_of(call: Call) -> str:
    return re.sub(r"\{(.+?)\}", lambda name: PLACES.get(name[1], "x"), call.template)


def formats_in(properties: Mapping[str, Any]) -> Iterator[str]:
    for described in properties.values():
        named = described.get("format")
        if isinstance(named, dict):
            yield from formats_in(named)
        elif named:
            yield named
        if "items" in described:
            yield from formats_in({"": described["items"]})


def is_known(named: str) -> bool:
    known = {*formats.CHECKS, *formats.PROPERTY_STRINGS}
    return named in known or any(named.endswith(end) and named[: -len(end)] in known for end in ("-list", "-opt"))


def test_the_description_is_whole() -> None:
    assert len(EVERYTHING) > 600
    assert set(CALLS) <= {call.key for call in EVERYTHING}


async def test_what_is_not_built_says_so(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    """As root, who may do anything, and with parameters that nobody looks at."""
    monkeypatch.setattr(schema, "verify", lambda *_: None)
    await lab.log_in()
    for call in EVERYTHING:
        if call.key not in CALLS:
            path = path_of(call)
            status, body = await lab.answer(call.method, path)
            words = f"Method '{call.method} {path}' not implemented"
            assert (status, body["reason"]) == (501, words), call.key


async def test_what_is_not_built_never_succeeds(lab: Lab) -> None:
    for call in EVERYTHING:
        if call.key not in CALLS:
            status, _ = await lab.answer(call.method, path_of(call))
            assert status in (400, 403, 500, 501), call.key


def test_every_format_that_a_built_call_may_be_given_is_known() -> None:
    built = (call for call in EVERYTHING if call.key in CALLS)
    named = {name for call in built for name in formats_in(call.parameters.get("properties") or {})}
    assert {name for name in named if not is_known(name)} == NEVER_ASKED
