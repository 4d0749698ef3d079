"""What is known of a suite's tests: which cannot apply to a lab, and which fail, each with the reason in a sentence.

Everything that the data file does not name is expected to pass. A name may be that of a test or, after a slash, of
one of its parts, as Go prints it; a star stands for anything.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

import yaml
from pydantic import BaseModel, ConfigDict


class Known(BaseModel):
    """What is known of one package's tests: pattern and reason."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    not_applicable: Mapping[str, str] = {}
    fails: Mapping[str, str] = {}
    unsteady: Mapping[str, str] = {}
    """Passes in one run and fails in the next, by no fault of the lab."""

    def why_not_applicable(self, name: str) -> str | None:
        """The reason for which a whole test, or one part of it, does not apply."""
        return _found(self.not_applicable, name)

    def why_it_fails(self, name: str) -> str | None:
        return _found(self.fails, name)

    def why_it_may_fail(self, name: str) -> str | None:
        return _found(self.unsteady, name)

    def parts_to_skip(self, test: str) -> list[str]:
        """The parts of a test that do not apply, each as Go's `-test.skip` takes it."""
        parts = [pattern for pattern in self.not_applicable if "/" in pattern and pattern.startswith(f"{test}/")]
        return ["/".join(_as_go(element) for element in part.split("/")) for part in parts]


@dataclass(frozen=True)
class Expectations:
    packages: Mapping[str, Known]

    @classmethod
    def read(cls, file: Path) -> Expectations:
        content = yaml.safe_load(file.read_text(encoding="utf-8")) or {}
        return cls({package: Known.model_validate(known) for package, known in content.items()})

    def of(self, package: str) -> Known:
        return self.packages.get(package, Known())

    def unknown(self, tests: Mapping[str, Iterable[str]]) -> list[str]:
        """The entries that name a package or a test that does not exist: they say nothing, and look as if they did."""
        found = []
        for package, known in self.packages.items():
            names = list(tests.get(package, ()))
            for pattern in [*known.not_applicable, *known.fails, *known.unsteady]:
                if not any(fnmatchcase(name, pattern.partition("/")[0]) for name in names):
                    found.append(f"{package}: {pattern}")
        return found


def _found(reasons: Mapping[str, str], name: str) -> str | None:
    return next((reason for pattern, reason in reasons.items() if fnmatchcase(name, pattern)), None)


def _as_go(element: str) -> str:
    return "^" + ".*".join(re.escape(text) for text in element.split("*")) + "$"
