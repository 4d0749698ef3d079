"""`check`: every cluster of a project, read, planned and compared with the others."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from cluster_stack.config import ConfigError, Problem
from cluster_stack.config.load import FILE_NAME
from cluster_stack.plan.nodes import NodePlan
from cluster_stack.plan.upgrades import kubernetes_of
from cluster_stack.plan.versions import Version
from cluster_stack.project import PlannedCluster, Project
from cluster_stack.report import followed

if TYPE_CHECKING:
    from cluster_stack.manifests.check import Checker, Found


@dataclass(frozen=True)
class CheckedCluster:
    name: str
    nodes: tuple[NodePlan, ...]
    """None of them where there is a problem."""
    problems: tuple[Problem, ...]
    warnings: tuple[Problem, ...]


def check(root: Path, names: Sequence[str], *, infrastructure: bool = False) -> list[CheckedCluster]:
    """Check the clusters ``names``; without any: all of the project, and what else lies in ``clusters/``.

    What Flux is to install is built and checked too; with ``infrastructure``, every component that there is, for each
    cluster, whatever that has chosen.
    """
    project = Project(root)
    folders = [] if names else list(_folders_without_cluster(root))
    manifests = _Manifests(project, everything=infrastructure)
    return [_check(project, name, manifests) for name in names or project.names] + folders


def _check(project: Project, name: str, manifests: _Manifests) -> CheckedCluster:
    try:
        planned = project.plan(name)
    except ConfigError as error:
        return CheckedCluster(name, (), tuple(error.problems), ())
    lacking = followed.warnings(planned.file, planned.gitops, project.root) if planned.gitops else ()
    checked = CheckedCluster(name, planned.nodes, (), (*planned.warnings, *lacking))
    for found in manifests.found(planned):
        problems = tuple(dict.fromkeys([*checked.problems, *found.problems]))
        warnings = tuple(dict.fromkeys([*checked.warnings, *found.warnings]))
        checked = replace(checked, nodes=() if problems else checked.nodes, problems=problems, warnings=warnings)
    return checked


class _Manifests:
    """What is built for the clusters, for those that want it: who has no Flux waits for none of it."""

    def __init__(self, project: Project, *, everything: bool) -> None:
        self._project = project
        self._everything = everything

    @cached_property
    def _checker(self) -> Checker:
        from cluster_stack.manifests.check import Checker

        return Checker(self._project.catalogue)

    def found(self, planned: PlannedCluster) -> Iterator[Found]:
        if planned.gitops is None and not self._everything:
            return
        from cluster_stack.manifests.building import NoKustomizeError
        from cluster_stack.manifests.check import without_kustomize

        kubernetes = Version.parse(kubernetes_of(planned.file)).minor
        try:
            if planned.gitops is not None:
                yield self._checker.check(planned.file, planned.gitops, kubernetes)
            if self._everything:
                yield self._checker.check_all(planned.file, kubernetes)
        except NoKustomizeError as error:
            yield without_kustomize(error, planned.file)


def _folders_without_cluster(root: Path) -> Iterator[CheckedCluster]:
    clusters = root / "clusters"
    for folder in sorted(clusters.iterdir() if clusters.is_dir() else ()):
        if folder.is_dir() and not folder.name.startswith(".") and not (folder / FILE_NAME).is_file():
            near = next(
                (name for name in ("cluster.yml", "Cluster.yaml", "config.yaml") if (folder / name).is_file()), ""
            )
            fix = f"Rename {near} to {FILE_NAME}." if near else "Write one, or move the folder out of clusters/."
            file = f"clusters/{folder.name}/{FILE_NAME}"
            yield CheckedCluster(
                folder.name,
                (),
                (Problem(file, 0, "", f"the folder has no {FILE_NAME}, so it is no cluster.", fix),),
                (),
            )


def as_json(clusters: Iterable[CheckedCluster]) -> str:
    """One JSON document::

    {"ok": true,                                  no cluster has a problem
     "clusters": [
       {"name": "homelab",                        of its folder in clusters/
        "nodes": 4,                               how many; 0 where there is a problem
        "problems": [                             what an update would refuse
          {"file": "clusters/homelab/cluster.yaml",
           "line": 20,                            from 1; 0: the file as a whole
           "key": "proxmox.vm.idBase",            "": the file as a whole
           "what": "'high' is not a whole number.",
           "fix": "Write a number without quotes."}],
        "warnings": []}]}                         what stops nothing; the same fields
    """
    listed = [
        {
            "name": cluster.name,
            "nodes": len(cluster.nodes),
            "problems": [asdict(problem) for problem in cluster.problems],
            "warnings": [asdict(warning) for warning in cluster.warnings],
        }
        for cluster in clusters
    ]
    return json.dumps({"ok": not any(cluster["problems"] for cluster in listed), "clusters": listed}, indent=2)


def write(clusters: Iterable[CheckedCluster]) -> None:
    """A line for each good cluster to standard output, and one for each problem to standard error.

    In a GitHub workflow problems and warnings are annotations: GitHub shows them beside the line that they name.
    """
    clusters = list(clusters)
    if not clusters:
        print("There is no cluster here: none is described by a clusters/<name>/cluster.yaml.", file=sys.stderr)
    for cluster in clusters:
        if not cluster.problems:
            print(f"{cluster.name}: {summary(cluster.nodes)}")
        for problem in cluster.problems:
            _tell("error", problem)
        for warning in cluster.warnings:
            _tell("warning", warning)


def summary(nodes: Sequence[NodePlan]) -> str:
    """``3 control planes, 2 workers, VM ids 800 to 811``."""
    roles = [node.role for node in nodes]
    counts = [(roles.count("controlplane"), "control plane"), (roles.count("worker"), "worker")]
    words = [f"{count} {word}{'' if count == 1 else 's'}" for count, word in counts]
    ids = [node.vm_id for node in nodes]
    return f"{', '.join(words)}, VM ids {min(ids)} to {max(ids)}"


def _tell(kind: str, problem: Problem) -> None:
    if os.environ.get("GITHUB_ACTIONS") != "true":
        print(problem if kind == "error" else f"{kind}: {problem}", file=sys.stderr)
        return
    place = f"file={_escaped(problem.file, ':,')}" + (f",line={problem.line}" if problem.line else "")
    print(f"::{kind} {place}::{_escaped(str(problem))}")


def _escaped(text: str, special: str = "") -> str:
    """Text as GitHub's workflow commands want it: without line ends, and without what separates their parts."""
    for character in "%\r\n" + special:  # the percent sign first: it is what the others become
        text = text.replace(character, f"%{ord(character):02X}")
    return text
