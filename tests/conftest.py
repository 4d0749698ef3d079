"""Which tier a test belongs to, and which tests follow each other in one process where several run them."""

from __future__ import annotations

import gc

import pytest

SERVERS = ("tests/lab/", "tests/toolchain/")


def pytest_itemcollected(item: pytest.Item) -> None:
    item.add_marker(pytest.mark.xdist_group(_group(item)))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.nodeid.startswith(SERVERS) and item.get_closest_marker("engine") is None:
            item.add_marker(pytest.mark.servers)


def _group(item: pytest.Item) -> str:
    """The tests of a file share what it sets up; those of the engine without a site of their own share one."""
    file = item.nodeid.partition("::")[0]
    shared = file.startswith("tests/engine/") and "site" in getattr(item, "fixturenames", ())
    return "tests/engine" if shared else file


def pytest_collection_finish() -> None:
    """What is loaded by now stays to the end: without this every full collection of garbage walks through it again."""
    gc.collect()
    gc.freeze()
