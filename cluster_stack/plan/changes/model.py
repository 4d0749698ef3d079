"""What there is to say of an edit: kinds of changes, and the reasons for them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from cluster_stack.config import ClusterConfig
from cluster_stack.plan.nodes import NodePlan, Role
from cluster_stack.plan.versions import kubernetes_version

Kind = Literal[
    "refused",
    "warning",
    "replaced",
    "removed",
    "created",
    "restarted",
    "moved",
    "upgrade",
    "changed",
    "configured",
    "kept",
    "unchanged",
]

KINDS: Mapping[Kind, str] = {
    "refused": "the update stops at it",
    "warning": "what to know, or to do, before the update",
    "replaced": "removed and made anew; its disks are lost",
    "removed": "its disks are lost",
    "created": "a new machine",
    "restarted": "off and on again",
    "moved": "to another Proxmox host, while it runs",
    "upgrade": "by hand; the update only changes the installer image in its configuration",
    "changed": "the virtual machine is changed while it runs",
    "configured": "the machine configuration is changed while it runs",
    "kept": "decided when a machine is made: this one keeps what it has",
    "unchanged": "nothing happens to it",
}
"""Every kind of change and what it means, gravest first."""

GRAVITY: Mapping[Kind, int] = {kind: number for number, kind in enumerate(KINDS)}
"""A smaller number is graver."""


@dataclass(frozen=True, kw_only=True)
class Snapshot:
    """A cluster as one version of its file has it."""

    config: ClusterConfig
    nodes: tuple[NodePlan, ...]
    """Control planes first."""
    patches: Mapping[str, tuple[str, ...]]
    """Name of a node -> patches of its machine configuration, as the Talos provider takes them: the pod network's, then
    the user's."""

    @property
    def contract(self) -> str:
        """The version contract, if the cluster was made with this very Talos version; only the state knows better."""
        return self.config.cluster.talos.version

    def kubernetes(self, contract: str) -> str:
        """The Kubernetes version, without a ``v``, of a cluster with this version contract."""
        return self.config.cluster.kubernetes.version or kubernetes_version(contract)


@dataclass(frozen=True)
class Reason:
    """One consequence of the edit."""

    kind: Kind
    text: str
    """What changes, in words. Never a value of a machine configuration: it may be a secret."""


@dataclass(frozen=True)
class NodeChange:
    """What happens to one node."""

    name: str
    role: Role
    reasons: tuple[Reason, ...]
    """Gravest first."""

    @property
    def kind(self) -> Kind:
        """The kind of the gravest reason."""
        return self.reasons[0].kind if self.reasons else "unchanged"

    def has(self, *kinds: Kind) -> bool:
        return any(reason.kind in kinds for reason in self.reasons)


@dataclass(frozen=True)
class Changes:
    """What an edit does: to the cluster as a whole, and to each node (those that go come last)."""

    cluster: tuple[Reason, ...]
    nodes: tuple[NodeChange, ...]
    keys: tuple[str, ...]
    """The keys of cluster.yaml whose values differ, dotted; empty for a cluster that comes or goes."""

    @property
    def refused(self) -> bool:
        """Does the update stop at something?"""
        return any(reason.kind == "refused" for reason in self.cluster) or any(
            node.has("refused") for node in self.nodes
        )

    @property
    def counts(self) -> dict[Kind, int]:
        """How many nodes there are of each kind, gravest first."""
        found = Counter(node.kind for node in self.nodes)
        return {kind: found[kind] for kind in KINDS if found[kind]}
