"""One site for the end-to-end tests that a process runs: making one takes seconds, and clusters do not disturb each
other."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.engine.site import Site


@pytest.fixture(scope="session")
def site() -> Iterator[Site]:
    made = Site()
    try:
        made.start()
        yield made
    finally:
        made.remove()


@pytest.fixture(autouse=True)
def _no_faults_left(request: pytest.FixtureRequest) -> Iterator[None]:
    yield
    if "site" in request.fixturenames:
        request.getfixturevalue("site").control.clear_faults()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if "tests/engine/" in item.nodeid:
            item.add_marker(pytest.mark.engine)
