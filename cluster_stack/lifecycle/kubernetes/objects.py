"""One object at the API server: where it is, how it is applied, whose its fields are, how it goes."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeVar

from cluster_stack.lifecycle.errors import LifecycleError, UnfinishedError, without
from cluster_stack.lifecycle.kubernetes.api import (
    Kind,
    KubernetesApi,
    RefusedError,
    UnavailableError,
    UnknownKindError,
)
from cluster_stack.lifecycle.kubernetes.drift import as_found
from cluster_stack.lifecycle.kubernetes.readiness import unready
from cluster_stack.lifecycle.kubernetes.surroundings import SurroundingsAtServer
from cluster_stack.lifecycle.waiting import TimeLimitError, Waiting

Manifest = Mapping[str, Any]
_Answer = TypeVar("_Answer")

_CONFLICT = 409


class ObjectAtServer:
    """An object by its manifest, which names it and declares its fields."""

    def __init__(self, api: KubernetesApi, manifest: Manifest) -> None:
        self._api = api
        self._surroundings = SurroundingsAtServer(api)
        self.manifest = manifest
        metadata = manifest["metadata"]
        self._name, self._namespace = str(metadata["name"]), str(metadata.get("namespace") or "")
        self.title = title(manifest)

    # What the user of these reads, when it does not go on: every failure is a LifecycleError

    def apply(self, known: Manifest | None, waiting: Waiting) -> None:
        """Make the object what the manifest says.

        ``known`` is what the state knows of it; None where it is to be created. Fields of others are taken in two
        cases only. In a creation: whoever says that this cluster has Flux by this program takes over what somebody
        installed by hand. And where the state already knows the other's value: then a preview has shown it, and that
        it will be put back. So no change is overwritten that nobody has seen.
        """

        def once() -> None:
            path = self._path()
            try:
                self._api.apply(path, self.manifest, force=known is None)
            except RefusedError as error:
                if error.status != _CONFLICT or known is None:
                    raise
                live = self._api.get(path)
                if live is not None and self._as_found(known, live) != known:
                    raise LifecycleError(self._foreign(error)) from None
                self._api.apply(path, self.manifest, force=True)

        self._until_answered(once, waiting)

    def wait(self, waiting: Waiting) -> None:
        """Until the object is ready. Raises UnfinishedError where it does not become so."""
        while True:
            live = self._until_answered(self._live, waiting)
            if live is None:
                raise UnfinishedError(f"{self.title} was deleted by somebody else. Run `pulumi up --refresh`.")
            found = unready(live, self._surroundings)
            if found is None:
                return
            why = self._clean(found.why)
            if found.hopeless:
                raise UnfinishedError(f"{self.title} does not become ready: {why}.")
            try:
                waiting.pause(f"waiting for {self.title}: {why}")
            except TimeLimitError:
                what = f"{self.title} is not ready after {waiting.limit}: {why}.{found.look_at}"
                raise UnfinishedError(f"{what} `pulumi up` goes on with it.") from None

    def read(self, waiting: Waiting) -> Manifest | None:
        """The declared fields as they are; None where there is no such object."""

        def found() -> Manifest | None:
            live = self._live()
            return None if live is None else self._as_found(self.manifest, live)

        return self._until_answered(found, waiting)

    def delete(self, waiting: Waiting) -> None:
        """Delete it, and wait till it is gone."""

        def begun() -> bool:
            try:
                return self._api.delete(self._path())
            except UnknownKindError:
                return False

        if not self._until_answered(begun, waiting):
            return
        while live := self._until_answered(self._live, waiting):
            why = self._remains(live)
            try:
                waiting.pause(f"waiting for {self.title} to go{f': {why}' if why else ''}")
            except TimeLimitError:
                what = f"{self.title} is still there after {waiting.limit}{f': {why}' if why else ''}."
                raise LifecycleError(f"{what} `pulumi up` goes on with it.") from None

    # How

    def _path(self) -> str:
        kind: Kind = self._api.kind(self.manifest["apiVersion"], self.manifest["kind"])
        return kind.path(self._namespace, self._name)

    def _live(self) -> dict[str, Any] | None:
        try:
            return self._api.get(self._path())
        except UnknownKindError:
            return None

    def _as_found(self, declared: Manifest, live: Manifest) -> Manifest:
        try:
            applied = self._api.apply(self._path(), declared, force=True, for_show=True)
        except RefusedError:
            applied = dict(declared)  # nothing comes of it any more, so all that is there is otherwise
        found: Manifest = as_found(declared, live, applied)
        return found

    def _until_answered(self, ask: Callable[[], _Answer], waiting: Waiting) -> _Answer:
        """Ask until the API server answers. Raises LifecycleError."""
        while True:
            try:
                return ask()
            except UnavailableError as error:
                doing = f"waiting for the Kubernetes API at {self._api.server}: {self._clean(str(error))}"
                giving_up = (
                    f"the Kubernetes API at {self._api.server} does not answer: {self._clean(str(error))}. "
                    f"{self.title} waited {waiting.limit} for it. Is a control plane up, and can this machine reach "
                    "that address?"
                )
            except UnknownKindError as error:
                # A definition is established a moment before its kind is served.
                doing, giving_up = f"waiting for {self.title}: {error}", f"{self.title}: {error} after {waiting.limit}."
            except RefusedError as error:
                if error.status == _CONFLICT and not error.causes:
                    # Somebody wrote between the server's read and write. Another try finds out what is so now.
                    doing = giving_up = f"{self.title}: {self._clean(str(error))}"
                else:
                    raise LifecycleError(f"{self.title}: the API server says: {self._clean(str(error))}.") from None
            try:
                waiting.pause(doing)
            except TimeLimitError:
                raise LifecycleError(giving_up) from None

    def _foreign(self, error: RefusedError) -> str:
        fields = "; ".join(f"{cause.get('field', '?')}: {cause.get('message', '?')}" for cause in error.causes)
        return (
            f"{self.title} was changed by somebody else: {self._clean(fields)}. Run `pulumi up --refresh`: it shows "
            "what is there now, and puts back what cluster.yaml says."
        )

    def _remains(self, live: Manifest) -> str:
        """Why an object that is being deleted is still there."""
        finalizers = live["metadata"].get("finalizers") or ()
        if finalizers:
            return f"{', '.join(finalizers)} must be removed by its controller"
        told = [
            " ".join(str(one.get("message") or "").split())
            for one in (live.get("status") or {}).get("conditions") or ()
            if one.get("status") == "True" and live["kind"] == "Namespace"
        ]
        return self._clean("; ".join(filter(None, told)))

    def _clean(self, text: str) -> str:
        return without(text.rstrip("."), secrets_of(self.manifest))


def title(manifest: Manifest) -> str:
    """An object as a sentence names it: ``Secret flux-system/sops-age``."""
    metadata = manifest["metadata"]
    place = f"{metadata['namespace']}/" if metadata.get("namespace") else ""
    return f"{manifest['kind']} {place}{metadata['name']}"


def secrets_of(manifest: Manifest) -> Iterator[str]:
    """What must never be repeated: the values of a Secret, encoded and not."""
    if manifest["kind"] != "Secret":
        return
    for value in (manifest.get("data") or {}).values():
        yield str(value)
        try:
            yield base64.b64decode(str(value), validate=True).decode()
        except (binascii.Error, UnicodeDecodeError):
            continue
