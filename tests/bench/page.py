"""docs/figures.md: what `tests.bench` writes, and a part of `tests.scale`, which takes much longer.

Each keeps what the other one has written.
"""

from __future__ import annotations

from collections.abc import Sequence

from tests.bench.figure import Figure, as_markdown, tables
from tests.project import REPOSITORY

PAGE = REPOSITORY / "docs" / "figures.md"
BEGIN, END = "<!-- scale: begin -->\n", "<!-- scale: end -->\n"


def write(figures: Sequence[Figure], machine: Sequence[str]) -> None:
    PAGE.write_text(with_scale(as_markdown(figures, machine), scale(PAGE.read_text())), encoding="utf-8")


def write_scale(figures: Sequence[Figure], notes: Sequence[str]) -> None:
    lines = ["## Hundreds of nodes", "", "Written by `.venv/bin/python -m tests.scale --write`.", ""]
    lines += [*(f"* {note}" for note in notes), "", *tables(figures, heading="###")]
    page = PAGE.read_text().partition(BEGIN)[0].rstrip("\n") + "\n"
    PAGE.write_text(with_scale(page, "\n".join(lines) + "\n"), encoding="utf-8")


def scale(page: str) -> str:
    """The part that `tests.scale` has written; nothing where it has not yet."""
    return page.partition(BEGIN)[2].partition(END)[0]


def with_scale(page: str, part: str) -> str:
    return f"{page}\n{BEGIN}{part}{END}" if part else page
