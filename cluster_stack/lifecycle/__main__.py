"""The provider's program. The engine starts it with its own address, and reads the port from the first line."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from functools import cache
from typing import Any

from cluster_stack.lifecycle.engine import Engine
from cluster_stack.lifecycle.kubernetes.api import Kubeconfig, KubernetesApi
from cluster_stack.lifecycle.kubernetes.resource import KubernetesObject
from cluster_stack.lifecycle.names import KUBERNETES_OBJECT
from cluster_stack.lifecycle.resource import ResourceType
from cluster_stack.lifecycle.server import Provider, serve


def types_of(inputs: Mapping[str, Any]) -> Mapping[str, ResourceType]:
    """The resource types of a provider with these inputs."""

    @cache
    def api() -> KubernetesApi:
        return KubernetesApi(Kubeconfig.parse(str(inputs.get("kubeconfig", ""))))

    return {KUBERNETES_OBJECT: KubernetesObject(api)}


def main() -> None:
    address = next((word for word in sys.argv[1:] if not word.startswith("-")), "")
    server, port = serve(Provider(Engine(address), types_of))
    print(port, flush=True)
    server.wait_for_termination()


if __name__ == "__main__":
    main()
