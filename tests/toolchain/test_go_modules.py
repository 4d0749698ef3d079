"""What is written in Go has tests in Go, beside the code: here they run."""

from __future__ import annotations

import subprocess

import pytest

from tests.go_modules import ENVIRONMENT, REPOSITORY, go

MODULES = ("lab/node", "toolchain/modules/talos")


def test_no_module_with_tests_is_forgotten() -> None:
    tests = (path.relative_to(REPOSITORY).as_posix() for path in REPOSITORY.rglob("*_test.go"))
    assert [path for path in tests if not path.startswith(tuple(f"{module}/" for module in MODULES))] == []


@pytest.mark.parametrize("module", MODULES)
def test_a_module(module: str) -> None:
    folder = REPOSITORY / module
    done = subprocess.run(
        [go(folder), "test", "-mod=readonly", "./..."],
        cwd=folder,
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
