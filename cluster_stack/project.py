"""The clusters of a project, read, planned and checked: what the Pulumi program and the tools begin with.

Imports no Pulumi and asks nobody.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from cluster_stack.config import ClusterFile, ConfigError, Problem, cluster_names, load
from cluster_stack.plan import checks, cilium, node_ranges, quorum, upgrades, user_patches
from cluster_stack.plan.advice import advice
from cluster_stack.plan.collisions import Member, Neighbourhood
from cluster_stack.plan.gitops import checks as gitops_checks
from cluster_stack.plan.gitops.components import Catalogue
from cluster_stack.plan.gitops.plan import GitopsPlan
from cluster_stack.plan.gitops.plan import plan as plan_gitops
from cluster_stack.plan.nodes import NodePlan, plan_nodes
from cluster_stack.plan.upgrades import NEW, Previous
from cluster_stack.plan.versions import Version, minor

ROOT = Path(__file__).resolve().parent.parent
"""The project's folder: where Pulumi.yaml and clusters/ are."""


@dataclass(frozen=True)
class PlannedCluster:
    """A checked cluster.yaml, the nodes that follow from it, and remarks that do not stop anything."""

    file: ClusterFile
    nodes: tuple[NodePlan, ...]
    patches: Mapping[str, tuple[str, ...]]
    """Of each node's machine configuration, as the Talos provider takes them: the pod network's, then the user's."""
    warnings: tuple[Problem, ...]
    gitops: GitopsPlan | None
    """What Flux is to do; None where it is not enabled."""


class Project:
    """A folder with ``clusters/``. Every file is read once."""

    def __init__(self, root: Path = ROOT) -> None:
        self.root = root

    @cached_property
    def names(self) -> list[str]:
        return cluster_names(self.root)

    @cached_property
    def catalogue(self) -> Catalogue:
        return Catalogue(self.root)

    @cached_property
    def _members(self) -> Mapping[str, Member | ConfigError]:
        """Every cluster, or what is wrong with its file."""
        return {name: self._read(name) for name in self.names}

    @cached_property
    def _neighbourhood(self) -> Neighbourhood:
        return Neighbourhood([found for found in self._members.values() if isinstance(found, Member)])

    def _read(self, name: str) -> Member | ConfigError:
        try:
            file = load(self.root, name)
        except ConfigError as error:
            return error
        try:
            return Member(file, plan_nodes(file.config))
        except ValueError as error:
            # A schematic with a value of which nobody can tell how the Image Factory would write it.
            return ConfigError([file.problem("cluster.talos.schematic", str(error), "")])

    def plan(self, name: str, previous: Previous = NEW) -> PlannedCluster:
        """One cluster, checked against the others and against what it was. Raises ConfigError with every problem."""
        mine = self._members[name] if name in self.names else self._read(name)
        if isinstance(mine, ConfigError):
            raise mine
        talos_minor = minor(mine.file.config.cluster.talos.version)
        read = user_patches.read(mine.file, mine.nodes, self.root, talos_minor)
        pod_network = cilium.read(mine.file, self.root, self.root / "clusters" / name)
        kubernetes = Version.parse(upgrades.kubernetes_of(mine.file, previous)).minor
        problems = [
            *checks.check(mine.file, mine.nodes, self.root),
            *node_ranges.check(mine.file, mine.nodes, read.documents),
            *gitops_checks.check(mine.file, self.catalogue, kubernetes),
            *upgrades.check(mine.file, previous),
            *self._neighbourhood.collisions(mine),
            *read.problems,
            *pod_network.problems,
        ]
        if problems:
            raise ConfigError(problems)
        warnings = (
            *advice(mine),
            *node_ranges.warnings(mine.file, mine.nodes, read.documents),
            *quorum.warnings(mine.file, mine.nodes, previous.control_planes),
            *gitops_checks.warnings(mine.file, self.catalogue, previous.flux),
            *self._unread(mine),
        )
        enabled = mine.file.config.gitops.enabled
        gitops = plan_gitops(mine.file, self.catalogue, kubernetes, pod_network.cilium) if enabled else None
        patches = cilium.add_to(read.texts, mine.nodes, pod_network.cilium)
        return PlannedCluster(mine.file, mine.nodes, patches, warnings, gitops)

    def _unread(self, mine: Member) -> Iterator[Problem]:
        for name, found in self._members.items():
            if isinstance(found, ConfigError) and name != mine.name:
                # Its own preview says what is wrong with it; this cluster must not wait for that.
                what = f"clusters/{name}/cluster.yaml has errors, so this cluster could not be compared with it."
                yield mine.file.problem("metadata.name", what, f"Run `python -m cluster_stack check {name}`.")


def plan(name: str, root: Path = ROOT, previous: Previous = NEW) -> PlannedCluster:
    """One cluster of a project. Raises ConfigError with every problem."""
    return Project(root).plan(name, previous)
