"""Does what ``gitops`` of one cluster.yaml says go together, and with the components that there are?

What can be told without building anything, so that it is told in every preview. Whether the components build, and
whether their objects are right, ``cluster_stack.manifests`` checks.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Sequence
from pathlib import PurePosixPath
from urllib.parse import urlsplit

from cluster_stack.config import ClusterFile, Problem
from cluster_stack.config.document import Path
from cluster_stack.plan.cilium import NAME as CILIUM
from cluster_stack.plan.gitops import flux_versions, selection
from cluster_stack.plan.gitops.components import FOLDER as INFRASTRUCTURE
from cluster_stack.plan.gitops.components import KINDS, Catalogue, Component
from cluster_stack.plan.gitops.plan import own_folder
from cluster_stack.plan.gitops.runtime_info import FACTS

_COMPONENTS: Path = ("gitops", "infrastructure")
_FLUX: Path = ("gitops", "flux")
_CONTROLLERS = (
    "source-controller",
    "kustomize-controller",
    "helm-controller",
    "notification-controller",
    "image-reflector-controller",
    "image-automation-controller",
    "source-watcher",
)
_NEEDED = _CONTROLLERS[:3]
"""Without these there are no components: they fetch, build and install them."""


def check(file: ClusterFile, catalogue: Catalogue, kubernetes: int) -> Iterator[Problem]:
    """Yield every problem; ``kubernetes`` is the minor version that the cluster has."""
    enabled = file.config.gitops.enabled
    if not catalogue.exists:
        if enabled:
            what = f"there is no folder {INFRASTRUCTURE}/ in this project, and it holds what Flux installs."
            yield file.problem(("gitops", "enabled"), what, "Take it from the repository of this project.")
        return
    unknown = [*_unknown(file, catalogue), *_pod_network(file)]
    yield from unknown
    yield from _overlay(file, catalogue)
    if not enabled:
        return
    yield from _flux(file, kubernetes)
    yield from _repository(file, catalogue)
    names = selection.selected_names(file.config)
    described = [*catalogue.problems(names), *selection.circles(catalogue.components)]
    yield from described
    # Of a component that is chosen elsewhere and not there, whoever chose it tells.
    if not unknown and not described and catalogue.components.keys() >= set(names):
        components = [catalogue.components[name] for name in names]
        yield from _needs(file, components)
        yield from _settings(file, components)
        for component in components:
            yield from _facts(file, component)


def warnings(file: ClusterFile, catalogue: Catalogue, before: str | None) -> Iterator[Problem]:
    """What stops nothing. Of a cluster that ``check`` finds nothing wrong with, and that had Flux ``before``."""
    if not file.config.gitops.enabled:
        if before:
            what = f"Flux {before} is removed. What it had installed stays, and nobody looks after it any more."
            fix = "To remove components too, take them out of gitops.infrastructure first, and update once."
            yield file.problem(("gitops", "enabled"), what, fix)
        return
    for path, name in _chosen(file):
        if why := catalogue.components[name].declaration.retired:
            yield file.problem(path, f"{name} is retired.", why)
    folder = file.config.gitops.flux.path
    if folder and own_folder(file, catalogue) is None:
        what = f"there is no kustomization.yaml in {folder}, so Flux applies nothing of your own from it."
        yield file.problem((*_FLUX, "path"), what, "Write one, or remove the key.")


def _chosen(file: ClusterFile) -> Iterator[tuple[Path, str]]:
    for kind in KINDS:
        for index, name in enumerate(getattr(file.config.gitops.infrastructure, kind)):
            yield (*_COMPONENTS, kind, index), name


def _unknown(file: ClusterFile, catalogue: Catalogue) -> Iterator[Problem]:
    for path, name in _chosen(file):
        kind = path[2]
        known = catalogue.names[kind]  # type: ignore[index]  # one of KINDS
        if name in known:
            continue
        what = f"there is no component {name!r} in {INFRASTRUCTURE}/{kind}/base."
        other = next((other for other in KINDS if name in catalogue.names[other]), "")
        near = difflib.get_close_matches(name, known, n=1)
        hint = f"Write it under {other}. " if other else f"Did you mean {near[0]}? " if near else ""
        yield file.problem(path, what, f"{hint}Components there: {', '.join(known) or 'none'}.")


def _pod_network(file: ClusterFile) -> Iterator[Problem]:
    name = file.config.cluster.cni.name
    for path, chosen in _chosen(file):
        if chosen == CILIUM != name:
            what = f"the pod network of this cluster is {name}, and there can be one only."
            yield file.problem(path, what, f"Write `name: {CILIUM}` under cluster.cni, or remove it.")


def _overlay(file: ClusterFile, catalogue: Catalogue) -> Iterator[Problem]:
    wanted = file.config.gitops.infrastructure.overlay
    if wanted is not None and wanted not in catalogue.overlays:
        what = f"there is no overlay {wanted!r} in {INFRASTRUCTURE}/core/overlays."
        yield file.problem((*_COMPONENTS, "overlay"), what, f"Overlays: {', '.join(catalogue.overlays) or 'none'}.")


def _flux(file: ClusterFile, kubernetes: int) -> Iterator[Problem]:
    flux = file.config.gitops.flux
    if refusal := flux_versions.problem(flux.version, kubernetes):
        yield file.problem((*_FLUX, "version"), refusal.what, refusal.fix)
    for index, name in enumerate(flux.components):
        if name not in _CONTROLLERS:
            what = f"Flux has no controller {name!r}."
            yield file.problem((*_FLUX, "components", index), what, f"Controllers: {', '.join(_CONTROLLERS)}.")
    lacking = [name for name in _NEEDED if name not in flux.components] if flux.components else []
    if lacking:
        what = f"{', '.join(lacking)} would not run, and components need {' and '.join(_NEEDED[1:])}."
        yield file.problem((*_FLUX, "components"), what, f"Add {', '.join(lacking)}, or remove the key.")


def _repository(file: ClusterFile, catalogue: Catalogue) -> Iterator[Problem]:
    flux = file.config.gitops.flux
    if flux.repository.startswith("ssh://"):
        if not flux.credentials_secret:
            what = "Git over SSH asks for a key, and none is named."
            fix = "Write gitops.flux.credentialsSecret, or the https:// address of a public repository."
            yield file.problem((*_FLUX, "repository"), what, fix)
        if not flux.known_hosts.strip():
            what = "Flux must know the host that it sends the key to."
            fix = "Write gitops.flux.knownHosts: what `ssh-keyscan <host>` says."
            yield file.problem((*_FLUX, "repository"), what, fix)
    else:
        if flux.known_hosts:
            what = "an https:// address is known by its certificate, so this would not be read."
            yield file.problem((*_FLUX, "knownHosts"), what, "Remove it.")
        if "@" in urlsplit(flux.repository).netloc:
            # The text is not repeated: a message is as public as the log that it ends in.
            what = "it holds a name or a password, and everybody who reads the file would have it."
            fix = "Write the address alone, and gitops.flux.credentialsSecret."
            yield file.problem((*_FLUX, "repository"), what, fix)
    path = PurePosixPath(flux.path)
    if flux.path and (path.is_absolute() or ".." in path.parts):
        what = f"{flux.path} leads out of the repository."
        yield file.problem((*_FLUX, "path"), what, f"Write ./clusters/{file.config.metadata.name}.")
    elif flux.path and not (catalogue.root / path).is_dir():
        what = f"there is no folder {flux.path} in this project, so there is none in its repository."
        yield file.problem((*_FLUX, "path"), what, "Make it, or remove the key.")


def _needs(file: ClusterFile, components: Sequence[Component]) -> Iterator[Problem]:
    places = {name: path for path, name in _chosen(file)}
    for component in components:
        for name in component.declaration.needs:
            if name not in places:
                what = f"{component.name} needs {name}, which is not selected."
                yield file.problem(places.get(component.name, _COMPONENTS), what, f"Write {name} too.")


def _settings(file: ClusterFile, components: Sequence[Component]) -> Iterator[Problem]:
    given = file.config.gitops.infrastructure.settings
    known = {
        name: (component, setting)
        for component in components
        for name, setting in component.declaration.settings.items()
    }
    for name in given:
        if name not in known:
            what = "no selected component wants to be told that."
            fix = f"Settings that there are: {', '.join(sorted(known)) or 'none'}."
            yield file.problem((*_COMPONENTS, "settings", name), what, fix)
    for name, (component, setting) in known.items():
        if setting.default is None and name not in given:
            what = f"{component.name} wants to be told {name}: {setting.about}"
            yield file.problem((*_COMPONENTS, "settings"), what, f"Write `{name}: ...` there.")


def _facts(file: ClusterFile, component: Component) -> Iterator[Problem]:
    for index, name in enumerate(component.declaration.values):
        fact = FACTS.get(name)
        if fact is None:
            what = f"there is no fact {name} of a cluster."
            yield component.problem(("values", index), what, f"Facts: {', '.join(FACTS)}.")
        elif fact.value(file.config) is None:
            what = f"{component.name} reads {name} from it, and the file does not say it."
            yield file.problem(fact.key, what, f"Write it. {fact.about}")
    for key, names in (("settings", component.declaration.settings), ("secrets", component.declaration.secrets)):
        for name in names:
            if name in FACTS:
                what = f"{name} is a fact of the cluster already."
                yield component.problem((key, name), what, "Write another name.")
