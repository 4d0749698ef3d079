"""Which tier a test belongs to, where its folder decides that, and in which order the files come."""

from __future__ import annotations

import gc

import pytest

SERVERS = ("tests/lab/", "tests/toolchain/")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.nodeid.startswith(SERVERS) and item.get_closest_marker("engine") is None:
            item.add_marker(pytest.mark.servers)
    # The files that take minutes first: at the end no process is to wait for another one that has just begun with one.
    items.sort(key=_tier)


def _tier(item: pytest.Item) -> int:
    if item.get_closest_marker("engine"):
        return 0 if item.nodeid.startswith("tests/engine/") else 1
    return 2 if item.get_closest_marker("servers") else 3


def pytest_collection_finish() -> None:
    """What is loaded by now stays to the end: without this every full collection of garbage walks through it again."""
    gc.collect()
    gc.freeze()
