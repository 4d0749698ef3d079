"""Every component of a cluster, built as Flux would build it, and each of its objects held against what takes it."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import yaml

from cluster_stack.config import ClusterFile, Problem
from cluster_stack.config.document import Path, dotted
from cluster_stack.manifests import references
from cluster_stack.manifests.building import Builder, BuildError, Loader, NoKustomizeError, Object, Source
from cluster_stack.manifests.positions import Files
from cluster_stack.manifests.schemas import FILE_NAME, FLUX, KUBERNETES, Api, Mistake
from cluster_stack.manifests.substitution import substituted, unknown_forms, variables
from cluster_stack.plan import cilium
from cluster_stack.plan.gitops import flux_versions, objects, selection
from cluster_stack.plan.gitops.components import FOLDER as INFRASTRUCTURE
from cluster_stack.plan.gitops.components import KINDS, SOURCES, Catalogue, Component
from cluster_stack.plan.gitops.plan import GitopsPlan, bootstrap
from cluster_stack.plan.gitops.runtime_info import FACTS, runtime_info

_EXAMPLE = "example"
"""What stands for a setting or a fact that a cluster does not say, in components that it has not chosen."""
_SECRET = "0"  # noqa: S105
"""What stands for a secret: outside of a block, YAML takes it for a number, and the schema refuses that."""
_SECRET_BASE64 = "c2VjcmV0"  # noqa: S105
_OPERATOR = "fluxcd.controlplane.io"
"""The APIs of flux-operator, of which there are no schemas here: they are under another licence."""


_SOPS = "sops"
"""The key that SOPS adds to an object that it has encrypted. Flux takes it away again."""


@dataclass(frozen=True)
class Found:
    problems: tuple[Problem, ...]
    warnings: tuple[Problem, ...]


@dataclass(frozen=True)
class _Part:
    """One folder that Flux builds: the sources, a step of a component, or the cluster's own things."""

    path: str
    component: Component | None = None
    """None for the sources and the cluster's own things."""
    own: bool = False
    config: bool = False
    """A step that comes when the component's own CRDs are there."""


class Checker:
    """Checks the clusters of one project; what they have in common is built and read once."""

    def __init__(self, catalogue: Catalogue) -> None:
        self._catalogue = catalogue
        self._builder = Builder(catalogue.root)
        self._files = Files(catalogue.root)
        self._apis = {
            name: Api(catalogue.root / component.base / FILE_NAME, component.declaration.title)
            for name, component in catalogue.components.items()
            if (catalogue.root / component.base / FILE_NAME).is_file()
        }

    def check(self, file: ClusterFile, planned: GitopsPlan, kubernetes: int) -> Found:
        """The components that a cluster has chosen."""
        return _Check(self._catalogue, self._builder, self._files, self._apis, file, planned, kubernetes).run()

    def check_all(self, file: ClusterFile, kubernetes: int) -> Found:
        """All components that there are, as they would be in a cluster, whatever it has chosen."""
        if not self._catalogue.exists:
            return Found((), ())
        components = self._catalogue.components
        described = [
            *self._catalogue.problems([name for names in self._catalogue.names.values() for name in names]),
            *selection.circles(components),
        ]
        stray = list(self._stray_overlays())
        if described:
            return Found((*described, *stray), ())
        facts = dict.fromkeys(FACTS, _EXAMPLE)
        facts |= {name: _EXAMPLE for component in components.values() for name in component.declaration.settings}
        pod_network_values: tuple[objects.Manifest, ...] = ()
        if cilium.NAME in components:
            folder = self._catalogue.root / "clusters" / file.config.metadata.name
            read = cilium.if_chosen(file, self._catalogue.root, folder)
            if read.cilium is None:
                return Found((*read.problems, *stray), ())
            pod_network_values = (cilium.values_for_flux(read.cilium),)
        version = file.config.gitops.flux.version
        if flux_versions.problem(version, kubernetes):
            version = ""
        planned = GitopsPlan(
            flux_version=version or flux_versions.default_version(kubernetes) or flux_versions.newest(),
            steps=selection.steps(list(components.values()), selection.overlay(file.config)),
            facts={**facts, **runtime_info(file.config, components.values())},
            own=None,
            objects=pod_network_values,
        )
        found = self.check(file, planned, kubernetes)
        return Found((*stray, *found.problems), found.warnings)

    def _stray_overlays(self) -> Iterator[Problem]:
        for kind in KINDS:
            known = self._catalogue.names[kind]
            for folder in sorted((self._catalogue.root / INFRASTRUCTURE / kind).glob("overlays/*/*")):
                if folder.is_dir() and folder.name not in known:
                    file = folder.relative_to(self._catalogue.root).as_posix()
                    what = f"it is an overlay of a component that is not in {INFRASTRUCTURE}/{kind}/base."
                    yield Problem(file, 0, "", what, f"Rename or remove it. Components: {', '.join(known)}.")


def without_kustomize(error: NoKustomizeError, file: ClusterFile) -> Found:
    """What to say where there is nothing to build with."""
    return Found((file.problem(("gitops", "enabled"), "its components cannot be checked:", str(error)),), ())


class _Check:
    """One cluster."""

    def __init__(
        self,
        catalogue: Catalogue,
        builder: Builder,
        files: Files,
        apis: Mapping[str, Api],
        file: ClusterFile,
        planned: GitopsPlan,
        kubernetes: int,
    ) -> None:
        self._catalogue = catalogue
        self._builder = builder
        self._files = files
        self._file = file
        self._planned = planned
        self._kubernetes = Api(KUBERNETES, "Kubernetes", kubernetes, "1.")
        self._flux = Api(FLUX, "Flux", flux_versions.minor(planned.flux_version), "2.")
        self._apis = apis
        self._problems: dict[Problem, None] = {}
        self._warnings: dict[Problem, None] = {}
        self._unbuilt = False
        self._misread: set[str] = set()
        """Components with a variable that there is not."""
        self._secrets = {
            name + suffix: value
            for component in planned.components
            for name in component.declaration.secrets
            for suffix, value in (("", _SECRET), ("_BASE64", _SECRET_BASE64))
        }

    def run(self) -> Found:
        built = [(part, self._built(part)) for part in self._parts()]
        cluster = references.Cluster((found for _, part in built for found in part), self._given())
        self._owners(built)
        for part, found_here in built:
            for found in found_here:
                mistakes = list(self._shape(part, found))
                if not mistakes:
                    mistakes += self._values(part, found, cluster)
                    # What did not build may be what is referred to.
                    mistakes += [] if self._unbuilt else references.mistakes(found, cluster)
                for mistake in mistakes:
                    self._tell(found, mistake)
            self._idle_patches(part, found_here)
        for component in self._planned.components:
            self._declared(component)
        return Found(tuple(self._problems), tuple(self._warnings))

    def _parts(self) -> Iterator[_Part]:
        yield _Part(SOURCES)
        for step in self._planned.steps:
            yield _Part(step.path, step.component, config=step.name != step.component.name)
        if self._planned.own is not None:
            yield _Part(self._planned.own, own=True)

    def _given(self) -> list[Mapping[str, Any]]:
        """What the bootstrap brings, and what Flux makes of it."""
        made = bootstrap(self._file, self._planned)
        source = {
            "apiVersion": "source.toolkit.fluxcd.io/v1",
            "kind": "GitRepository",
            "metadata": {"name": objects.SOURCE, "namespace": objects.NAMESPACE},
        }
        sync = {
            "apiVersion": "kustomize.toolkit.fluxcd.io/v1",
            "kind": "Kustomization",
            "metadata": {"name": objects.SOURCE, "namespace": objects.NAMESPACE},
        }
        secrets = [
            {
                "apiVersion": "v1",
                "kind": "Secret",
                "metadata": {"name": secret.name, "namespace": objects.NAMESPACE},
                "data": dict.fromkeys([*secret.entries, *secret.texts], ""),
            }
            for secret in made.secrets
        ]
        listed = made.components["spec"]["resources"]
        return [made.namespace, made.runtime_info, made.instance, made.components, source, sync, *secrets, *listed]

    def _built(self, part: _Part) -> list[Object]:
        try:
            sources = self._builder.build(part.path)
        except BuildError as error:
            self._unbuilt = True
            what = f"for cluster {self._name}, kustomize cannot build {part.path}: {error}."
            fix = error.fix or f"Mend it until `kustomize build {part.path}` works."
            self._problems[Problem(error.file, error.line, "", what, fix)] = None
            return []
        return [found for source in sources if (found := self._substituted(part, source))]

    def _substituted(self, part: _Part, source: Source) -> Object | None:
        for form in unknown_forms(source.text):
            what = f"for cluster {self._name}, nothing here knows the form {form}."
            fix = "Write ${NAME} or ${NAME:=default}; for a text that is to stay so, $${...}."
            self._tell_text(source, form, what, fix)
        values = {**self._planned.facts, **self._secrets}
        for name, has_default in variables(source.text):
            if name not in values and not has_default:
                self._misread |= {part.component.name} if part.component else set()
                what = f"for cluster {self._name}, Flux is told nothing for ${{{name}}}."
                self._tell_text(source, f"${{{name}", what, self._remedy(part, name, values))
        try:
            manifest = yaml.load(substituted(source.text, values), Loader=Loader)  # noqa: S506 (a safe loader)
        except yaml.YAMLError as error:
            where = " ".join(str(error).split())
            what = f"for cluster {self._name}, it is no YAML any more with the cluster's facts in it: {where}."
            self._problems[Problem(source.origin, 0, "", what, "Put quotes around the variable.")] = None
            return None
        return Object(manifest, source)

    def _remedy(self, part: _Part, name: str, values: Mapping[str, str]) -> str:
        if fact := FACTS.get(name):
            return f"Write {fact.key} in cluster.yaml."
        if near := difflib.get_close_matches(name, values, n=1):
            return f"Did you mean ${{{near[0]}}}?"
        if part.component is None:
            return f"It is told: {', '.join(sorted(values))}."
        return f"Declare it in {part.component.base}/component.yaml, under settings or secrets."

    def _idle_patches(self, part: _Part, built: Sequence[Object]) -> None:
        """kustomize takes a patch whose target is not there, and does nothing with it."""
        file = f"{part.path}/kustomization.yaml"
        for path, target in self._files.patch_targets(file):
            if built and not any(_is_target(found, target) for found in built):
                wanted = " ".join(f"{key} {value}" for key, value in target.items())
                what = f"for cluster {self._name}, the patch changes nothing: there is no {wanted} here."
                there = ", ".join(sorted({f"{found.kind} {found.name}" for found in built}))
                line = self._files.line_at(file, path)
                self._problems[Problem(file, line, dotted(path), what, f"Objects here: {there}.")] = None

    def _owners(self, built: Sequence[tuple[_Part, list[Object]]]) -> None:
        """No object belongs to two: each would put back what the other wrote, and removing one removes it."""
        given = references.Cluster([], self._given())
        first: dict[references.Identity, tuple[_Part, Object]] = {}
        for part, found_here in built:
            for found in found_here:
                if given.has(*found.identity):
                    what = "it comes with Flux itself."
                    self._tell(found, Mistake(("metadata", "name"), what, "Write another name, or remove it."))
                elif found.identity in first:
                    other, theirs = first[found.identity]
                    owner = other.component.name if other.component else other.path
                    what = f"it belongs to {owner} too ({theirs.source.origin})."
                    fix = "Remove one of them: each would undo the other, and go with either."
                    self._tell(found, Mistake(("metadata", "name"), what, fix))
                else:
                    first[found.identity] = (part, found)

    def _shape(self, part: _Part, found: Object) -> Iterator[Mistake]:
        """Does the API of this cluster take the object?"""
        kind = f"{found.api_version} {found.kind}"
        api, owner = self._api_of(found.group, kind)
        if api is None:
            yield from self._without_schema(part, found, kind)
            return
        if kind not in api.kinds:
            near = api.nearest(kind)
            fix = f"Write {near[0].replace(' ', ', kind ')}." if near else "Write one that there is."
            yield Mistake(("apiVersion",), f"{api.name} has no {kind}.", fix)
            return
        yield from self._encrypted(found)
        yield from api.mistakes(kind, {key: value for key, value in found.manifest.items() if key != _SOPS})
        if api.namespaced(kind) and not found.namespace:
            yield Mistake(("metadata",), "it has no namespace.", "Write metadata.namespace.")
        if owner is not None:
            yield from self._order(part, found, owner)

    def _encrypted(self, found: Object) -> Iterator[Mistake]:
        if _SOPS in found.manifest and not self._file.config.gitops.flux.age_key_secret:
            what = "SOPS has encrypted it, and Flux is given no key."
            yield Mistake((_SOPS,), what, "Write gitops.flux.ageKeySecret in cluster.yaml.")

    def _api_of(self, group: str, kind: str) -> tuple[Api | None, str | None]:
        """Who knows a kind, and the component that brings it, if one does."""
        for api in (self._kubernetes, self._flux):
            if group in api.groups:
                return api, None
        brings = [name for name, api in self._apis.items() if group in api.groups]
        exact = [name for name in brings if kind in self._apis[name].kinds]
        owner = next(iter([*exact, *brings]), None)
        return (self._apis[owner], owner) if owner else (None, None)

    def _without_schema(self, part: _Part, found: Object, kind: str) -> Iterator[Mistake]:
        component = part.component
        if component is not None and found.group in component.declaration.unchecked:
            return
        if part.own or found.group == _OPERATOR:
            place = self._files.position(found, ())
            what = f"for cluster {self._name}, {found} is not checked: there is no schema of {kind} here."
            self._warnings[Problem(place.file, place.line, "", what, "Try it in a cluster.")] = None
            return
        what = f"no component brings the API {kind}."
        fix = f"If a chart brings it, and its schema is not to be had, write `unchecked: [{found.group}]`"
        where = f" in {component.base}/component.yaml." if component else "."
        yield Mistake(("apiVersion",), what, fix + where)

    def _order(self, part: _Part, found: Object, owner: str) -> Iterator[Mistake]:
        """An object whose API a component brings comes after that component."""
        component = part.component
        if component is None:
            if owner not in {other.name for other in self._planned.components}:
                what = f"its API comes with {owner}, which is not selected."
                yield Mistake(("apiVersion",), what, f"Select {owner}.")
        elif component.name == owner:
            if not part.config:
                what = "its API comes with this very component, and is not there when Flux begins with it."
                yield Mistake(("apiVersion",), what, f"Move it into {component.base}/config.")
        elif owner not in self._before(component):
            what = f"its API comes with {owner}, and {component.name} does not wait for that."
            yield Mistake(("apiVersion",), what, f"Add {owner} to `needs` in {component.base}/component.yaml.")
        elif found.group not in component.declaration.crds:
            what = f"{component.name} does not say that it uses the API group {found.group}."
            fix = f"Add {found.group} to `crds` in {component.base}/component.yaml."
            yield Mistake(("apiVersion",), what, fix)

    def _before(self, component: Component) -> set[str]:
        """The components that are there before one, with those before them."""
        found: set[str] = set()
        waiting = [component.name]
        while waiting:
            known = self._catalogue.components.get(waiting.pop())
            for name in known.declaration.needs if known else ():
                if name not in found:
                    found.add(name)
                    waiting.append(name)
        return found

    def _values(self, part: _Part, found: Object, cluster: references.Cluster) -> Iterator[Mistake]:
        """The values of the component's chart, if that says what it takes."""
        component = part.component
        api = self._apis.get(component.name) if component else None
        if component is None or api is None or not api.chart or found.kind != "HelmRelease":
            return
        version = references.chart_version(found, cluster)
        if version and version.removeprefix("v") != api.chart.removeprefix("v"):
            source = found.manifest["spec"]
            path: Path = ("spec", "chart", "spec", "version") if "chart" in source else ("spec", "chartRef")
            what = f"the chart is {version}, and {component.base}/{FILE_NAME} describes {api.chart}."
            command = f"python -m toolchain.schemas {component.name}"
            fix = f"Move `schemas` in component.yaml to the same release, and run `{command}`."
            yield Mistake(path, what, fix)
        for mistake in api.value_mistakes(found.manifest["spec"].get("values") or {}):
            yield Mistake(("spec", "values", *mistake.path), mistake.what, mistake.fix)
        for index, text in references.values_from(found, cluster):
            for mistake in api.value_mistakes(yaml.load(text, Loader=Loader)):  # noqa: S506 (a safe loader)
                what = f"{dotted(mistake.path)}: {mistake.what}"
                yield Mistake(("spec", "valuesFrom", index), what, mistake.fix)

    def _declared(self, component: Component) -> None:
        """What a component says that it uses is what it uses."""
        used: set[str] = set()
        groups: set[str] = set()
        for step in self._planned.steps:
            if step.component is component:
                try:
                    sources = self._builder.build(step.path)
                except BuildError:
                    return
                for source in sources:
                    used |= {name.removesuffix("_BASE64") for name, _ in variables(source.text)}
                    groups.add(str(yaml.load(source.text, Loader=Loader)["apiVersion"]).rpartition("/")[0])  # noqa: S506
        if component.name in self._misread:
            return
        said = component.declaration
        for name in sorted(used & FACTS.keys()):
            if name not in said.values:
                what = f"its manifests read {name}, and it does not say so."
                self._tell_component(component, ("values",), what, f"Add {name}.")
        for index, name in enumerate(said.values):
            if name in FACTS and name not in used:
                what = f"nothing of the component reads {name}."
                self._tell_component(component, ("values", index), what, "Remove it.")
        for key, names in (("settings", said.settings), ("secrets", said.secrets)):
            for name in names:
                if name not in used:
                    what = f"nothing of the component reads {name}."
                    self._tell_component(component, (key, name), what, "Remove it, or use it.")
        for index, group in enumerate(said.crds):
            if group not in groups:
                what = f"the component has no object of {group}."
                self._tell_component(component, ("crds", index), what, "Remove it.")
        api, source_of = self._apis.get(component.name), said.schemas
        wanted = f"{source_of.module} {source_of.version}" if source_of else ""
        if wanted and (api is None or api.source != wanted):
            has = f"is of {api.source}" if api else "is not there"
            what = f"{component.base}/{FILE_NAME} {has}."
            self._tell_component(component, ("schemas",), what, f"Run `python -m toolchain.schemas {component.name}`.")

    @property
    def _name(self) -> str:
        return self._file.config.metadata.name

    def _tell(self, found: Object, mistake: Mistake) -> None:
        place = self._files.position(found, mistake.path)
        what = f"for cluster {self._name}, {found}: {mistake.what}"
        self._problems[Problem(place.file, place.line, dotted(mistake.path), what, mistake.fix)] = None

    def _tell_text(self, source: Source, text: str, what: str, fix: str) -> None:
        for file in (*reversed(source.changed_in), source.origin):
            if line := self._files.line_of(file, text):
                self._problems[Problem(file, line, "", what, fix)] = None
                return
        self._problems[Problem(source.origin, 0, "", what, fix)] = None

    def _tell_component(self, component: Component, path: Path, what: str, fix: str) -> None:
        self._problems[component.problem(path, what, fix)] = None


def _is_target(found: Object, target: Mapping[str, str]) -> bool:
    """Is an object what a patch of kustomize is for? Its selectors are patterns of the whole name."""
    values = {"kind": found.kind, "name": found.name, "namespace": found.namespace, "group": found.group}
    return all(re.fullmatch(pattern, values[key]) for key, pattern in target.items() if key in values)
