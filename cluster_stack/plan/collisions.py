"""Do the clusters of one project stand in each other's way?"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from cluster_stack.config import ClusterFile, Problem
from cluster_stack.plan.nodes import plan_nodes


def vm_id_collisions(name: str, files: Mapping[str, ClusterFile]) -> Iterator[Problem]:
    """Problems of cluster ``name`` with the VM ids of the others in ``files`` (name -> file) on the same Proxmox."""
    mine = files[name]
    ids = {node.vm_id: node.name for node in plan_nodes(mine.config)}
    for other_name, other in sorted(files.items()):
        if other_name == name or other.config.proxmox.endpoint != mine.config.proxmox.endpoint:
            continue
        shared = sorted(ids.keys() & {node.vm_id for node in plan_nodes(other.config)})
        if shared:
            others = {node.vm_id: node.name for node in plan_nodes(other.config)}
            yield mine.problem(
                "proxmox.vm.idBase",
                f"VM id {shared[0]} would be both {ids[shared[0]]} and {others[shared[0]]} (clusters/{other_name}).",
                f"Write an idBase that leaves room: {other_name} has {min(others)} to {max(others)}.",
            )
