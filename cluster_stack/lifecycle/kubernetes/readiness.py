"""Is an object what the next one needs of it? If not: what it waits for, as a person would say it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from cluster_stack.lifecycle.kubernetes.surroundings import Manifest, Surroundings

_LOOK_AT = {
    "GitRepository": " Look at repository, branch and credentialsSecret of gitops.flux in cluster.yaml.",
    "Kustomization": " Look at repository and branch of gitops.flux in cluster.yaml.",
}


class Unready(NamedTuple):
    why: str
    hopeless: bool = False
    """Waiting longer does not help."""
    look_at: str = ""
    """A sentence, with a space before it: which keys decide on it."""


def unready(live: Manifest, surroundings: Surroundings) -> Unready | None:
    """Why an object is not ready; None where it is, and where there is nothing to wait for."""
    group = str(live["apiVersion"]).rpartition("/")[0]
    match group, live["kind"]:
        case "apiextensions.k8s.io", "CustomResourceDefinition":
            return _definition(live)
        case "apps", "Deployment":
            return _deployment(live, surroundings)
        case "fluxcd.controlplane.io", "FluxInstance" | "ResourceSet":
            return _reconciled(live, surroundings)
    return None


def condition(live: Manifest, kind: str) -> Mapping[str, Any]:
    """A condition of the status; empty where there is none."""
    found = [one for one in _status(live).get("conditions") or () if one.get("type") == kind]
    return found[0] if found else {}


def _status(live: Manifest) -> Mapping[str, Any]:
    return live.get("status") or {}


def _generation(live: Manifest) -> int:
    return int(live["metadata"].get("generation") or 0)


def _definition(live: Manifest) -> Unready | None:
    if condition(live, "Established").get("status") == "True":
        return None
    names = condition(live, "NamesAccepted")
    return Unready(str(names.get("message")) if names.get("status") == "False" else "not established yet")


def _deployment(live: Manifest, surroundings: Surroundings) -> Unready | None:
    status = _status(live)
    wanted = int(live["spec"].get("replicas", 1))
    seen = int(status.get("observedGeneration") or 0) >= _generation(live)
    updated, total = int(status.get("updatedReplicas") or 0), int(status.get("replicas") or 0)
    available = int(status.get("availableReplicas") or 0)
    if seen and updated >= wanted and total <= updated and available >= wanted:
        return None
    ready = min(available, updated) if seen else 0
    found = next(filter(None, map(_hindrance, surroundings.pods(live))), "") if ready < wanted else ""
    return Unready(f"{ready} of {wanted} ready" + (f": {found}" if found else ""))


def _hindrance(pod: Manifest) -> str:
    """What keeps a pod from being ready, in Kubernetes' own words."""
    status = _status(pod)
    scheduled = condition(pod, "PodScheduled")
    if scheduled.get("status") == "False":
        return _words(scheduled)
    for container in (*(status.get("initContainerStatuses") or ()), *(status.get("containerStatuses") or ())):
        state = container.get("state") or {}
        for name in ("waiting", "terminated"):
            if (found := state.get(name)) and found.get("reason") not in (None, "Completed", "PodInitializing"):
                return _words(found)
    return ""


def _words(found: Mapping[str, Any]) -> str:
    reason, message = str(found.get("reason") or ""), " ".join(str(found.get("message") or "").split())
    return f"{reason} ({message})" if message else reason


def _reconciled(live: Manifest, surroundings: Surroundings) -> Unready | None:
    """By the conditions of Flux: Ready, and Stalled where its controller has given up until somebody changes it."""
    ready = condition(live, "Ready")
    # A condition of an older generation tells of what was declared before.
    if not ready or int(ready.get("observedGeneration") or 0) < _generation(live):
        return Unready("flux-operator has not looked at it yet")
    if ready.get("status") == "True":
        return None
    if live["kind"] == "ResourceSet" and ready.get("reason") == "DependencyNotReady":
        # It waits for the FluxInstance, which comes next: docs/gitops.md says why in this order.
        return None
    if condition(live, "Stalled").get("status") == "True":
        return Unready(_words(ready) or "no reason given", hopeless=True)
    # While its parts are not ready flux-operator only says that it is at it, and after five minutes begins again.
    found = next(_unready_parts(live, surroundings), None) if live["kind"] == "FluxInstance" else None
    return found or Unready(_words(ready) or "no reason given")


def _unready_parts(instance: Manifest, surroundings: Surroundings) -> Iterator[Unready]:
    for part in surroundings.parts(instance):
        name = f"{part['kind']} {part['metadata']['namespace']}/{part['metadata']['name']}"
        if part["kind"] == "Deployment":
            if found := _deployment(part, surroundings):
                yield Unready(f"{name}: {found.why}")
            continue
        ready = condition(part, "Ready")
        if ready.get("status") == "False" and int(ready.get("observedGeneration") or 0) >= _generation(part):
            yield Unready(f"{name}: {_words(ready)}", look_at=_LOOK_AT.get(part["kind"], ""))
