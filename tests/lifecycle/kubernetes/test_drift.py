"""Of a live object, what was declared: defaults and the work of controllers are no drift, changes are."""

from __future__ import annotations

from typing import Any

import pytest

from cluster_stack.lifecycle.kubernetes.drift import as_found

DECLARED: dict[str, Any] = {
    "spec": {
        "replicas": 1,
        "template": {
            "spec": {
                "containers": [{"name": "manager", "image": "flux:1", "ports": [{"containerPort": 80, "name": "http"}]}]
            }
        },
    }
}


def live(**changes: Any) -> dict[str, Any]:
    """What a server makes of it: defaults everywhere, and a container that an admission controller added."""
    container = {
        "name": "manager",
        "image": "flux:1",
        "imagePullPolicy": "IfNotPresent",
        "ports": [{"containerPort": 80, "name": "http", "protocol": "TCP"}],
    } | changes
    return {
        "metadata": {"uid": "1"},
        "spec": {
            "replicas": 1,
            "paused": False,
            "template": {"spec": {"restartPolicy": "Always", "containers": [{"name": "sidecar"}, container]}},
        },
        "status": {"replicas": 1},
    }


def test_what_others_added_is_no_drift() -> None:
    assert as_found(DECLARED, live(), live()) == DECLARED


def test_a_changed_field_is() -> None:
    found = as_found(DECLARED, live(image="flux:2"), live())
    assert found["spec"]["template"]["spec"]["containers"] == [
        {"name": "manager", "image": "flux:2", "ports": [{"containerPort": 80, "name": "http"}]}
    ]


def test_what_the_server_writes_otherwise_is_not() -> None:
    declared, there = {"cpu": "2000m", "memory": "1Gi"}, {"cpu": "2", "memory": "2Gi"}
    assert as_found(declared, there, {"cpu": "2", "memory": "1Gi"}) == {"cpu": "2000m", "memory": "2Gi"}


@pytest.mark.parametrize(
    ("declared", "there", "found"),
    [
        ({"data": {"a": "1", "b": "2"}}, {"data": {"a": "1"}}, {"data": {"a": "1"}}),
        ({"args": ["-a", "-b"]}, {"args": ["-a", "-c"]}, {"args": ["-a", "-c"]}),
        ({"args": ["-a"]}, {"args": ["-a", "-b"]}, {"args": ["-a", "-b"]}),
        ({"rules": [{"verbs": ["get"]}]}, {"rules": [{"verbs": ["get"], "x": 1}]}, {"rules": [{"verbs": ["get"]}]}),
        ({"env": [{"name": "A"}]}, {"env": []}, {"env": []}),
        ({"spec": {"a": 1}}, {"spec": None}, {"spec": None}),
    ],
)
def test_what_is_gone_or_other(declared: Any, there: Any, found: Any) -> None:
    assert as_found(declared, there, declared) == found
