"""What becomes of etcd when control planes go: they are its members until they leave, and it needs a majority."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from cluster_stack.config import ClusterFile, Problem
from cluster_stack.plan.nodes import NodePlan


def loss(members: Sequence[str], lost: Sequence[str]) -> tuple[str, str]:
    """What it means that ``lost`` of the control planes ``members`` go, and what to do first (empty: nothing helps)."""
    majority, left = len(members) // 2 + 1, len(members) - len(lost)
    if not left:
        return "no member of etcd is left, and with the last one everything that Kubernetes knows is lost", ""
    leave = f"Before the update, one after another: `talosctl etcd leave` on {', '.join(lost)}."
    if left < majority:
        return f"{left} of {len(members)} members of etcd stay, and with less than {majority} it stops.", leave
    return f"etcd goes on with {left} of {len(members)} members, and counts the others until they leave.", leave


def warnings(file: ClusterFile, nodes: Sequence[NodePlan], before: Sequence[str]) -> Iterator[Problem]:
    """``before`` are the names of the control planes that the cluster had after its last update."""
    after = {node.name for node in nodes if node.role == "controlplane"}
    if lost := [name for name in before if name not in after]:
        yield file.problem("cluster.topology.controlPlane.count", *loss(before, lost))
