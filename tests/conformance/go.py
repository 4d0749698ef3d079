"""Runs compiled Go tests inside a lab and reads what they print."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from tests.conformance.site import Site
from tests.conformance.suite import Program

PARALLEL = 4
GRACE_SECONDS = 30.0
RESULT = re.compile(r"--- (PASS|FAIL|SKIP): (\S+) \(([\d.]+)s\)")

Ending = Literal["passed", "failed", "skipped"]
ENDINGS: Mapping[str, Ending] = {"PASS": "passed", "FAIL": "failed", "SKIP": "skipped"}


@dataclass
class Run:
    """One test with its parts: how each leaf of the tree ended, and all that was printed."""

    test: str
    endings: dict[str, Ending] = field(default_factory=dict)
    output: str = ""


def listed(program: Program) -> list[str]:
    """The names of the tests in a program. No test does anything, so it needs no lab."""
    if program.within:
        words = ["-test.v", f"-test.run=^{program.within}$/^{re.escape(program.names)}", *program.idle]
        found = re.compile(rf"^=== RUN +{program.within}/({re.escape(program.names)}[^/\s]*)$", re.MULTILINE)
    else:
        words, found = ["-test.list=."], re.compile(rf"^({re.escape(program.names)}\S*)$", re.MULTILINE)
    done = subprocess.run([program.path, *words], capture_output=True, text=True, check=True)
    return found.findall(done.stdout)


def run(
    site: Site,
    program: Program,
    test: str,
    variables: Mapping[str, str],
    arguments: Sequence[str],
    *,
    skip: Sequence[str],
    seconds: float,
) -> Run:
    """Run one test. One that does not end counts as failed, with what it had printed."""
    inside = f"^{program.within}$/" if program.within else ""
    command = [
        str(program.path),
        "-test.v",
        "-test.count=1",
        f"-test.run={inside}^{re.escape(test)}$",
        f"-test.parallel={PARALLEL}",
        f"-test.timeout={seconds:.0f}s",
        *([f"-test.skip={'|'.join(inside + part for part in skip)}"] if skip else []),
        *arguments,
    ]
    try:
        done = site.run(command, variables, seconds + GRACE_SECONDS)
        output, code = done.stdout, done.returncode
    except subprocess.TimeoutExpired as error:
        output, code = error.stdout.decode(errors="replace") if error.stdout else "", -1
    endings = dict(leaves(output, program.within))
    if code != 0 and "failed" not in endings.values():
        endings[test] = "failed"  # it died, or did not end
    elif not endings:
        endings[test] = "failed"
    return Run(test, endings, output)


def leaves(output: str, within: str = "") -> Iterator[tuple[str, Ending]]:
    """How the tests ended that have no parts of their own; of a test that failed by itself, the test too."""
    outer = f"{within}/" if within else ""
    found = {
        name.removeprefix(outer): ENDINGS[word] for word, name, _ in RESULT.findall(output) if name.startswith(outer)
    }
    for name, ending in found.items():
        parts = [other for other in found if other.startswith(f"{name}/")]
        if not parts or (ending == "failed" and not any(found[part] == "failed" for part in parts)):
            yield name, ending
