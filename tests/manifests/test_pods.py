"""What pods ask for, wherever in an object a pod stands."""

from __future__ import annotations

from typing import Any

import pytest

from cluster_stack.manifests.building import Object, Source
from cluster_stack.manifests.pods import Wanted, images, wanted
from cluster_stack.manifests.references import Cluster, mistakes


def pod(volumes: list[dict[str, Any]], **container: Any) -> dict[str, Any]:
    return {"containers": [{"name": "main", "image": "main:1.0.0", **container}], "volumes": volumes}


def in_a_deployment(spec: dict[str, Any]) -> dict[str, Any]:
    return {"kind": "Deployment", "spec": {"template": {"spec": spec}}}


PLACE = ("spec", "template", "spec")


@pytest.mark.parametrize(
    ("spec", "found"),
    [
        (
            pod([], env=[{"name": "A", "valueFrom": {"configMapKeyRef": {"name": "settings", "key": "a"}}}]),
            [(("containers", 0, "env", 0, "valueFrom", "configMapKeyRef"), "ConfigMap", "settings", "a")],
        ),
        (
            pod([], env=[{"name": "A", "value": "b"}], envFrom=[{"secretRef": {"name": "token"}}]),
            [(("containers", 0, "envFrom", 0, "secretRef"), "Secret", "token", "")],
        ),
        (
            pod([{"name": "all", "configMap": {"name": "settings"}}]),
            [(("volumes", 0, "configMap"), "ConfigMap", "settings", "")],
        ),
        (
            pod([{"name": "some", "secret": {"secretName": "token", "items": [{"key": "a", "path": "b"}]}}]),
            [(("volumes", 0, "secret"), "Secret", "token", "a")],
        ),
        (
            pod([{"name": "mixed", "projected": {"sources": [{"secret": {"name": "token"}}]}}]),
            [(("volumes", 0, "projected", "sources", 0, "secret"), "Secret", "token", "")],
        ),
        (pod([{"name": "maybe", "configMap": {"name": "settings", "optional": True}}]), []),
        (pod([{"name": "none", "emptyDir": {}}]), []),
    ],
    ids=["variable", "all variables", "volume", "some keys", "projected", "optional", "nothing"],
)
def test_what_a_pod_cannot_start_without(spec: dict[str, Any], found: list[Any]) -> None:
    assert list(wanted(in_a_deployment(spec))) == [Wanted((*PLACE, *path), *rest) for path, *rest in found]


def test_the_images_of_all_containers() -> None:
    spec = pod([]) | {"initContainers": [{"name": "first", "image": "first:2.0.0"}]}
    assert list(images(in_a_deployment(spec))) == [
        ((*PLACE, "containers", 0, "image"), "main:1.0.0"),
        ((*PLACE, "initContainers", 0, "image"), "first:2.0.0"),
    ]


def said(volume: dict[str, Any]) -> list[str]:
    """What is said of a pod with one volume, beside a ConfigMap and a Secret that each have the key `a`."""
    metadata = {"name": "one", "namespace": "default"}
    given = [
        {"apiVersion": "v1", "kind": kind, "metadata": metadata, "data": {"a": ""}} for kind in ("ConfigMap", "Secret")
    ]
    manifest = {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": pod([{"name": "v", **volume}])}
    found = Object(manifest, Source("", "", ()))
    return [mistake.what for mistake in mistakes(found, Cluster([], given))]


@pytest.mark.parametrize(
    ("volume", "says"),
    [
        ({"configMap": {"name": "one", "items": [{"key": "a", "path": "a"}]}}, []),
        ({"configMap": {"name": "one", "items": [{"key": "b", "path": "a"}]}}, ["the ConfigMap one has no key b."]),
        ({"configMap": {"name": "other"}}, ["there is no ConfigMap other in default."]),
        ({"secret": {"secretName": "one", "items": [{"key": "b", "path": "a"}]}}, ["the Secret one has no key b."]),
        ({"secret": {"secretName": "made-in-the-cluster"}}, []),
        ({"configMap": {"name": "kube-root-ca.crt", "items": [{"key": "ca.crt", "path": "ca.crt"}]}}, []),
    ],
)
def test_keys_of_what_is_there(volume: dict[str, Any], says: list[str]) -> None:
    assert said(volume) == says
