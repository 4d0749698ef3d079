"""The mark by which a VM is known to belong to a cluster's state.

A name or a VM id proves nothing: two people may both have a ``homelab-cp1``. The mark is derived from the random id
that the engine gave the cluster's Proxmox provider, which is part of the stack's state.
"""

from __future__ import annotations

import hashlib
import re

from cluster_stack.config import ClusterConfig
from cluster_stack.plan.nodes import NodePlan

_MARK = re.compile(r"^cluster-stack:([0-9a-f]{32})$", re.MULTILINE)
_ROLE_WORDS = {"controlplane": "control plane", "worker": "worker"}


def fingerprint(state_id: str, node_name: str) -> str:
    """32 hex digits that do not tell ``state_id`` and that nobody without it can make."""
    return hashlib.sha256(f"{state_id}/{node_name}".encode()).hexdigest()[:32]


def vm_notes(config: ClusterConfig, node: NodePlan, state_id: str) -> str:
    """The notes (Proxmox: description) of a node's VM, with its mark on the last line."""
    name = config.metadata.name
    managed = (
        f"Talos {_ROLE_WORDS[node.role]} {node.name}, managed by Pulumi: "
        f"change clusters/{name}/cluster.yaml, not this VM."
    )
    # Proxmox keeps one way to end a line, and would show the others as a change for ever.
    description = "\n".join(config.metadata.description.strip().splitlines())
    lines = [description, managed, f"cluster-stack:{fingerprint(state_id, node.name)}"]
    return "\n".join(line for line in lines if line)


def marked(notes: str) -> str | None:
    """The fingerprint in a VM's notes, or None where there is none."""
    match = _MARK.search(notes)
    return match[1] if match else None
