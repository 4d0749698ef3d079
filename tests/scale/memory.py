"""Whose the memory is: sampled while the cluster comes up, and counted by kind once it is there."""

from __future__ import annotations

import threading
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import mean

from tests.bench.memory import Process, processes
from tests.engine.site import Site

SAMPLE_SECONDS = 10.0
SHARED_BY_ALL = ("talos-kubelets", "the daemon")
"""What plays something of each node in one process."""


@dataclass(frozen=True)
class Usage:
    site: float
    """MB of the lab: machines with all that they run, and what is around them."""
    commands: float
    """MB of what runs inside: the engine and its plugins."""


class Sampler:
    """Looks again and again, in a thread; keeps the largest."""

    def __init__(self, site: Site) -> None:
        self._site = site
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self.largest = Usage(0, 0)
        self.largest_commands: dict[str, float] = {}

    def __enter__(self) -> Sampler:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stop.wait(SAMPLE_SECONDS):
            found = processes(self._site)
            now = usage(found)
            if now.commands > sum(self.largest_commands.values()):
                self.largest_commands = by_kind([process for process in found if process.is_command])
            if now.site + now.commands > self.largest.site + self.largest.commands:
                self.largest = now


def usage(found: Sequence[Process]) -> Usage:
    return Usage(
        sum(process.megabytes for process in found if not process.is_command),
        sum(process.megabytes for process in found if process.is_command),
    )


def by_kind(found: Sequence[Process]) -> dict[str, float]:
    kinds: dict[str, float] = defaultdict(float)
    for process in found:
        kinds[process.name] += process.megabytes
    return dict(sorted(kinds.items(), key=lambda item: -item[1]))


@dataclass(frozen=True)
class Workers:
    """What one worker takes, in MB."""

    mean: float
    largest: float
    shared: float
    """Its share of the processes that play something of every node."""


def workers(found: Sequence[Process], nodes: int) -> Workers:
    sizes = [process.megabytes for process in found if process.is_node and "-worker" in (process.machine or "")]
    shared = sum(process.megabytes for process in found if process.name in SHARED_BY_ALL)
    return Workers(mean(sizes), max(sizes), shared / nodes)


def details(found: Sequence[Process]) -> list[str]:
    """The site by kind, a line each."""
    of_site = [process for process in found if not process.is_command]
    count: dict[str, int] = defaultdict(int)
    for process in of_site:
        count[process.name] += 1
    return [f"{size:8.1f} MB  {count[name]:3} {name}" for name, size in by_kind(of_site).items()]
