"""One cluster, read and checked, ready to be built: what both the Pulumi program and the tools begin with.

Imports no Pulumi.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from cluster_stack.config import ClusterFile, ConfigError, cluster_names, load
from cluster_stack.plan.collisions import vm_id_collisions
from cluster_stack.plan.nodes import NodePlan, plan_nodes

ROOT = Path(__file__).resolve().parent.parent
"""The project's folder: where Pulumi.yaml and clusters/ are."""


@dataclass(frozen=True)
class PlannedCluster:
    """A checked cluster.yaml, the nodes that follow from it, and remarks that do not stop anything."""

    file: ClusterFile
    nodes: tuple[NodePlan, ...]
    warnings: tuple[str, ...]


def plan(name: str, root: Path = ROOT) -> PlannedCluster:
    """Read cluster ``name`` and check it, against the other clusters too. Raises ConfigError with every problem."""
    file = load(root, name)
    files, warnings = {name: file}, []
    for other in cluster_names(root):
        try:
            files.setdefault(other, load(root, other))
        except ConfigError:
            # Its own preview says what is wrong with it; this cluster must not wait for that.
            warnings.append(f"clusters/{other}/cluster.yaml has errors, so its VM ids could not be compared.")
    problems = list(vm_id_collisions(name, files))
    if problems:
        raise ConfigError(problems)
    if file.config.gitops.enabled:
        warnings.append(str(file.problem("gitops.enabled", "Flux is not installed yet.", "Install it by hand.")))
    return PlannedCluster(file, plan_nodes(file.config), tuple(warnings))
