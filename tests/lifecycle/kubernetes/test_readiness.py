"""What an object waits for, in words."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import pytest

from cluster_stack.lifecycle.kubernetes.readiness import Unready, unready

FLUX = "fluxcd.controlplane.io/v1"


def no_pods(_: Mapping[str, Any]) -> Iterable[Mapping[str, Any]]:
    return ()


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
    assert unready({"apiVersion": "v1", "kind": "Secret", "metadata": {}}, no_pods) is None


def test_a_flux_instance() -> None:
    assert unready(flux(), no_pods) == Unready("flux-operator has not looked at it yet")
    assert unready(flux(Ready=("True", "ReconciliationSucceeded", "done")), no_pods) is None
    old = flux(Ready=("True", "ReconciliationSucceeded", "done"), seen=1)
    assert unready(old, no_pods) == Unready("flux-operator has not looked at it yet")
    failed = flux(Ready=("False", "ReconciliationFailed", "timeout\nof  GitRepository"))
    assert unready(failed, no_pods) == Unready("ReconciliationFailed (timeout of GitRepository)")


def test_what_its_controller_has_given_up_is_not_waited_for() -> None:
    reason = ("False", "BuildFailed", "no version")
    assert unready(flux(Ready=reason, Stalled=("True", "BuildFailed", "no version")), no_pods) == Unready(
        "BuildFailed (no version)", hopeless=True
    )


@pytest.mark.parametrize(("kind", "waits"), [("ResourceSet", False), ("FluxInstance", True)])
def test_a_resource_set_may_wait_for_the_instance_that_comes_next(kind: str, waits: bool) -> None:
    found = unready(flux(kind, Ready=("False", "DependencyNotReady", "not found")), no_pods)
    assert (found is not None) == waits


def test_a_deployment() -> None:
    ready = {"replicas": 1, "updatedReplicas": 1, "availableReplicas": 1}
    assert unready(deployment(**ready), no_pods) is None
    assert unready(deployment(generation=2, **ready), no_pods) == Unready("0 of 1 ready")
    # A pod of the version before still runs.
    assert unready(deployment(replicas=2, updatedReplicas=1, availableReplicas=1), no_pods) == Unready("1 of 1 ready")


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
    assert unready(deployment(replicas=1, updatedReplicas=1), lambda _: [{"status": status}]) == Unready(words)


def test_a_definition() -> None:
    found: dict[str, Any] = {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {},
    }
    assert unready(found, no_pods) == Unready("not established yet")
    taken = {"type": "NamesAccepted", "status": "False", "message": "the plural is taken"}
    assert unready({**found, "status": {"conditions": [taken]}}, no_pods) == Unready("the plural is taken")
    established = {"type": "Established", "status": "True"}
    assert unready({**found, "status": {"conditions": [established]}}, no_pods) is None
