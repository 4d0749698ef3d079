"""Which tier a test belongs to, where its folder decides that."""

from __future__ import annotations

import gc

import pytest

SERVERS = ("tests/lab/", "tests/toolchain/")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.nodeid.startswith(SERVERS) and item.get_closest_marker("engine") is None:
            item.add_marker(pytest.mark.servers)


def pytest_collection_finish() -> None:
    """What is loaded by now stays to the end: without this every full collection of garbage walks through it again."""
    gc.collect()
    gc.freeze()
