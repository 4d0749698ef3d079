"""`python -m tests.conformance`: the lab, judged by tests that others wrote."""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.conformance import runner, table
from tests.conformance.bpg.suite import Bpg
from tests.conformance.site import REPOSITORY
from tests.conformance.suite import Suite
from tests.conformance.table import NoMarkersError
from tests.conformance.talos.suite import Talos
from tests.conformance.verdict import surprises
from toolchain import ToolchainError
from toolchain.ensure import ensure

PAGE = REPOSITORY / "docs" / "lab.md"
SUITES: dict[str, type[Suite]] = {suite.name: suite for suite in (Bpg, Talos)}


def main() -> int:
    options = _parser().parse_args()
    logs = Path(options.logs or tempfile.mkdtemp(prefix="conformance-"))
    logs.mkdir(parents=True, exist_ok=True)
    problems: list[str] = []
    try:
        for name in options.suites or SUITES:
            suite = SUITES[name]()
            ensure(suite.tools)
            verdicts = runner.run(suite, options.only, logs, _say, keep=options.keep_lab)
            found = [
                *surprises(verdicts),
                *(f"expectations.yaml: {entry} names no test" for entry in runner.stale(suite)),
            ]
            problems += found
            _say(f"{suite.title}: {table.summary(verdicts)}")
            if options.only == "" and not found:
                table.write(PAGE, suite.name, suite.title, verdicts)
                _say(f"the table is in {PAGE.relative_to(REPOSITORY)}")
    except (ToolchainError, NoMarkersError, subprocess.SubprocessError) as error:
        _say(f"conformance: {error}")
        return 1
    for problem in problems:
        _say(f"UNEXPECTED {problem}")
    if problems:
        _say(f"what the tests printed is in {logs}")
    return 1 if problems else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m tests.conformance",
        description="Runs tests that others wrote against a lab, and writes what came of it into docs/lab.md.",
        epilog="It ends with 1 when a test fails or passes that the suite's expectations.yaml says otherwise of.",
    )
    parser.add_argument("suites", nargs="*", metavar="SUITE", help=f"{', '.join(SUITES)}; by default all")
    parser.add_argument(
        "--only", default="", metavar="PATTERN", help="tests whose `package: name` matches; no table then"
    )
    parser.add_argument("--logs", metavar="FOLDER", help="where what the tests print is kept (default: a new folder)")
    parser.add_argument("--keep-lab", action="store_true", help="leave the lab's folder, to look at its requests")
    return parser


def _say(text: str) -> None:
    print(text, flush=True)


if __name__ == "__main__":
    sys.exit(main())
