"""A file of any size and shape gets a clear answer, and takes neither the machine's memory nor its day."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from cluster_stack.config.document import MAX_PROBLEMS

ROOT = Path(__file__).parents[2]

SAID: dict[str, str] = yaml.safe_load((Path(__file__).parent / "extremes.yaml").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def found() -> Any:
    """What the process says that reads the files. They take it two seconds; what grows exponentially takes for ever."""
    command = [sys.executable, "-m", "tests.sites.extremes"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(done.stdout)


def test_every_file_has_its_answer(found: Any) -> None:
    assert list(found["answers"]) == list(SAID)


@pytest.mark.parametrize("name", SAID)
def test_a_clear_answer(found: Any, name: str) -> None:
    assert found["answers"][name][:1] == [SAID[name]]


def test_very_many_mistakes_are_not_all_told(found: Any) -> None:
    assert {len(answer) for answer in found["answers"].values()} == {1, MAX_PROBLEMS + 1}


def test_it_takes_little_memory(found: Any) -> None:
    assert found["megabytes"] < 200
