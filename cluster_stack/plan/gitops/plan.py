"""What Flux is to do for one cluster, decided: its version, its steps, the facts that they read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from cluster_stack.config import ClusterFile
from cluster_stack.plan.cilium import Cilium, values_for_flux
from cluster_stack.plan.gitops import flux_versions, objects, selection
from cluster_stack.plan.gitops.components import Catalogue, Component, is_built
from cluster_stack.plan.gitops.runtime_info import runtime_info
from cluster_stack.plan.gitops.selection import Step


@dataclass(frozen=True)
class GitopsPlan:
    flux_version: str
    steps: tuple[Step, ...]
    facts: Mapping[str, str]
    own: str | None
    """The folder of the cluster's own things, from the project's; None without one."""
    objects: tuple[objects.Manifest, ...] = ()
    """What the components are given beside the facts."""

    @property
    def components(self) -> list[Component]:
        return list({step.component.name: step.component for step in self.steps}.values())


def plan(file: ClusterFile, catalogue: Catalogue, kubernetes: int, pod_network: Cilium | None = None) -> GitopsPlan:
    """The plan of a cluster that ``checks`` finds nothing wrong with; ``kubernetes`` is its minor version."""
    config = file.config
    components = [catalogue.components[name] for name in selection.selected_names(config)]
    return GitopsPlan(
        flux_version=config.gitops.flux.version or flux_versions.default_version(kubernetes) or "",
        steps=selection.steps(components, selection.overlay(config)),
        facts=runtime_info(config, components),
        own=own_folder(file, catalogue),
        objects=(values_for_flux(pod_network),) if pod_network else (),
    )


def own_folder(file: ClusterFile, catalogue: Catalogue) -> str | None:
    path = file.config.gitops.flux.path.removeprefix("./").rstrip("/")
    return path if path and is_built(catalogue.root / path) else None


def bootstrap(file: ClusterFile, planned: GitopsPlan) -> objects.Bootstrap:
    return objects.bootstrap(
        file.config, planned.flux_version, planned.steps, planned.facts, planned.own, planned.objects
    )
