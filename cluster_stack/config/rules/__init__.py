"""What several values of one cluster.yaml must be together. Each rule names the key to change.

What follows only from the planned nodes (ids, addresses, capacities) is checked in ``cluster_stack.plan.checks``.
"""

from __future__ import annotations

from collections.abc import Iterator

from cluster_stack.config.document import Document
from cluster_stack.config.models import ClusterConfig
from cluster_stack.config.problems import Problem
from cluster_stack.config.rules import images, machines, network, node_restriction, operations


def check(config: ClusterConfig, document: Document) -> Iterator[Problem]:
    """Yield every broken rule."""
    yield from _name(config, document)
    yield from _description(config, document)
    for room in (images, machines, network, node_restriction, operations):
        yield from room.check(config, document)


def _name(config: ClusterConfig, document: Document) -> Iterator[Problem]:
    parts = document.name.split("/")
    folder = parts[-2] if len(parts) > 1 else ""
    if folder and folder != config.metadata.name:
        yield document.problem(
            ("metadata", "name"),
            f"the cluster is called {config.metadata.name!r}, its folder {folder!r}.",
            f"Write `name: {folder}`, or rename the folder: a cluster, its folder and its stack have one name.",
        )


LONGEST_DESCRIPTION = 7000
"""Bytes. A VM's notes have 8192 at most in Proxmox, and this program adds lines of its own."""


def _description(config: ClusterConfig, document: Document) -> Iterator[Problem]:
    size = len(config.metadata.description.encode())
    if size > LONGEST_DESCRIPTION:
        what = f"{size} bytes are more than a VM's notes hold."
        yield document.problem(("metadata", "description"), what, f"Write {LONGEST_DESCRIPTION} or less.")
