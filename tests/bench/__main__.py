"""Measures everything, prints the table, and ends with 1 when a figure is over its limit."""

from __future__ import annotations

import argparse
import os
import platform
import sys
import time
from collections.abc import Iterator

from tests.bench import kubernetes, loading, memory, page, previews, scale, state, unit_tests, waits
from tests.bench.figure import Figure, as_text
from tests.engine.site import Site
from tests.project import REPOSITORY

CLUSTER = "homelab"
ONE_CONTROL_PLANE = "count: 1\n      resources: {cores: 4"
ONE_WORKER = "count: 1\n      resources: {cores: 8"


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description="The figures of the project.")
    parser.add_argument("--write", action="store_true", help=f"also write {page.PAGE.relative_to(REPOSITORY)}")
    options = parser.parse_args()
    began = time.monotonic()
    busy = os.getloadavg()[0]
    site = Site()
    try:
        machine = [_machine(site, busy)]
        figures = [*_figures(site)]
    finally:
        site.remove()
    _say("clusters with Kubernetes")
    figures += kubernetes.measure()
    machine.append(f"measured in {time.monotonic() - began:.0f} s")
    print(as_text(figures, machine))
    if options.write:
        page.write(figures, machine)
    return 0 if all(figure.holds for figure in figures) else 1


def _figures(site: Site) -> Iterator[Figure]:
    """One lab for all of them: first without a cluster, then with the smallest, then with a larger one."""
    for step in waits.WITHOUT_DELAY:
        site.control.set_fault("delay", step, seconds=0)
    site.start()
    site.ensure_stack(CLUSTER)
    _say("previews of a new stack")
    new = previews.measure(site, CLUSTER, "a new stack")
    _say("an update without delays")
    up = waits.measure(site, CLUSTER)
    _say("previews of an existing stack")
    yield from (new, previews.measure(site, CLUSTER, "an existing stack"))
    yield from loading.measure(site.project, CLUSTER)
    yield up
    yield from state.measure(site, CLUSTER)
    _say("many clusters, many nodes")
    yield from scale.measure(site)
    _say("the quick tests")
    yield unit_tests.measure()
    _say("memory, with three control planes and eight workers")
    more = ((ONE_CONTROL_PLANE, ONE_CONTROL_PLANE.replace("1", "3", 1)), (ONE_WORKER, ONE_WORKER.replace("1", "8", 1)))
    site.edit(CLUSTER, *more)
    site.up(CLUSTER)
    yield from memory.measure(site)


def _machine(site: Site, busy: float) -> str:
    engine = site.run("pulumi", "version").stdout.strip()
    system = f"{platform.system()} {platform.release().partition('-')[0]} {platform.machine()}"
    versions = f"Python {platform.python_version()}, Pulumi {engine}"
    return f"{os.cpu_count()} cores (load {busy:.1f} before), {system}, {versions}"


def _say(words: str) -> None:
    print(f"bench: {words}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
