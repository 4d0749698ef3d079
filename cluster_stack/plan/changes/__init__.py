"""What an edit of cluster.yaml does to each machine, told from the file before and after it.

Owns the judgement: which change makes a machine anew, restarts it, moves it, or only changes its configuration. Asks
nobody, and so does not know what there really is: neither drift nor a change of the program itself is seen.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from cluster_stack.config.document import dotted
from cluster_stack.plan.changes import clusters, configurations, images, machines
from cluster_stack.plan.changes.differences import differing
from cluster_stack.plan.changes.model import GRAVITY, KINDS, Changes, Kind, NodeChange, Reason, Snapshot
from cluster_stack.plan.nodes import NodePlan

__all__ = ["KINDS", "Changes", "Kind", "NodeChange", "Reason", "Snapshot", "changes"]


def changes(old: Snapshot | None, new: Snapshot | None) -> Changes:
    """What the way from ``old`` to ``new`` does; None for a cluster that is not there yet, or not any more."""
    if old is None or new is None:
        created = [_change(node, machines.created(node)) for node in (new.nodes if new else ())]
        removed = [_change(node, [machines.removed(node)]) for node in (old.nodes if old else ())]
        return Changes((), (*created, *removed), ())
    before = {node.name: node for node in old.nodes}
    ids = {node.vm_id: node.name for node in old.nodes}
    remaining = {node.name for node in new.nodes}
    nodes = [
        _change(node, _edited(old, new, before[node.name], node, ids))
        if node.name in before
        else _change(node, machines.created(node, ids))
        for node in new.nodes
    ]
    nodes += [_change(node, [machines.taken_out(node)]) for node in old.nodes if node.name not in remaining]
    paths = differing(old.config.model_dump(by_alias=True), new.config.model_dump(by_alias=True))
    return Changes(tuple(clusters.reasons(old, new, nodes)), tuple(nodes), tuple(map(dotted, paths)))


def _change(node: NodePlan, reasons: Iterable[Reason]) -> NodeChange:
    return NodeChange(node.name, node.role, tuple(sorted(reasons, key=lambda reason: GRAVITY[reason.kind])))


def _edited(
    old: Snapshot, new: Snapshot, before: NodePlan, after: NodePlan, ids: Mapping[int, str]
) -> Iterator[Reason]:
    if before.vm_id != after.vm_id:
        yield from machines.replaced(before, after, ids)
        return
    yield from machines.edited(old.config, before, new.config, after)
    yield from images.edited(old.config, before, new.config, after)
    yield from configurations.edited(old, new, before, after)
