"""What our program adds to a preview: `pulumi preview -s homelab` against the same engine's of an empty program."""

from __future__ import annotations

from pathlib import Path
from statistics import median

from tests.bench import stopwatch
from tests.bench.figure import Figure
from tests.engine.site import Site

LIMIT = 2.0
PAIRS = 7

EMPTY = """\
name: empty
runtime:
  name: python
  options:
    toolchain: pip
    virtualenv: .venv
"""


def measure(site: Site, cluster: str, when: str) -> Figure:
    """Preview the cluster's stack as it is now; ``when`` names that."""
    empty = _empty_project(site)
    ours: list[float] = []
    floor: list[float] = []
    for pair in range(PAIRS + 1):
        # Turn about, so that a machine that slows down slows both; the first pair only fills the caches.
        for project, stack, times in ((site.project, cluster, ours), (empty, "empty", floor)):
            seconds = _preview(site, project, stack)
            if pair > 0:
                times.append(seconds)
    # Pair by pair, because what is beside each other is measured on the same, more or less busy, machine.
    ratios = [one / other for one, other in zip(ours, floor, strict=True)]
    details = (
        f"{median(ours):5.2f} s  ours: {_all(ours)}",
        f"{median(floor):5.2f} s  empty: {_all(floor)}",
        f"{'':9}pair by pair: {_all(ratios)}",
    )
    return Figure(f"`preview` of {when}, against an empty program", median(ratios), LIMIT, "times", details)


def _empty_project(site: Site) -> Path:
    project = site.folder / "empty"
    if not project.exists():
        project.mkdir()
        (project / "Pulumi.yaml").write_text(EMPTY)
        (project / "__main__.py").write_text("")
        (project / ".venv").symlink_to((site.project / ".venv").readlink())
        site.run("pulumi", "-C", str(project), "stack", "init", "empty")
    return project


def _preview(site: Site, project: Path, stack: str) -> float:
    times = site.folder / "times.json"
    preview = ("pulumi", "-C", str(project), "preview", "--non-interactive", "-s", stack)
    site.run(*stopwatch.command(times, *preview))
    began, ended = stopwatch.read(times)
    return ended - began


def _all(times: list[float]) -> str:
    return " ".join(f"{seconds:.2f}" for seconds in times)
