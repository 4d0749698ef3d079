"""What the runner makes of Go's output and of what is known beforehand. No lab, no Go."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.conformance import go, table
from tests.conformance.expectations import Expectations, Known
from tests.conformance.go import Run
from tests.conformance.table import NoMarkersError
from tests.conformance.verdict import Verdict, judge, not_applicable, surprises

OUTPUT = """\
=== RUN   TestDisks
=== PAUSE TestDisks/grow
    disks_test.go:7: it did not grow
--- FAIL: TestDisks (2.00s)
    --- PASS: TestDisks/move (0.50s)
    --- FAIL: TestDisks/grow (1.50s)
    --- SKIP: TestDisks/zfs (0.00s)
FAIL
"""


def verdict(output: str = OUTPUT, **known: dict[str, str]) -> Verdict:
    return judge("vm", Run("TestDisks", dict(go.leaves(output)), output), Known.model_validate(known))


def test_parts_count_and_not_the_test_that_has_them() -> None:
    found = dict(go.leaves(OUTPUT))
    assert found == {"TestDisks/move": "passed", "TestDisks/grow": "failed", "TestDisks/zfs": "skipped"}


def test_a_test_that_fails_by_itself_counts_besides_its_parts() -> None:
    output = "--- FAIL: TestDisks (2.00s)\n    --- PASS: TestDisks/move (0.50s)\n"
    assert dict(go.leaves(output)) == {"TestDisks": "failed", "TestDisks/move": "passed"}


def test_what_was_not_expected_is_a_surprise() -> None:
    assert verdict().surprises == ["TestDisks/grow fails", "TestDisks/zfs was skipped by itself"]


def test_a_known_failure_is_none_and_is_told_with_its_reason() -> None:
    found = verdict(fails={"TestDisks/grow": "disks do not grow"}, not_applicable={"TestDisks/zfs": "no ZFS"})
    assert found.failed == {"TestDisks/grow": "disks do not grow"}
    assert found.not_applicable == {"TestDisks/zfs": "no ZFS"}
    assert found.surprises == ["TestDisks/zfs was skipped by itself"]


def test_an_unsteady_test_may_pass_and_may_fail() -> None:
    known = {"TestDisks/move": "it moves on some days", "TestDisks/grow": "it grows on some days"}
    found = verdict(unsteady=known, not_applicable={"TestDisks/zfs": "no ZFS"})
    assert (found.passed, found.failed) == (["TestDisks/move"], {"TestDisks/grow": "it grows on some days"})
    assert found.surprises == ["TestDisks/zfs was skipped by itself"]


def test_a_failure_that_does_not_happen_is_a_surprise() -> None:
    known = {"TestDisks/move": "nothing moves", "TestDisks/gone": "no such part any more"}
    assert list(surprises([verdict(fails=known)])) == [
        "vm: TestDisks/move passes, though it is said to fail: nothing moves",
        "vm: TestDisks/grow fails",
        "vm: TestDisks/zfs was skipped by itself",
        "vm: TestDisks/gone is said to fail, and did not run",
    ]


def test_a_star_stands_for_anything() -> None:
    known = Known(not_applicable={"TestContainer*": "no kernel", "TestDisks/zfs_*": "no ZFS"})
    assert known.why_not_applicable("TestContainerClone") == "no kernel"
    assert known.why_not_applicable("TestDisks") is None
    assert known.parts_to_skip("TestDisks") == [r"^TestDisks$/^zfs_.*$"]
    assert known.parts_to_skip("TestContainerClone") == []


def test_an_entry_that_names_no_test_is_found(tmp_path: Path) -> None:
    file = tmp_path / "expectations.yaml"
    file.write_text("vm:\n  not_applicable: {TestDisks/zfs: no ZFS, TestOld*: gone}\nnet:\n  fails: {TestNic: slow}\n")
    expectations = Expectations.read(file)
    assert expectations.unknown({"vm": ["TestDisks"]}) == ["vm: TestOld*", "net: TestNic"]


def test_a_misspelt_kind_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "expectations.yaml"
    file.write_text("vm:\n  failing: {TestDisks: slow}\n")
    with pytest.raises(ValueError, match="failing"):
        Expectations.read(file)


VERDICTS = [
    Verdict("vm", "TestDisks", ["TestDisks/move"], {"TestDisks/grow": "a|b"}, {"TestDisks/zfs": "no ZFS"}),
    Verdict("vm", "TestNic", ["TestNic"]),
    not_applicable("net", "TestZone", "no ZFS"),
]


def test_the_table() -> None:
    assert table.as_markdown("Tests of others", VERDICTS).splitlines() == [
        "Tests of others: 2 passed, 1 failed, 2 not applicable.",
        "",
        "| Test | Passed | Failed, and why |",
        "|---|---|---|",
        "| **vm** | | |",
        "| TestDisks | 1 | `grow`: a\\|b |",
        "| TestNic | 1 |  |",
        "",
        "| Not applicable, because | Tests |",
        "|---|---|",
        "| no ZFS | TestDisks/zfs, TestZone |",
    ]


def test_the_table_takes_the_place_of_the_one_before(tmp_path: Path) -> None:
    page = tmp_path / "lab.md"
    page.write_text("before\n<!-- conformance x: begin -->\nold\n<!-- conformance x: end -->\nafter\n")
    for _ in range(2):
        table.write(page, "x", "New", VERDICTS[1:2])
    lines = page.read_text().splitlines()
    assert (lines[0], lines[2], lines[-1]) == ("before", "New: 1 passed, 0 failed, 0 not applicable.", "after")
    assert "old" not in lines
    with pytest.raises(NoMarkersError, match="conformance y: begin"):
        table.write(page, "y", "New", VERDICTS)
