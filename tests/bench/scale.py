"""How the time grows with the number of clusters and nodes."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

from cluster_stack.config import load_text
from cluster_stack.plan import checks
from cluster_stack.plan.nodes import plan_nodes
from cluster_stack.project import Project
from tests.bench import stopwatch
from tests.bench.figure import Figure
from tests.engine.site import Site

CLUSTERS, NODES_EACH = 50, 20
FEW, MANY = 100, 500
ROUNDS = 5
RESOURCES_OF_A_NODE = 3
"""Component, machine, configuration."""

CLUSTER = """\
metadata: {{name: {name}}}
cluster:
  talos: {{version: v1.13.0}}
  kubernetes: {{podSubnets: [10.244.0.0/15]}}
  topology: {{controlPlane: {{count: 3}}, workers: {{count: {workers}}}}}
proxmox:
  endpoint: https://px.wd.ktz.me/
  nodes: [ms01, ms02, ms03]
  storage: {{datastore: local}}
  network:
    cidr: 10.{network}.0.0/16
    gateway: 10.{network}.0.1
    ipRanges: {{controlPlane: 10.{network}.1.1-10.{network}.1.9, workers: 10.{network}.2.1-10.{network}.9.250}}
  vm: {{idBase: {id_base}}}
"""


def measure(site: Site) -> Iterator[Figure]:
    yield _checking()
    yield from _planning()
    yield _previewing(site)


def _text(name: str, nodes: int, number: int = 150) -> str:
    return CLUSTER.format(name=name, workers=nodes - 3, network=number, id_base=10_000 + 1_000 * number)


def _checking() -> Figure:
    with TemporaryDirectory() as folder:
        for number in range(CLUSTERS):
            file = Path(folder, "clusters", f"c{number}", "cluster.yaml")
            file.parent.mkdir(parents=True)
            file.write_text(_text(f"c{number}", NODES_EACH, number))
        began = time.perf_counter()
        project = Project(Path(folder))
        planned = [project.plan(name) for name in project.names]
        seconds = time.perf_counter() - began
    assert sum(len(cluster.nodes) for cluster in planned) == CLUSTERS * NODES_EACH
    return Figure(f"check {CLUSTERS} clusters of {NODES_EACH} nodes, in one process", seconds, 2, "s")


def _planning() -> tuple[Figure, Figure]:
    times = {nodes: _plan(nodes) for nodes in (FEW, MANY)}
    details = tuple(f"{1000 * seconds:6.1f} ms  {nodes} nodes" for nodes, seconds in times.items())
    return (
        Figure(f"plan a cluster of {MANY} nodes", times[MANY], 1, "s", details),
        Figure(f"the same, against a cluster of {FEW} nodes", times[MANY] / times[FEW], 6, "times"),
    )


def _plan(nodes: int) -> float:
    file = load_text(_text("large", nodes).encode(), "clusters/large/cluster.yaml")
    times = []
    for _ in range(ROUNDS):
        began = time.perf_counter()
        planned = plan_nodes(file.config)
        assert not [*checks.check(file, planned, Path())]
        times.append(time.perf_counter() - began)
    return min(times)  # the others also waited for something


def _previewing(site: Site) -> Figure:
    times, details = {}, []
    for nodes in (FEW, MANY):
        name = f"large-{nodes}"
        file = site.cluster_file(name)
        file.parent.mkdir()
        file.write_text(_text(name, nodes))
        try:
            times[nodes], megabytes = _preview(site, name)
        finally:
            shutil.rmtree(file.parent)
        resources = nodes * RESOURCES_OF_A_NODE
        details.append(
            f"{times[nodes]:6.1f} s  {nodes} nodes: {1000 * times[nodes] / resources:.1f} ms and "
            f"{1000 * megabytes / resources:.0f} KB for each of about {resources} resources"
        )
    each = (times[MANY] / MANY) / (times[FEW] / FEW)
    name = f"`preview` of {MANY} nodes, time for each node against {FEW}"
    return Figure(name, each, 1.5, "times", tuple(details))


def _preview(site: Site, name: str) -> tuple[float, float]:
    site.ensure_stack(name)
    taken = site.folder / "times.json"
    site.run(*stopwatch.command(taken, "pulumi", "preview", "--non-interactive", "--suppress-progress", "-s", name))
    began, ended = stopwatch.read(taken)
    return ended - began, stopwatch.megabytes(taken)
