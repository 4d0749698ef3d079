"""Which system extensions there are.

Owns a dated list of names. Does not know which Talos release has which extension; only the Image Factory does.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache
from typing import NamedTuple

GUEST_AGENT = "siderolabs/qemu-guest-agent"
"""The extension by which Proxmox learns a VM's addresses and shuts it down."""


class _Catalogue(NamedTuple):
    date: str
    names: frozenset[str]
    former_names: frozenset[str]


def has_guest_agent(extensions: Iterable[str]) -> bool:
    """Whether a VM with these extensions answers Proxmox' questions to its guest agent."""
    return GUEST_AGENT in extensions


def meant_as_guest_agent(extensions: Iterable[str]) -> str | None:
    """A name that is none, and nearest to the guest agent's."""
    names = _catalogue().names
    return next((name for name in extensions if name not in names and GUEST_AGENT in _nearest(name, names)), None)


def unknown_extension(name: str) -> str | None:
    """None for the name of an official extension, otherwise what is wrong with it, to stand behind the name.

    The list is of one day and grows with every Talos release: a name that is not in it can be right.
    """
    catalogue = _catalogue()
    if name in catalogue.names or name in catalogue.former_names:
        return None
    what = f"is no official system extension known on {catalogue.date}"
    nearest = _nearest(name, catalogue.names)
    return (
        f"{what}; nearest: {', '.join(nearest)}"
        if nearest
        else f"{what}; https://github.com/siderolabs/extensions lists them"
    )


def _nearest(name: str, names: Iterable[str]) -> list[str]:
    """Up to three names like ``name``, best first, without regard to a registry before it or a tag behind it."""
    from difflib import get_close_matches

    by_short_name = {known.rpartition("/")[2]: known for known in names}
    short_name = name.rpartition("/")[2].partition(":")[0].lower()
    if short_name in by_short_name:
        return [by_short_name[short_name]]
    return [by_short_name[match] for match in get_close_matches(short_name, sorted(by_short_name), n=3)]


@cache
def _catalogue() -> _Catalogue:
    import json
    from importlib.resources import files

    data = json.loads(
        files("cluster_stack.plan").joinpath("data").joinpath("extensions.json").read_text(encoding="utf-8")
    )
    return _Catalogue(data["date"], frozenset(data["names"]), frozenset(data["formerNames"]))
