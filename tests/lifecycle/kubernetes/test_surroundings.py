"""What is found beside an object."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from cluster_stack.lifecycle.kubernetes.api import Kubeconfig, KubernetesApi
from cluster_stack.lifecycle.kubernetes.surroundings import SurroundingsAtServer
from tests.lifecycle.kubernetes.server import ApiServer

pytestmark = pytest.mark.servers

REPOSITORIES = "/apis/source.toolkit.fluxcd.io/v1/namespaces/flux-system/gitrepositories"
DEPLOYMENTS = "/apis/apps/v1/namespaces/flux-system/deployments"
INSTANCE = {"metadata": {"name": "flux", "namespace": "flux-system"}, "spec": {"sync": {"kind": "GitRepository"}}}


@pytest.fixture
def server() -> Iterator[ApiServer]:
    with ApiServer() as made:
        yield made


def surroundings(server: ApiServer) -> SurroundingsAtServer:
    return SurroundingsAtServer(KubernetesApi(Kubeconfig.parse(server.kubeconfig())))


def test_the_parts_of_a_flux_instance_say_what_they_are(server: ApiServer) -> None:
    server.objects[DEPLOYMENTS] = {"items": [{"metadata": {"name": "source-controller"}}]}
    server.objects[REPOSITORIES] = {"items": [{"metadata": {"name": "flux-system"}}]}
    # This server knows no Kustomization, as one does not before Flux is there.
    assert [(part["kind"], part["metadata"]["name"]) for part in surroundings(server).parts(INSTANCE)] == [
        ("Deployment", "source-controller"),
        ("GitRepository", "flux-system"),
    ]
    asked = [target for _, target in server.asked if "labelSelector" in target]
    selector = "?labelSelector=fluxcd.controlplane.io%2Fname%3Dflux"
    assert asked == [DEPLOYMENTS + selector, REPOSITORIES + selector]


def test_what_the_server_does_not_tell_is_left_out(server: ApiServer) -> None:
    server.answers = [(403, {"message": "no"})] * 3
    assert list(surroundings(server).parts(INSTANCE)) == []
