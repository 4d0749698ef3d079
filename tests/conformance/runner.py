"""Runs a suite: a lab, each test in it, one after the other, and a verdict on each."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from tests.conformance import go
from tests.conformance.expectations import Expectations
from tests.conformance.site import Site
from tests.conformance.suite import Program, Suite
from tests.conformance.verdict import Verdict, judge, not_applicable

Say = Callable[[str], None]
KEY = re.compile(r"\bkey: \S+")
"""One that a test has made and prints: nobody knows it beforehand."""


def run(suite: Suite, only: str, logs: Path, say: Say, *, keep: bool = False) -> list[Verdict]:
    """The verdicts on all tests whose `package: name` matches `only`; what each printed is in a file in `logs`."""
    expectations = Expectations.read(suite.folder / "expectations.yaml")
    programs = _tests(suite)
    verdicts: list[Verdict] = []
    with Site(suite.folder / "datacentre.yaml", keep=keep) as site:
        suite.prepare(site)
        variables, arguments = suite.environment(site), suite.arguments(site)
        secrets = [value for value in suite.secrets(site) if value]
        for program, tests in programs.items():
            known = expectations.of(program.package)
            for test in (name for name in tests if re.search(only, f"{program.package}: {name}")):
                if why := known.why_not_applicable(test):
                    verdicts.append(not_applicable(program.package, test, why))
                    continue
                began = time.monotonic()
                done = go.run(
                    site,
                    program,
                    test,
                    variables,
                    arguments,
                    skip=known.parts_to_skip(test),
                    seconds=suite.seconds,
                )
                file = logs / f"{program.path.stem}.{test}.log"
                file.write_text(_without(secrets, done.output), encoding="utf-8")
                verdict = judge(program.package, done, known)
                verdicts.append(verdict)
                counts = f"{len(verdict.passed)} passed, {len(verdict.failed)} failed"
                say(f"{program.package}: {test}: {counts} in {time.monotonic() - began:.0f} s")
                for surprise in verdict.surprises:
                    say(f"    {surprise}, see {file}")
        if not only and not any(verdict.surprises for verdict in verdicts):
            suite.finish(site)
    return verdicts


def stale(suite: Suite) -> list[str]:
    """The entries of the suite's data file that name no test."""
    listed = {program.package: tests for program, tests in _tests(suite).items()}
    return Expectations.read(suite.folder / "expectations.yaml").unknown(listed)


def _tests(suite: Suite) -> dict[Program, list[str]]:
    return {program: [test for test in go.listed(program) if suite.wants(test)] for program in suite.programs()}


def _without(secrets: Sequence[str], text: str) -> str:
    for secret in secrets:
        text = text.replace(secret, "***")
    return KEY.sub("key: ***", text)
