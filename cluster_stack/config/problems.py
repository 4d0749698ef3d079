"""What is wrong with a cluster.yaml, as a person wants to read it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class Problem:
    """One mistake: where it is, what is wrong, what to write instead.

    ``line`` counts from 1, 0 means the file as a whole. ``key`` is the dotted path of the key, ``""`` for the file.
    """

    file: str
    line: int
    key: str
    what: str
    fix: str

    def __str__(self) -> str:
        place = f"{self.file}:{self.line}" if self.line else self.file
        return f"{place}: {self.key}: {self.what} {self.fix}" if self.key else f"{place}: {self.what} {self.fix}"


class ConfigError(Exception):
    """Every problem that was found, never only the first. Its text has one line for each."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = sorted(problems, key=lambda problem: (problem.file, problem.line, problem.key))
        super().__init__(self.problems)

    def __str__(self) -> str:
        return "\n".join(str(problem) for problem in self.problems)
