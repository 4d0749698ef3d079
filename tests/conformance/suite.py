"""What a suite of tests that others wrote must tell, so that the runner can judge the lab with it.

A suite says which programs of Go tests it has, which site they want to find, and how they are told of it. Which tests
are known not to pass stands in its data file (tests.conformance.expectations), running them is tests.conformance.go's
business.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.conformance.site import Site


@dataclass(frozen=True)
class Program:
    """The tests of one Go package, compiled."""

    package: str
    path: Path
    within: str = ""
    """The one Go test of which all the others are parts, where a package has such a one."""
    names: str = "Test"
    """How the names of the tests begin."""
    idle: tuple[str, ...] = ()
    """The words with which such parts begin, and do nothing: they cannot be listed otherwise."""


class Suite(ABC):
    """Tests of one origin."""

    name: str
    """How the suite is called on the command line, and in the markers of its table."""
    title: str
    """What they are and in which version, for the reader of the table."""
    tools: tuple[str, ...]
    """The tools of the toolchain, on request, that it needs."""
    folder: Path
    """Where `expectations.yaml` and, for a site of its own, `datacentre.yaml` are."""
    seconds: int = 600
    """How long one test may take."""

    @abstractmethod
    def programs(self) -> Sequence[Program]:
        """The programs, in the order in which they run."""

    @abstractmethod
    def environment(self, site: Site) -> Mapping[str, str]:
        """The variables that name the site to the tests."""

    def wants(self, test: str) -> bool:
        """Whether a test of a program looks at the site; those that need none judge nothing here."""
        del test
        return True

    def secrets(self, site: Site) -> Sequence[str]:
        """What must not stand in a log of the tests."""
        del site
        return ()

    def arguments(self, site: Site) -> Sequence[str]:
        """Further words of every program's command line."""
        del site
        return ()

    def finish(self, site: Site) -> None:
        """What is to be kept of a run of all tests, while the lab is still there."""
        del site

    def prepare(self, site: Site) -> None:
        """What must be there before the first test, beyond a running lab."""
        del site
