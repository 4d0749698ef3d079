"""The resource type ``names.KUBERNETES_OBJECT``."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from cluster_stack.lifecycle.kubernetes.api import KubernetesApi
from cluster_stack.lifecycle.kubernetes.objects import ObjectAtServer, title
from cluster_stack.lifecycle.resource import Failure, Inputs
from cluster_stack.lifecycle.waiting import Waiting


class KubernetesObject:
    """One object in a cluster."""

    def __init__(self, api: Callable[[], KubernetesApi]) -> None:
        """``api`` is called when something is asked of the cluster, and not before."""
        self._api = api

    def check(self, inputs: Inputs) -> Iterator[Failure]:
        for key in ("apiVersion", "kind", "metadata"):
            if not inputs.get(key):
                yield Failure(key, "a manifest has apiVersion, kind and metadata.")
        if isinstance(inputs.get("metadata"), dict) and not inputs["metadata"].get("name"):
            yield Failure("metadata", "a manifest has metadata.name.")

    def replacing(self, old: Inputs, new: Inputs) -> Iterator[str]:
        """Another version of the same API is no other object."""
        if _group(old) != _group(new):
            yield "apiVersion"
        if old["kind"] != new["kind"]:
            yield "kind"
        if any(old["metadata"].get(part) != new["metadata"].get(part) for part in ("name", "namespace")):
            yield "metadata"

    def identity(self, inputs: Inputs) -> str:
        return f"{inputs['apiVersion']} {title(inputs)}"

    def create(self, inputs: Inputs, waiting: Waiting) -> None:
        found = ObjectAtServer(self._api(), inputs)
        found.apply(None, waiting)
        found.wait(waiting)

    def update(self, old: Inputs, new: Inputs, waiting: Waiting) -> None:
        found = ObjectAtServer(self._api(), new)
        found.apply(old, waiting)
        found.wait(waiting)

    def read(self, inputs: Inputs, waiting: Waiting) -> Inputs | None:
        return ObjectAtServer(self._api(), inputs).read(waiting)

    def delete(self, inputs: Inputs, waiting: Waiting) -> None:
        ObjectAtServer(self._api(), inputs).delete(waiting)


def _group(inputs: Inputs) -> str:
    return str(inputs["apiVersion"]).rpartition("/")[0]
