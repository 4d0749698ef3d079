"""The components of one cluster, in the order in which they must come: it follows from what they say of themselves."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from cluster_stack.config import ClusterConfig, Problem
from cluster_stack.plan.cilium import NAME as CILIUM
from cluster_stack.plan.gitops.components import CONFIG, Component


@dataclass(frozen=True)
class Step:
    """One folder that Flux builds and applies, as one Flux Kustomization."""

    name: str
    component: Component
    path: str
    """From the repository's folder."""
    depends_on: tuple[str, ...]
    """Names of the steps that must be ready before it."""


def selected_names(config: ClusterConfig) -> list[str]:
    """In the order given. The pod network is chosen by `cluster.cni`, and so is its component."""
    chosen = config.gitops.infrastructure
    pod_network = [CILIUM] if config.cluster.cni.name == CILIUM else []
    return list(dict.fromkeys([*pod_network, *chosen.core, *chosen.optional]))


def overlay(config: ClusterConfig) -> str:
    return config.gitops.infrastructure.overlay or config.metadata.name


def steps(components: Sequence[Component], overlay: str) -> tuple[Step, ...]:
    """The steps of some components, those that others wait for first; otherwise in the order given.

    The components must be complete and without a circle (``circle``).
    """
    by_name = {component.name: component for component in components}
    done: dict[str, list[Step]] = {}

    def add(component: Component) -> None:
        if component.name in done:
            return
        before = [by_name[name] for name in earlier(component) if name in by_name]
        for other in before:
            add(other)
        done[component.name] = list(_steps_of(component, overlay, [done[other.name][-1].name for other in before]))

    for component in components:
        add(component)
    return tuple(step for found in done.values() for step in found)


def _steps_of(component: Component, overlay: str, depends_on: Iterable[str]) -> Iterator[Step]:
    waits = tuple(dict.fromkeys(depends_on))
    path = component.folder(overlay)
    assert path is not None, f"{component.name} was read without a kustomization.yaml"
    yield Step(component.name, component, path, waits)
    if config := component.folder(overlay, CONFIG):
        yield Step(f"{component.name}-{CONFIG}", component, config, (component.name,))


def earlier(component: Component) -> list[str]:
    """The components that come before one, where they are selected."""
    return list(dict.fromkeys([*component.declaration.needs, *component.declaration.after]))


def circles(components: Mapping[str, Component]) -> Iterator[Problem]:
    """Components that wait for each other, so that none of them ever begins."""
    told: set[frozenset[str]] = set()
    for name in components:
        circle = _circle(components, [name])
        if circle and frozenset(circle) not in told:
            told.add(frozenset(circle))
            first = components[circle[0]]
            key = "needs" if circle[1 % len(circle)] in first.declaration.needs else "after"
            what = f"{' waits for '.join([*circle, circle[0]])}: none of them would ever begin."
            yield first.problem((key,), what, "Remove one of these.")


def _circle(components: Mapping[str, Component], way: list[str]) -> list[str]:
    for name in earlier(components[way[-1]]):
        if name == way[0]:
            return way
        if name in components and name not in way and (found := _circle(components, [*way, name])):
            return found
    return []
