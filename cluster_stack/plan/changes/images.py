"""Another Talos version or schematic, which an installed machine has only when somebody upgrades it."""

from __future__ import annotations

from collections.abc import Iterator

from cluster_stack.config import ClusterConfig
from cluster_stack.plan.changes.model import Reason
from cluster_stack.plan.images import installer_image
from cluster_stack.plan.nodes import NodePlan, NodeSchematic


def installer(config: ClusterConfig, node: NodePlan) -> str:
    """The image that upgrades a node to what the file asks for."""
    talos = config.cluster.talos
    return installer_image(
        talos.image_factory.registry_url,
        node.schematic.id,
        talos.version,
        platform=config.platform,
        secureboot=talos.secureboot,
    )


def edited(old: ClusterConfig, before: NodePlan, new: ClusterConfig, after: NodePlan) -> Iterator[Reason]:
    versions = old.cluster.talos.version, new.cluster.talos.version
    if versions[0] != versions[1]:
        yield Reason("upgrade", f"Talos {versions[0]} to {versions[1]}")
    if before.schematic.id != after.schematic.id:
        yield Reason("upgrade", _schematics(before.schematic, after.schematic))


def _schematics(before: NodeSchematic, after: NodeSchematic) -> str:
    text = f"schematic {before.id[:8]} to {after.id[:8]}"
    if before.extensions is None or after.extensions is None:
        return text
    gained = [f"with {name}" for name in after.extensions if name not in before.extensions]
    lost = [f"without {name}" for name in before.extensions if name not in after.extensions]
    return ", ".join([text, *gained, *lost])
