"""Where the Kubernetes API of a cluster answers."""

from __future__ import annotations

from collections.abc import Sequence

from cluster_stack.config import ClusterConfig
from cluster_stack.plan.machine_config import API_PORT
from cluster_stack.plan.nodes import NodePlan


def api_endpoint(config: ClusterConfig, nodes: Sequence[NodePlan]) -> str | None:
    """What cluster.yaml names, else the shared address, else that of the first control plane, as a URL.

    None where only DHCP knows that address.
    """
    kubernetes = config.cluster.kubernetes
    if kubernetes.endpoint is not None:
        return kubernetes.endpoint
    if kubernetes.vip is not None:
        return f"https://{kubernetes.vip}:{API_PORT}"
    first = first_control_plane(nodes)
    return f"https://{first.address.interface.ip}:{API_PORT}" if first.address else None


def first_control_plane(nodes: Sequence[NodePlan]) -> NodePlan:
    """The one on which etcd begins."""
    return next(node for node in nodes if node.role == "controlplane")
