"""What an object waits for, in words."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pytest

from cluster_stack.lifecycle.kubernetes.readiness import Unready, unready

FLUX = "fluxcd.controlplane.io/v1"


@dataclass
class Around:
    """What is there beside an object."""

    its_pods: Sequence[Mapping[str, Any]] = ()
    its_parts: Sequence[Mapping[str, Any]] = ()

    def pods(self, _: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
        return iter(self.its_pods)

    def parts(self, _: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
        return iter(self.its_parts)


ALONE = Around()


def flux(kind: str = "FluxInstance", *, seen: int = 2, **conditions: tuple[str, str, str]) -> dict[str, Any]:
    told = [
        {"type": name, "status": status, "reason": reason, "message": message, "observedGeneration": seen}
        for name, (status, reason, message) in conditions.items()
    ]
    return {"apiVersion": FLUX, "kind": kind, "metadata": {"generation": 2}, "status": {"conditions": told}}


def deployment(*, generation: int = 1, **status: int) -> dict[str, Any]:
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"generation": generation},
        "spec": {"replicas": 1},
        "status": {"observedGeneration": 1, **status},
    }


def test_nothing_is_waited_for_where_nothing_becomes_ready() -> None:
    assert unready({"apiVersion": "v1", "kind": "Secret", "metadata": {}}, ALONE) is None


def test_a_flux_instance() -> None:
    assert unready(flux(), ALONE) == Unready("flux-operator has not looked at it yet")
    assert unready(flux(Ready=("True", "ReconciliationSucceeded", "done")), ALONE) is None
    old = flux(Ready=("True", "ReconciliationSucceeded", "done"), seen=1)
    assert unready(old, ALONE) == Unready("flux-operator has not looked at it yet")
    failed = flux(Ready=("False", "ReconciliationFailed", "timeout\nof  GitRepository"))
    assert unready(failed, ALONE) == Unready("ReconciliationFailed (timeout of GitRepository)")


def test_what_its_controller_has_given_up_is_not_waited_for() -> None:
    reason = ("False", "BuildFailed", "no version")
    assert unready(flux(Ready=reason, Stalled=("True", "BuildFailed", "no version")), ALONE) == Unready(
        "BuildFailed (no version)", hopeless=True
    )


def part(kind: str, status: str, *, seen: int = 1, reason: str = "Failed") -> dict[str, Any]:
    ready = {"type": "Ready", "status": status, "reason": reason, "message": "why", "observedGeneration": seen}
    metadata = {"name": "flux-system", "namespace": "flux-system", "generation": 1}
    return {"kind": kind, "metadata": metadata, "status": {"conditions": [ready]}}


WORKING = flux(Ready=("Unknown", "Progressing", "Reconciliation in progress"))
STARTING = {**deployment(replicas=1, updatedReplicas=1), "metadata": {"name": "helm", "namespace": "flux-system"}}


@pytest.mark.parametrize(
    ("parts", "why", "look_at"),
    [
        ([], "Progressing (Reconciliation in progress)", ""),
        ([STARTING, part("GitRepository", "False")], "Deployment flux-system/helm: 0 of 1 ready", ""),
        (
            [part("GitRepository", "False"), part("Kustomization", "False")],
            "GitRepository flux-system/flux-system: Failed (why)",
            " Look at repository, branch and credentialsSecret of gitops.flux in cluster.yaml.",
        ),
        (
            [part("GitRepository", "True"), part("Kustomization", "False")],
            "Kustomization flux-system/flux-system: Failed (why)",
            " Look at repository and branch of gitops.flux in cluster.yaml.",
        ),
        # What it says of the repository before is no reason.
        ([part("GitRepository", "False", seen=0)], "Progressing (Reconciliation in progress)", ""),
        ([part("GitRepository", "Unknown")], "Progressing (Reconciliation in progress)", ""),
    ],
)
def test_a_flux_instance_waits_for_a_part_of_it(parts: list[dict[str, Any]], why: str, look_at: str) -> None:
    assert unready(WORKING, Around(its_parts=parts)) == Unready(why, look_at=look_at)


@pytest.mark.parametrize(("kind", "waits"), [("ResourceSet", False), ("FluxInstance", True)])
def test_a_resource_set_may_wait_for_the_instance_that_comes_next(kind: str, waits: bool) -> None:
    found = unready(flux(kind, Ready=("False", "DependencyNotReady", "not found")), ALONE)
    assert (found is not None) == waits


def test_a_deployment() -> None:
    ready = {"replicas": 1, "updatedReplicas": 1, "availableReplicas": 1}
    assert unready(deployment(**ready), ALONE) is None
    assert unready(deployment(generation=2, **ready), ALONE) == Unready("0 of 1 ready")
    # A pod of the version before still runs.
    assert unready(deployment(replicas=2, updatedReplicas=1, availableReplicas=1), ALONE) == Unready("1 of 1 ready")


@pytest.mark.parametrize(
    ("status", "words"),
    [
        (
            {"containerStatuses": [{"state": {"waiting": {"reason": "ImagePullBackOff", "message": "Back-off: x"}}}]},
            "0 of 1 ready: ImagePullBackOff (Back-off: x)",
        ),
        (
            {"conditions": [{"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "0/1"}]},
            "0 of 1 ready: Unschedulable (0/1)",
        ),
        (
            {"containerStatuses": [{"state": {"terminated": {"reason": "OOMKilled"}}}]},
            "0 of 1 ready: OOMKilled",
        ),
        ({"containerStatuses": [{"state": {"running": {}}}]}, "0 of 1 ready"),
    ],
)
def test_what_keeps_its_pods(status: dict[str, Any], words: str) -> None:
    assert unready(deployment(replicas=1, updatedReplicas=1), Around(its_pods=[{"status": status}])) == Unready(words)


def test_a_definition() -> None:
    found: dict[str, Any] = {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {},
    }
    assert unready(found, ALONE) == Unready("not established yet")
    taken = {"type": "NamesAccepted", "status": "False", "message": "the plural is taken"}
    assert unready({**found, "status": {"conditions": [taken]}}, ALONE) == Unready("the plural is taken")
    established = {"type": "Established", "status": "True"}
    assert unready({**found, "status": {"conditions": [established]}}, ALONE) is None
