"""What one object of a cluster says of another: charts, sources, values, other releases. Is it there?"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from cluster_stack.config.document import Path
from cluster_stack.manifests import pods
from cluster_stack.manifests.building import Object
from cluster_stack.manifests.schemas import Mistake

_HELM_RELEASE = ("helm.toolkit.fluxcd.io", "HelmRelease")
_KUSTOMIZATION = ("kustomize.toolkit.fluxcd.io", "Kustomization")
_SOURCES = "source.toolkit.fluxcd.io"
_EXACT = re.compile(r"v?\d+\.\d+\.\d+([-+][\w.+-]+)?")
_STANDARD_NAMESPACES = ("default", "kube-node-lease", "kube-public", "kube-system")
_AUTHORITY = ("ConfigMap", "kube-root-ca.crt", "ca.crt")
"""What Kubernetes itself puts into every namespace: kind, name, key."""

Identity = tuple[str, str, str, str]


class Cluster:
    """Everything that a cluster would have, to look up what an object refers to."""

    def __init__(self, objects: Iterable[Object], given: Iterable[Mapping[str, Any]]) -> None:
        """``given``: manifests that are there before the objects, from the bootstrap."""
        self._data: dict[Identity, Mapping[str, Any]] = {}
        for manifest in given:
            metadata, group = manifest["metadata"], manifest["apiVersion"].rpartition("/")[0]
            self._data[group, manifest["kind"], metadata.get("namespace", ""), metadata["name"]] = manifest
        for found in objects:
            self._data[found.identity] = found.manifest
        self._namespaces = {name for _, kind, _, name in self._data if kind == "Namespace"}

    def has(self, group: str, kind: str, namespace: str, name: str) -> bool:
        return (group, kind, namespace, name) in self._data

    def names(self, group: str, kind: str) -> list[str]:
        found = [(namespace, name) for where, what, namespace, name in self._data if (where, what) == (group, kind)]
        return sorted(f"{namespace}/{name}" for namespace, name in found)

    def keys(self, kind: str, namespace: str, name: str) -> set[str] | None:
        """The keys of a ConfigMap or a Secret; None where there is none of that name."""
        if (kind, name) == _AUTHORITY[:2]:
            return {_AUTHORITY[2]}
        manifest = self._data.get(("", kind, namespace, name))
        if manifest is None:
            return None
        return {key for part in ("data", "stringData", "binaryData") for key in manifest.get(part) or {}}

    def has_namespace(self, name: str) -> bool:
        return name in _STANDARD_NAMESPACES or name in self._namespaces

    def manifest(self, group: str, kind: str, namespace: str, name: str) -> Mapping[str, Any]:
        return self._data[group, kind, namespace, name]


def mistakes(found: Object, cluster: Cluster) -> Iterator[Mistake]:
    """What an object refers to and what is not there. The object is one that its schema takes."""
    if found.namespace and not cluster.has_namespace(found.namespace):
        what = f"nothing makes the namespace {found.namespace}."
        yield Mistake(("metadata", "namespace"), what, "Add a Namespace to the component, or write one that there is.")
    if (found.group, found.kind) == _HELM_RELEASE:
        yield from _release(found, cluster)
    elif (found.group, found.kind) == _KUSTOMIZATION:
        yield from _kustomization(found, cluster)
    elif found.group == _SOURCES:
        yield from _source(found)
    for wanted in pods.wanted(found.manifest):
        yield from _wanted(wanted, found, cluster)
    for path, image in pods.images(found.manifest):
        tag = image.rpartition("/")[2].partition(":")[2]
        if "@sha256:" not in image and tag in ("", "latest"):
            yield Mistake(path, f"the image {image} is not pinned.", "Write a version behind it: `:1.2.3`.")


def chart_version(found: Object, cluster: Cluster) -> str:
    """The version of the chart that a HelmRelease installs; empty where nobody can tell."""
    spec = found.manifest["spec"]
    if "chart" in spec:
        return str(spec["chart"]["spec"].get("version", ""))
    if spec.get("chartRef", {}).get("kind") == "OCIRepository":
        reference = spec["chartRef"]
        identity = (_SOURCES, "OCIRepository", reference.get("namespace", found.namespace), reference["name"])
        if cluster.has(*identity):
            return str(cluster.manifest(*identity)["spec"].get("ref", {}).get("tag", ""))
    return ""


def values_from(found: Object, cluster: Cluster) -> Iterator[tuple[int, str]]:
    """The values of a HelmRelease that a ConfigMap of this cluster holds: place in the list, YAML text."""
    for index, source in enumerate(found.manifest["spec"].get("valuesFrom", [])):
        identity = ("", source["kind"], found.namespace, source["name"])
        # One for a single value, `targetPath`, is not a mapping of values.
        if source["kind"] == "ConfigMap" and "targetPath" not in source and cluster.has(*identity):
            data = cluster.manifest(*identity).get("data", {})
            if (key := source.get("valuesKey", "values.yaml")) in data:
                yield index, data[key]


def _release(found: Object, cluster: Cluster) -> Iterator[Mistake]:
    spec = found.manifest["spec"]
    if "chart" in spec:
        chart: Mapping[str, Any] = spec["chart"]["spec"]
        yield from _reference(chart["sourceRef"], ("spec", "chart", "spec", "sourceRef"), found, cluster, _SOURCES)
        version = chart.get("version", "")
        if not _EXACT.fullmatch(version):
            path: Path = ("spec", "chart", "spec", "version") if version else ("spec", "chart", "spec")
            yield Mistake(path, "the chart's version is not pinned.", "Write one version: 1.2.3.")
    elif "chartRef" in spec:
        yield from _reference(spec["chartRef"], ("spec", "chartRef"), found, cluster, _SOURCES)
    else:
        yield Mistake(("spec",), "it names no chart.", "Write chart or chartRef.")
    for index, other in enumerate(spec.get("dependsOn", [])):
        place = ("spec", "dependsOn", index)
        yield from _reference({"kind": "HelmRelease", **other}, place, found, cluster, _HELM_RELEASE[0])
    for index, source in enumerate(spec.get("valuesFrom", [])):
        yield from _values(source, ("spec", "valuesFrom", index), found, cluster)


def _values(source: Mapping[str, Any], path: Path, found: Object, cluster: Cluster) -> Iterator[Mistake]:
    if source.get("optional"):
        return
    wanted = pods.Wanted(path, source["kind"], source["name"], source.get("valuesKey", "values.yaml"))
    yield from _kept(wanted, found, cluster)


def _wanted(wanted: pods.Wanted, found: Object, cluster: Cluster) -> Iterator[Mistake]:
    """A Secret that nobody writes down may be made in the cluster, for example by a Certificate."""
    if wanted.kind == "ConfigMap" or cluster.keys(wanted.kind, found.namespace, wanted.name) is not None:
        yield from _kept(wanted, found, cluster)


def _kept(wanted: pods.Wanted, found: Object, cluster: Cluster) -> Iterator[Mistake]:
    keys = cluster.keys(wanted.kind, found.namespace, wanted.name)
    if keys is None:
        what = f"there is no {wanted.kind} {wanted.name} in {found.namespace}."
        yield Mistake(wanted.path, what, "Add it to the component, or write `optional: true`.")
    elif wanted.key and wanted.key not in keys:
        what = f"the {wanted.kind} {wanted.name} has no key {wanted.key}."
        yield Mistake(wanted.path, what, f"Keys that it has: {', '.join(sorted(keys)) or 'none'}.")


def _kustomization(found: Object, cluster: Cluster) -> Iterator[Mistake]:
    spec = found.manifest["spec"]
    yield from _reference(spec["sourceRef"], ("spec", "sourceRef"), found, cluster, _SOURCES)
    for index, other in enumerate(spec.get("dependsOn", [])):
        path = ("spec", "dependsOn", index)
        yield from _reference({"kind": "Kustomization", **other}, path, found, cluster, _KUSTOMIZATION[0])
    for index, source in enumerate(spec.get("postBuild", {}).get("substituteFrom", [])):
        if not source.get("optional") and cluster.keys(source["kind"], found.namespace, source["name"]) is None:
            what = f"there is no {source['kind']} {source['name']} in {found.namespace}."
            yield Mistake(("spec", "postBuild", "substituteFrom", index), what, "Add it, or write `optional: true`.")


def _source(found: Object) -> Iterator[Mistake]:
    if found.kind == "OCIRepository":
        reference = found.manifest["spec"].get("ref", {})
        if not reference.get("digest") and not _EXACT.fullmatch(reference.get("tag", "")):
            what = "the version is not pinned."
            yield Mistake(("spec", "ref"), what, "Write a `tag` that is one version, or a `digest`.")


def _reference(
    reference: Mapping[str, Any], path: Path, found: Object, cluster: Cluster, group: str
) -> Iterator[Mistake]:
    kind, name = reference["kind"], reference["name"]
    namespace = reference.get("namespace", found.namespace)
    if not cluster.has(group, kind, namespace, name):
        there = cluster.names(group, kind)
        what = f"there is no {kind} {namespace}/{name} in this cluster."
        yield Mistake((*path, "name"), what, f"There are: {', '.join(there) or 'none'}.")
