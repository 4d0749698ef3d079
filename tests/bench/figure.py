"""What a measurement comes to, and how it is shown: in a terminal, and in docs/figures.md."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

Unit = Literal["times", "ms", "s", "KB", "MB", "modules"]
DECIMALS: dict[Unit, int] = {"times": 2, "ms": 0, "s": 1, "KB": 1, "MB": 1, "modules": 0}


@dataclass(frozen=True)
class Figure:
    name: str
    measured: float
    limit: float
    unit: Unit
    details: tuple[str, ...] = ()
    """What the figure is made of, a line each."""

    @property
    def holds(self) -> bool:
        return self.measured <= self.limit

    @property
    def shown(self) -> str:
        return f"{self.measured:.{DECIMALS[self.unit]}f} {self.unit}"

    @property
    def shown_limit(self) -> str:
        return f"{self.limit:g} {self.unit}"

    @property
    def verdict(self) -> str:
        return "ok" if self.holds else "OVER"


def as_text(figures: Sequence[Figure], machine: Sequence[str]) -> str:
    width = max(len(figure.name) for figure in figures)
    lines = [*machine, "", f"{'figure':<{width}}  {'measured':>12}  {'at most':>10}"]
    lines += [
        f"{figure.name:<{width}}  {figure.shown:>12}  {figure.shown_limit:>10}  {figure.verdict}" for figure in figures
    ]
    for figure in figures:
        if figure.details:
            lines += ["", f"{figure.name}: {figure.shown}", *(f"    {line}" for line in figure.details)]
    return "\n".join(lines)


def as_markdown(figures: Sequence[Figure], machine: Sequence[str]) -> str:
    lines = [
        "# Figures",
        "",
        "Written by `.venv/bin/python -m tests.bench --write`: measured in one run, on one machine. The ratios hold on",
        "other machines too, the seconds do not.",
        "",
        *(f"* {line}" for line in machine),
        "",
        *tables(figures),
    ]
    return "\n".join(lines) + "\n"


def tables(figures: Sequence[Figure], heading: str = "##") -> list[str]:
    """The figures in one table, then what each is made of."""
    lines = [
        "| Figure | Measured | At most | |",
        "|---|---:|---:|---|",
        *(f"| {figure.name} | {figure.shown} | {figure.shown_limit} | {figure.verdict} |" for figure in figures),
    ]
    for figure in figures:
        if figure.details:
            lines += ["", f"{heading} {_sentence(figure.name)}: {figure.shown}", "", "```text", *figure.details, "```"]
    return lines


def _sentence(name: str) -> str:
    return name if name.startswith("`") else name[0].upper() + name[1:]
