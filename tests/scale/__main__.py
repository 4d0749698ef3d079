"""Makes the cluster, waits for its Nodes, prints what it took; ends with 1 when a figure is over its limit."""

from __future__ import annotations

import argparse
import os
import platform
import sys
import time
from pathlib import Path

from tests.bench import page
from tests.bench.figure import Figure, as_text
from tests.bench.memory import processes
from tests.engine.site import Site
from tests.scale import cluster, memory

WORKERS = 300
LIMIT_WORKER_MEGABYTES = 12
LIMIT_MEGABYTES = 8000
READY_WITHIN_SECONDS = 1800.0
SETTINGS = {
    "net.ipv4.neigh.default.gc_thresh3": 10,
    # Every broadcast is copied to every machine at once. What does not fit into this queue is lost, also of the
    # connections between the engine and its plugins: they break after a while.
    "net.core.netdev_max_backlog": 100,
}
"""What this machine's kernel has to allow, for each node: neighbours in all networks together (the control planes know
each worker, each worker knows them, and so do the site's services), and packets that wait for a processor."""


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.scale", description=__doc__)
    parser.add_argument(
        "--workers", type=int, default=WORKERS, help=f"beside three control planes; {WORKERS} by default"
    )
    parser.add_argument("--write", action="store_true", help=f"also write its part of {page.PAGE.name}")
    options = parser.parse_args()
    if problem := _settings_problem(options.workers + cluster.CONTROL_PLANES):
        print(problem, file=sys.stderr)
        return 2
    site = cluster.site()
    try:
        figures, notes = _measure(site, options.workers)
    finally:
        site.remove()
    print(as_text(figures, notes))
    if options.write:
        page.write_scale(figures, notes)
    return 0 if all(figure.holds for figure in figures) else 1


def _measure(site: Site, workers: int) -> tuple[list[Figure], list[str]]:
    nodes = workers + cluster.CONTROL_PLANES
    available, load = _available(), os.getloadavg()[0]
    site.start()
    cluster.write(site, workers)
    site.ensure_stack(cluster.NAME)
    _say(f"pulumi up of {cluster.CONTROL_PLANES}+{workers}")
    began = time.monotonic()
    with memory.Sampler(site) as sampler:
        site.run("pulumi", "up", "--yes", "--non-interactive", "-s", cluster.NAME, timeout=3600)
        updated = time.monotonic()
        _say(f"up after {updated - began:.0f} s")
        kubeconfig = Path(site.folder, "kubeconfig")
        kubeconfig.write_text(cluster.output(site, "kubeconfig"))
        cluster.wait_until_ready(
            site, kubeconfig, nodes, READY_WITHIN_SECONDS, lambda ready: _say(f"{ready} of {nodes} Nodes are ready")
        )
    ready = time.monotonic()
    _say(f"all Nodes are ready after {ready - began:.0f} s")
    found = processes(site)
    now, each = memory.usage(found), memory.workers(found, nodes)
    largest = sampler.largest
    figures = [
        Figure(
            f"memory of one of {workers} workers, its share of what plays all of them included",
            each.mean + each.shared,
            LIMIT_WORKER_MEGABYTES,
            "MB",
            (
                f"{each.mean:8.1f} MB  talos-node, a process for each worker (the largest {each.largest:.1f} MB)",
                f"{each.shared:8.1f} MB  its share of talos-kubelets and of the daemon",
            ),
        ),
        Figure(
            f"memory of the lab with {nodes} nodes",
            now.site,
            LIMIT_MEGABYTES,
            "MB",
            (
                *memory.details(found),
                f"{available - _available():8.1f} MB  less are available on the machine than before, its kernel's "
                "memory and the file cache's pages that cannot go included",
            ),
        ),
        Figure(
            "the same while it came up, at its largest, with the engine and its plugins",
            largest.site + largest.commands,
            LIMIT_MEGABYTES,
            "MB",
            tuple(f"{size:8.1f} MB  {name}" for name, size in sampler.largest_commands.items()),
        ),
    ]
    notes = [
        f"{os.cpu_count()} cores, {platform.system()} {platform.release().partition('-')[0]} {platform.machine()}",
        f"load {load:.1f} before, {os.getloadavg()[0]:.1f} at the end: of the lab, and of whatever else ran",
        f"`pulumi up` of {cluster.CONTROL_PLANES}+{workers}: {updated - began:.0f} s; all {nodes} Nodes ready: "
        f"{ready - began:.0f} s",
    ]
    return figures, notes


def _settings_problem(nodes: int) -> str | None:
    """What to type first, where the kernel would lose packets of so many machines."""
    too_small = [
        f"{name}={each * nodes}"
        for name, each in SETTINGS.items()
        if (file := Path("/proc/sys", *name.split("."))).exists() and int(file.read_text()) < each * nodes
    ]
    if not too_small:
        return None
    return f"this machine's kernel would lose packets of {nodes} nodes: run `sysctl -w {' '.join(too_small)}` as root"


def _available() -> float:
    for line in Path("/proc/meminfo").read_text().splitlines():
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) * 1024 / 1e6
    raise RuntimeError("/proc/meminfo has no MemAvailable")


def _say(words: str) -> None:
    print(f"scale: {words}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
