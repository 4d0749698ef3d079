"""What a list of the file names twice."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Iterator
from typing import TypeVar

Item = TypeVar("Item", bound=Hashable)


def repeats(items: Iterable[Item]) -> Iterator[tuple[int, Item]]:
    """The items that have been there before, each with its place in the list."""
    seen: set[Item] = set()
    for index, item in enumerate(items):
        if item in seen:
            yield index, item
        seen.add(item)
