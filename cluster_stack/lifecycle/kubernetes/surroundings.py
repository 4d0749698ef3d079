"""What is made of an object by its controller: where one looks for the reason why the object itself is not ready."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Protocol

from cluster_stack.lifecycle.kubernetes.api import KubernetesApi, RefusedError, UnavailableError, UnknownKindError

Manifest = Mapping[str, Any]


class Surroundings(Protocol):
    def pods(self, deployment: Manifest) -> Iterator[Manifest]:
        """The pods of a Deployment."""

    def parts(self, instance: Manifest) -> Iterator[Manifest]:
        """What flux-operator made of a FluxInstance: Flux' controllers, then the repository, then what is applied of
        it."""


class SurroundingsAtServer:
    """They are for more words in a line that is written again in a moment: what cannot be had is left out."""

    def __init__(self, api: KubernetesApi) -> None:
        self._api = api

    def pods(self, deployment: Manifest) -> Iterator[Manifest]:
        labels = deployment["spec"]["selector"].get("matchLabels") or {}
        yield from self._labelled("v1", "Pod", deployment, labels)

    def parts(self, instance: Manifest) -> Iterator[Manifest]:
        labels = {"fluxcd.controlplane.io/name": instance["metadata"]["name"]}
        source = (instance["spec"].get("sync") or {}).get("kind") or "GitRepository"
        yield from self._labelled("apps/v1", "Deployment", instance, labels)
        yield from self._labelled("source.toolkit.fluxcd.io/v1", source, instance, labels)
        yield from self._labelled("kustomize.toolkit.fluxcd.io/v1", "Kustomization", instance, labels)

    def _labelled(self, api_version: str, kind: str, beside: Manifest, labels: Mapping[str, str]) -> Iterator[Manifest]:
        """In the namespace of an object."""
        selector = ",".join(f"{name}={value}" for name, value in labels.items())
        try:
            path = self._api.kind(api_version, kind).path(beside["metadata"]["namespace"])
            found = (self._api.get(path, labelSelector=selector) or {}).get("items") or ()
        except (UnavailableError, RefusedError, UnknownKindError):
            return
        # The items of a list do not say what they are.
        yield from ({**one, "apiVersion": api_version, "kind": kind} for one in found)
