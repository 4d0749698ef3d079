"""What the API of a version takes, and the sentences about what it does not."""

from __future__ import annotations

from typing import Any

import pytest

from cluster_stack.manifests.schemas import FLUX, KUBERNETES, Api, Mistake


def kubernetes(minor: int) -> Api:
    return Api(KUBERNETES, "Kubernetes", minor, "1.")


def pod(**spec: Any) -> dict[str, Any]:
    container = {"name": "main", "image": "main:1.0.0"}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "one", "namespace": "default"},
        "spec": {"containers": [container], **spec},
    }


@pytest.mark.parametrize("minor", range(29, 38))
def test_a_pod_is_one_everywhere(minor: int) -> None:
    assert kubernetes(minor).mistakes("v1 Pod", pod(hostNetwork=True)) == []


def test_a_key_that_came_later() -> None:
    resources = {"limits": {"cpu": "1"}}
    assert kubernetes(36).mistakes("v1 Pod", pod(resources=resources)) == []
    (mistake,) = kubernetes(31).mistakes("v1 Pod", pod(resources=resources))
    assert mistake == Mistake(
        ("spec", "resources"), "it comes with Kubernetes 1.32, and this is Kubernetes 1.31.", "Remove it."
    )


def test_a_version_of_an_api_that_went() -> None:
    schema: dict[str, Any] = {
        "apiVersion": "flowcontrol.apiserver.k8s.io/v1beta3",
        "kind": "FlowSchema",
        "metadata": {},
    }
    kind = "flowcontrol.apiserver.k8s.io/v1beta3 FlowSchema"
    assert kubernetes(30).mistakes(kind, schema) == []
    (mistake,) = kubernetes(34).mistakes(kind, schema)
    assert mistake.what == f"{kind}: the last that had it was Kubernetes 1.31, and this is Kubernetes 1.34."
    assert mistake.fix == "Write flowcontrol.apiserver.k8s.io/v1."


@pytest.mark.parametrize(
    ("spec", "mistake"),
    [
        ({"hostNetwrk": True}, Mistake(("spec", "hostNetwrk"), "there is no such key.", "Did you mean hostNetwork?")),
        (
            {"hostNetwork": "yes"},
            Mistake(("spec", "hostNetwork"), "'yes' is not true or false.", "Write true or false."),
        ),
        ({"containers": [{}]}, Mistake(("spec", "containers", 0), "the key name is missing.", "Write it.")),
        ({"tolerations": {}}, Mistake(("spec", "tolerations"), "a mapping is not a list.", "Write a list.")),
    ],
)
def test_a_mistake_in_words(spec: dict[str, Any], mistake: Mistake) -> None:
    assert kubernetes(34).mistakes("v1 Pod", pod(**spec)) == [mistake]


def test_the_status_is_nobodys_to_write() -> None:
    (mistake,) = kubernetes(34).mistakes("v1 Pod", {**pod(), "status": {}})
    assert mistake.path == ("status",)


def test_what_is_of_a_namespace_and_what_is_not() -> None:
    api = kubernetes(34)
    names = ("v1 Pod", "v1 Namespace", "apps/v1 Deployment", "rbac.authorization.k8s.io/v1 ClusterRole", "v1 Secret")
    assert {name: api.namespaced(name) for name in names} == {
        "v1 Pod": True,
        "v1 Namespace": False,
        "apps/v1 Deployment": True,
        "rbac.authorization.k8s.io/v1 ClusterRole": False,
        "v1 Secret": True,
    }


def test_a_word_of_one_flux_is_no_word_of_another() -> None:
    release = {
        "apiVersion": "helm.toolkit.fluxcd.io/v2",
        "kind": "HelmRelease",
        "metadata": {"name": "one", "namespace": "one"},
        "spec": {"interval": "1h", "postRenderStrategy": "combined"},
    }
    kind = "helm.toolkit.fluxcd.io/v2 HelmRelease"
    assert Api(FLUX, "Flux", 9, "2.").mistakes(kind, release) == []
    (mistake,) = Api(FLUX, "Flux", 7, "2.").mistakes(kind, release)
    assert mistake.what == "it comes with Flux 2.9, and this is Flux 2.7."
