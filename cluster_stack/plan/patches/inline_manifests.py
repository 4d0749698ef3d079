"""The Kubernetes objects that a patch has Talos apply: what Talos, or the API that it applies them to, would refuse.

A mistake in them does not stop a machine: only its log, or the next ``talosctl upgrade-k8s``, tells of it. An object of
a namespace that does not name it comes into ``default`` as the cluster begins, and is an error to ``upgrade-k8s`` of
talosctl 1.13.0, which then updates and removes nothing.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path as FilePath
from typing import Any

import yaml

from cluster_stack.config.document import Path
from cluster_stack.config.problems import Problem
from cluster_stack.plan.patches.reading import PatchDocument

_KINDS = FilePath(__file__).parents[2] / "manifests" / "data" / "kubernetes.json"


def check(patch: PatchDocument) -> Iterator[Problem]:
    """Yield what is wrong with ``cluster.inlineManifests``. No value of an object is in it: some are Secrets."""
    cluster = patch.data.get("cluster")
    manifests = cluster.get("inlineManifests") if isinstance(cluster, dict) else None
    for index, manifest in enumerate(manifests if isinstance(manifests, list) else ()):
        contents = manifest.get("contents") if isinstance(manifest, dict) else None
        if isinstance(contents, str):
            yield from _of_one(patch, ("cluster", "inlineManifests", index, "contents"), contents)


def _of_one(patch: PatchDocument, path: Path, contents: str) -> Iterator[Problem]:
    try:
        # Texts are enough here; reading values is where a wrong date, say, would be an error of another kind.
        objects = list(yaml.load_all(contents, Loader=yaml.CBaseLoader))
    except (yaml.YAMLError, RecursionError):
        yield patch.problem(path, "it is not YAML.", "Write objects of Kubernetes, with a line `---` between them.")
        return
    for found in objects:
        if not found:  # nothing between two lines `---`
            continue
        if not isinstance(found, dict) or not isinstance(found.get("kind"), str) or "apiVersion" not in found:
            fix = "Write an object with apiVersion, kind and metadata."
            yield patch.problem(path, "one of the documents in it is no object of Kubernetes.", fix)
            continue
        metadata = found.get("metadata")
        named: Mapping[str, Any] = metadata if isinstance(metadata, dict) else {}
        kind = f"{found['apiVersion']} {found['kind']}"
        if not named.get("name"):
            fix = "Write `metadata: {name: <name>}`: Talos looks for what exists by it."
            yield patch.problem(path, f"the {found['kind']} in it has no name.", fix)
        elif kind in _of_a_namespace() and not named.get("namespace"):
            what = f"the {found['kind']} {named['name']} belongs to a namespace, and does not say which. "
            fix = "Write it below its metadata: `namespace: default`, or the one that it is for."
            yield patch.problem(path, what + "`talosctl upgrade-k8s` would fail at it.", fix)


@cache
def _of_a_namespace() -> set[str]:
    """Of Kubernetes' own kinds; which of the others are, only the cluster knows."""
    kinds = json.loads(_KINDS.read_text(encoding="utf-8"))["x-kinds"]
    return {kind for kind, described in kinds.items() if described["x-scope"] == "Namespaced"}
