"""A suite from its programs to its verdicts, with scripts for tests and no lab."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType

import pytest

from tests.conformance import runner
from tests.conformance.site import Site
from tests.conformance.suite import Program, Suite
from tests.conformance.test_go import Here, program

SCRIPT = """
case "$*" in
*-test.list*) echo TestDisks; echo TestContainer; echo TestNothing;;
*TestDisks*) echo "the token is $TOKEN"; echo "  key: LS0tLS1"; echo "--- PASS: TestDisks (0.00s)";;
*) echo "--- FAIL: ran though it does not apply (0.00s)"; exit 1;;
esac
"""


class Nowhere(Here):
    """A site without a lab."""

    def __init__(self, datacentre: Path, *, keep: bool) -> None:
        pass

    def __enter__(self) -> Nowhere:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        pass


class Small(Suite):
    name, title, tools = "small", "A small suite", ()

    def __init__(self, folder: Path, expectations: str) -> None:
        self.folder = folder
        (folder / "expectations.yaml").write_text(expectations)
        self.finished = False

    def programs(self) -> Sequence[Program]:
        return [program(self.folder, SCRIPT)]

    def environment(self, site: Site) -> Mapping[str, str]:
        return {"TOKEN": "hunter2"}

    def wants(self, test: str) -> bool:
        return test != "TestNothing"

    def secrets(self, site: Site) -> Sequence[str]:
        return ["hunter2"]

    def finish(self, site: Site) -> None:
        self.finished = True


@pytest.fixture(autouse=True)
def _no_lab(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runner, "Site", Nowhere)


APPLIES_NOT = "x: {not_applicable: {TestContainer: no kernel}}"


def run(suite: Suite, folder: Path, only: str = "") -> list[str]:
    said: list[str] = []
    verdicts = runner.run(suite, only, folder, said.append)
    return [f"{verdict.test} {len(verdict.passed)} {verdict.surprises}" for verdict in verdicts]


def test_what_applies_runs_and_no_secret_is_kept(tmp_path: Path) -> None:
    suite = Small(tmp_path, APPLIES_NOT)
    assert run(suite, tmp_path) == ["TestDisks 1 []", "TestContainer 0 []"]
    assert (tmp_path / "x.TestDisks.log").read_text().splitlines()[:2] == ["the token is ***", "  key: ***"]
    assert suite.finished
    assert runner.stale(suite) == []


def test_a_run_with_surprises_or_of_a_part_is_not_kept(tmp_path: Path) -> None:
    suite = Small(tmp_path, "")
    assert run(suite, tmp_path)[1] == "TestContainer 0 ['TestContainer fails']"
    assert not suite.finished
    suite = Small(tmp_path, APPLIES_NOT)
    assert run(suite, tmp_path, only="x: TestDisks") == ["TestDisks 1 []"]
    assert not suite.finished


def test_an_entry_for_no_test_is_told(tmp_path: Path) -> None:
    assert runner.stale(Small(tmp_path, "x: {fails: {TestGone: why}}")) == ["x: TestGone"]
