"""Writes tables into a page, each between two markers of its own."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from tests.conformance.verdict import Verdict


class NoMarkersError(Exception):
    """The page has no place for the table."""


def write(page: Path, suite: str, title: str, verdicts: Sequence[Verdict]) -> None:
    replace(page, f"conformance {suite}", as_markdown(title, verdicts))


def replace(page: Path, name: str, text_between: str) -> None:
    """Put a text between the two markers of a name."""
    begin, end = f"<!-- {name}: begin -->", f"<!-- {name}: end -->"
    text = page.read_text(encoding="utf-8")
    if begin not in text or end not in text:
        raise NoMarkersError(f"{page} has no lines {begin!r} and {end!r} between which the table could stand")
    before, rest = text.split(begin, 1)
    after = rest.split(end, 1)[1]
    page.write_text(f"{before}{begin}\n{text_between}{end}{after}", encoding="utf-8")


def as_markdown(title: str, verdicts: Sequence[Verdict]) -> str:
    lines = [f"{title}: {summary(verdicts)}.", "", "| Test | Passed | Failed, and why |", "|---|---|---|"]
    package = ""
    for verdict in (verdict for verdict in verdicts if verdict.applies):
        if verdict.package != package:
            package = verdict.package
            lines.append(f"| **{package}** | | |")
        failed = "; ".join(f"`{_part(verdict, name)}`: {why}" for name, why in verdict.failed.items())
        lines.append(f"| {verdict.test} | {len(verdict.passed)} | {_cell(failed)} |")
    reasons: dict[str, list[str]] = {}
    for verdict in verdicts:
        for name, why in verdict.not_applicable.items():
            reasons.setdefault(why, []).append(name)
    lines += ["", "| Not applicable, because | Tests |", "|---|---|"]
    lines += [f"| {_cell(why)} | {_cell(', '.join(names))} |" for why, names in reasons.items()]
    return "\n".join(lines) + "\n"


def summary(verdicts: Sequence[Verdict]) -> str:
    counts = (
        sum(len(verdict.passed) for verdict in verdicts),
        sum(len(verdict.failed) for verdict in verdicts),
        sum(len(verdict.not_applicable) for verdict in verdicts),
    )
    return "{} passed, {} failed, {} not applicable".format(*counts)


def _part(verdict: Verdict, name: str) -> str:
    return name.removeprefix(f"{verdict.test}/")


def _cell(text: str) -> str:
    return re.sub(r"\s+", " ", text).replace("|", "\\|")
