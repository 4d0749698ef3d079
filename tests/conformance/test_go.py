"""Running a compiled test: here a script that behaves like one, in place of the lab the machine itself."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from tests.conformance import go
from tests.conformance.go import Run
from tests.conformance.site import Site
from tests.conformance.suite import Program


class Here(Site):
    """Runs commands where it is."""

    def __init__(self) -> None:
        pass

    def run(
        self,
        command: Sequence[str | Path],
        variables: Mapping[str, str],
        seconds: float,
        *,
        folder: Path = Path(),
    ) -> subprocess.CompletedProcess[str]:
        output = subprocess.PIPE
        return subprocess.run(
            command, env=variables, stdout=output, stderr=subprocess.STDOUT, text=True, timeout=seconds, check=False
        )


def program(tmp_path: Path, script: str, within: str = "") -> Program:
    file = tmp_path / "x.test"
    file.write_text(f"#!/bin/sh\n{script}\n")
    file.chmod(0o755)
    return Program("x", file, within, "api.", ("-idle",)) if within else Program("x", file)


def run(tmp_path: Path, script: str, *skip: str) -> Run:
    made = program(tmp_path, script)
    return go.run(Here(), made, "TestDisks", {"NAME": "value"}, ["-flag"], skip=skip, seconds=1)


def test_the_tests_of_a_program_are_listed(tmp_path: Path) -> None:
    assert go.listed(program(tmp_path, "echo TestA; echo TestB; echo ok")) == ["TestA", "TestB"]


def test_a_test_is_run_alone_with_its_flags(tmp_path: Path) -> None:
    done = run(tmp_path, 'echo "$@ $NAME"; echo "--- PASS: TestDisks (0.00s)"', "^TestDisks$/^zfs$")
    assert done.endings == {"TestDisks": "passed"}
    assert done.output.splitlines()[0] == (
        "-test.v -test.count=1 -test.run=^TestDisks$ -test.parallel=4 -test.timeout=1s -test.skip=^TestDisks$/^zfs$ "
        "-flag value"
    )


PARTS = """
echo "$@"
echo '=== RUN   TestAll'
echo '=== RUN   TestAll/api.Disks'
echo '=== RUN   TestAll/api.Disks/TestMove'
echo '=== RUN   TestAll/k8s.Pods'
echo '    --- PASS: TestAll/api.Disks/TestMove (0.00s)'
echo '    --- FAIL: TestAll/api.Disks/TestGrow (0.00s)'
echo '--- FAIL: TestAll (0.00s)'
"""


def test_the_parts_of_the_one_test_that_a_package_has_are_its_tests(tmp_path: Path) -> None:
    made = program(tmp_path, PARTS, within="TestAll")
    assert go.listed(made) == ["api.Disks"]
    done = go.run(
        Here(), made, "api.Disks", {}, [], skip=["^api\\.Disks$/^TestZfs$", "^api\\.Disks$/^TestLvm$"], seconds=1
    )
    assert done.endings == {"api.Disks/TestMove": "passed", "api.Disks/TestGrow": "failed"}
    assert "-test.run=^TestAll$/^api\\.Disks$ " in done.output
    assert "-test.skip=^TestAll$/^api\\.Disks$/^TestZfs$|^TestAll$/^api\\.Disks$/^TestLvm$" in done.output


@pytest.mark.parametrize(
    "script",
    ["echo 'panic: nil'; exit 2", "exit 0", "echo '--- PASS: TestDisks (0.00s)'; exit 1"],
    ids=["it dies", "it says nothing", "it passes and yet fails"],
)
def test_a_test_that_does_not_end_well_has_failed(tmp_path: Path, script: str) -> None:
    assert run(tmp_path, script).endings == {"TestDisks": "failed"}


def test_a_test_that_hangs_has_failed_and_what_it_printed_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(go, "GRACE_SECONDS", -0.5)
    done = run(tmp_path, "echo '--- PASS: TestDisks/move (0.00s)'; exec sleep 20")
    assert done.endings == {"TestDisks/move": "passed", "TestDisks": "failed"}
