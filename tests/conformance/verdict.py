"""Compares how tests ended with what was expected of them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from tests.conformance.expectations import Known
from tests.conformance.go import Run


@dataclass
class Verdict:
    """What is to be told of one test: the parts that passed, those that did not with the reason, and surprises."""

    package: str
    test: str
    passed: list[str] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)
    not_applicable: dict[str, str] = field(default_factory=dict)
    surprises: list[str] = field(default_factory=list)

    @property
    def applies(self) -> bool:
        return self.test not in self.not_applicable


def not_applicable(package: str, test: str, why: str) -> Verdict:
    return Verdict(package, test, not_applicable={test: why})


def judge(package: str, run: Run, known: Known) -> Verdict:
    verdict = Verdict(package, run.test)
    for pattern, inapplicable in known.not_applicable.items():
        if pattern.startswith(f"{run.test}/"):
            verdict.not_applicable[pattern] = inapplicable
    for name, ending in run.endings.items():
        why = known.why_it_fails(name)
        if ending == "passed":
            verdict.passed.append(name)
            if why:
                verdict.surprises.append(f"{name} passes, though it is said to fail: {why}")
        elif ending == "failed":
            reason = why or known.why_it_may_fail(name)
            verdict.failed[name] = reason or "unexpected"
            if not reason:
                verdict.surprises.append(f"{name} fails")
        else:
            verdict.surprises.append(f"{name} was skipped by itself")
    for pattern in known.fails:
        ours = pattern == run.test or pattern.startswith(f"{run.test}/")
        if ours and "*" not in pattern and pattern not in run.endings:
            verdict.surprises.append(f"{pattern} is said to fail, and did not run")
    return verdict


def surprises(verdicts: Sequence[Verdict]) -> Iterator[str]:
    for verdict in verdicts:
        yield from (f"{verdict.package}: {surprise}" for surprise in verdict.surprises)
