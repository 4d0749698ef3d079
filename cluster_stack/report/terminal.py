"""What the place that text is written to can show: how wide it is, which characters, whether colours."""

from __future__ import annotations

import os
import shutil
import sys
from dataclasses import dataclass
from typing import Literal, TextIO

Colour = Literal["bold", "dim", "red", "green", "yellow", "blue"]

_CODES: dict[Colour, int] = {"bold": 1, "dim": 2, "red": 31, "green": 32, "yellow": 33, "blue": 34}

PIPE_WIDTH = 120
"""Columns where nobody says how many there are: a file, a pipe, a workflow's log."""

_LEAST_WIDTH = 30


@dataclass(frozen=True)
class Terminal:
    width: int = PIPE_WIDTH
    colours: bool = False
    lines: str = "┌─┐│└┘├┤"
    """Corners and sides of boxes."""

    def paint(self, text: str, *colours: Colour) -> str:
        if not self.colours or not text:
            return text
        return f"\033[{';'.join(str(_CODES[colour]) for colour in colours)}m{text}\033[0m"

    def cut(self, text: str, width: int) -> str:
        """At most ``width`` columns of a text, with a mark where something is missing."""
        mark = "…" if "─" in self.lines else "."
        return text if len(text) <= width else text[: max(0, width - 1)] + mark


def printable(text: str) -> str:
    """A text of somebody's cluster.yaml that can do no more to a terminal than be read."""
    return "".join(character if character.isprintable() else "?" for character in text)


def terminal(stream: TextIO | None = None) -> Terminal:
    """What ``stream`` (default: standard output) shows. NO_COLOR (https://no-color.org) and COLUMNS are heeded."""
    stream = stream or sys.stdout
    colours = stream.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
    width = shutil.get_terminal_size(fallback=(PIPE_WIDTH, 24)).columns
    lines = Terminal.lines
    try:
        f"{lines}…".encode(stream.encoding or "ascii")
    except UnicodeEncodeError:
        lines = "+-+|++++"
    return Terminal(max(width, _LEAST_WIDTH), colours, lines)
