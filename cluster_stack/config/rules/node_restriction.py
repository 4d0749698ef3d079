"""What Kubernetes lets a worker say of itself.

A Talos worker puts labels, annotations and taints on its own Node, with the kubelet's right. The API server's admission
plugin NodeRestriction, which Talos always switches on, refuses the whole change where one label is of Kubernetes' own,
so that the other labels and the annotations are lost with it. Control planes do it with an administrator's right.

Source: ``getForbiddenLabels`` in plugin/pkg/admission/noderestriction/admission.go of Kubernetes v1.36.1, and
``node_apply.go`` of Talos v1.13.0. Taints, which a worker may set only as it joins, are ``plan.machine_config``'s.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from cluster_stack.config.document import Document, Path
from cluster_stack.config.models import ClusterConfig
from cluster_stack.config.models.topology import ControlPlane, NodeOverride
from cluster_stack.config.problems import Problem

ALLOWED_LABELS = {
    "beta.kubernetes.io/arch",
    "beta.kubernetes.io/instance-type",
    "beta.kubernetes.io/os",
    "failure-domain.beta.kubernetes.io/region",
    "failure-domain.beta.kubernetes.io/zone",
    "kubernetes.io/arch",
    "kubernetes.io/hostname",
    "kubernetes.io/os",
    "node.kubernetes.io/instance-type",
    "topology.kubernetes.io/region",
    "topology.kubernetes.io/zone",
}
ALLOWED_DOMAINS = ("kubelet.kubernetes.io", "node.kubernetes.io")
"""Kubernetes' own labels that a worker may have all the same."""

REFUSAL = (
    "Kubernetes lets no worker give itself this label, and refuses its other labels and annotations with it.",
    "Write a label of your own domain, such as example.com/tier, or remove it and run `kubectl label node`.",
)
"""What is wrong, what to do."""


def is_refused(label: str) -> bool:
    """Would Kubernetes refuse this label from a worker?"""
    domain, slash, _ = label.partition("/")
    if not slash or label in ALLOWED_LABELS or _is_of(domain, *ALLOWED_DOMAINS):
        return False
    return _is_of(domain, "kubernetes.io", "k8s.io")


def check(config: ClusterConfig, document: Document) -> Iterator[Problem]:
    topology = config.cluster.topology
    groups = [(path, group.labels) for path, group in config.groups() if not _is_control_plane(config, path, group)]
    if any(pool.count for pool in topology.pools[1:]):
        groups.insert(0, (("metadata",), config.metadata.labels))
    for path, labels in groups:
        for label in filter(is_refused, labels):
            yield document.problem((*path, "labels", label), *REFUSAL)


def _is_of(domain: str, *parents: str) -> bool:
    return any(domain == parent or domain.endswith(f".{parent}") for parent in parents)


def _is_control_plane(config: ClusterConfig, path: Path, group: object) -> bool:
    if isinstance(group, NodeOverride):
        return re.fullmatch(rf"{config.metadata.name}-cp\d+", str(path[-1])) is not None
    return isinstance(group, ControlPlane)
