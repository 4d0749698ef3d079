"""What an edit does to the cluster as a whole: its versions, its quorum, and what to do before the update."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from cluster_stack.plan import installed, quorum
from cluster_stack.plan.changes.differences import listed
from cluster_stack.plan.changes.images import installer
from cluster_stack.plan.changes.model import NodeChange, Reason, Snapshot
from cluster_stack.plan.versions import Product, upgrade_problem


def reasons(old: Snapshot, new: Snapshot, nodes: Sequence[NodeChange]) -> Iterator[Reason]:
    """``nodes`` are the changes of every node, those that go included."""
    refusals = list(_refusals(old, new))
    yield from refusals
    yield from _kubernetes(old, new)
    yield from _etcd(nodes)
    yield from _workers(nodes)
    if not refusals and any(node.has("upgrade") for node in nodes):
        for image in dict.fromkeys(installer(new.config, node) for node in new.nodes):
            yield Reason("upgrade", f"one node after another: `talosctl upgrade --nodes <node> --image {image}`")


def _refusals(old: Snapshot, new: Snapshot) -> Iterator[Reason]:
    ways: tuple[tuple[Product, str, str], ...] = (
        ("talos", old.config.cluster.talos.version, new.config.cluster.talos.version),
        ("kubernetes", old.kubernetes(old.contract), new.kubernetes(old.contract)),
    )
    for product, before, after in ways:
        if refusal := upgrade_problem(product, before, after):
            yield Reason("refused", f"{refusal.what} {refusal.fix}")
    for _, refusal in installed.refusals(installed.installation(old.config), new.config):
        yield Reason("refused", f"{refusal.what} {refusal.fix}")


def _kubernetes(old: Snapshot, new: Snapshot) -> Iterator[Reason]:
    before, after = old.kubernetes(old.contract), new.kubernetes(old.contract)
    if before != after:
        yield Reason(
            "warning",
            f"Kubernetes {before} to {after} reaches all nodes at the same time. To go from node to node, run "
            f"`talosctl upgrade-k8s --to {after}` before the update.",
        )


def _etcd(nodes: Sequence[NodeChange]) -> Iterator[Reason]:
    """What becomes of etcd, whose members are the control planes that there were."""
    members = [node for node in nodes if node.role == "controlplane" and not node.has("created")]
    lost = [node.name for node in members if node.has("removed", "replaced")]
    restarted = [node.name for node in members if node.has("restarted")]
    majority, left = len(members) // 2 + 1, len(members) - len(lost)
    if lost:
        what, before = quorum.loss([node.name for node in members], lost)
        yield Reason("warning", f"quorum: {what} {before}".rstrip())
    if restarted and len(members) == 1:
        yield Reason("warning", f"the Kubernetes API is away while {restarted[0]} restarts")
    elif restarted and left - len(restarted) < majority <= left:
        yield Reason(
            "warning",
            f"quorum: {listed(restarted)} restart in one update, several at a time, and with less than {majority} of "
            f"{len(members)} members etcd stops. Change one at a time, in cluster.topology.nodes, or run "
            "`pulumi up --parallel 1`.",
        )


def _workers(nodes: Sequence[NodeChange]) -> Iterator[Reason]:
    restarted = [node.name for node in nodes if node.role == "worker" and node.has("restarted")]
    if restarted:
        at_once = ", several at a time" if len(restarted) > 1 else ""
        yield Reason("warning", f"nothing drains {listed(restarted)} before the restart{at_once}")
