"""Where two values differ, and how to say it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from itertools import zip_longest

from cluster_stack.config.document import Path

Nouns = Mapping[str, str]
"""What there is to say of something: a noun, and its value in words."""

_ABSENT = object()


def differing(old: object, new: object, path: Path = ()) -> Iterator[Path]:
    """The paths at which two values differ, no deeper than the first key or item that only one of them has."""
    if isinstance(old, dict) and isinstance(new, dict):
        for key in dict.fromkeys([*old, *new]):
            yield from differing(old.get(key, _ABSENT), new.get(key, _ABSENT), (*path, key))
    elif isinstance(old, list) and isinstance(new, list):
        for index, (one, other) in enumerate(zip_longest(old, new, fillvalue=_ABSENT)):
            yield from differing(one, other, (*path, index))
    elif old != new:
        yield path


def in_words(before: Nouns, after: Nouns) -> Iterator[str]:
    """``memory 8 GB to 16 GB`` for each noun whose value differs."""
    for noun in dict.fromkeys([*before, *after]):
        old, new = before.get(noun, "none"), after.get(noun, "none")
        if old != new:
            yield f"{noun} {old} to {new}"


def listed(names: Iterable[str], most: int = 12) -> str:
    """``a, b and 3 more``."""
    found = list(dict.fromkeys(names))
    return ", ".join(found[:most]) + (f" and {len(found) - most} more" if len(found) > most else "")
