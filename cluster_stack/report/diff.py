"""`diff`: what an edit of cluster.yaml would do, in words."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from cluster_stack.changed import cluster_at
from cluster_stack.config import ConfigError, load_text
from cluster_stack.config.load import FILE_NAME
from cluster_stack.plan import cilium, user_patches
from cluster_stack.plan.changes import KINDS, Changes, Kind, NodeChange, Reason, Snapshot, changes
from cluster_stack.plan.nodes import plan_nodes
from cluster_stack.plan.upgrades import NEW, Previous
from cluster_stack.plan.versions import minor
from cluster_stack.project import Project
from cluster_stack.report.terminal import Colour, Terminal, printable


@dataclass(frozen=True)
class Diff:
    name: str
    base: str
    """The revision that the file was compared with."""
    changes: Changes
    removed: bool
    """The cluster is not in the working copy any more."""


def diff(root: Path, name: str, base: str) -> Diff:
    """Compare cluster.yaml in the working copy with itself at the revision ``base``.

    Raises ConfigError where one of the two has problems, or neither is there; GitError where git cannot tell.
    """
    old = snapshot_at(root, base, name)
    project = Project(root)
    if old is not None and name not in project.names:
        return Diff(name, base, changes(old, None), True)
    # The version contract stays what it was; the old file's version is the best guess without the state.
    planned = project.plan(name, Previous(contract=old.contract) if old else NEW)
    new = Snapshot(config=planned.file.config, nodes=planned.nodes, patches=planned.patches)
    return Diff(name, base, changes(old, new), False)


def snapshot_at(root: Path, revision: str, name: str) -> Snapshot | None:
    """The cluster as it was at a revision, with the files of patches of that revision; None where there was none.

    Raises ConfigError, with git's own name for the file (``HEAD:clusters/homelab/cluster.yaml``), and GitError.
    """
    files = cluster_at(root, revision, name)
    if not files:
        return None
    path = f"clusters/{name}/{FILE_NAME}"
    file = load_text(files[path], f"{revision}:{path}")
    try:
        nodes = plan_nodes(file.config)
    except ValueError as error:
        raise ConfigError([file.problem("cluster.talos.schematic", str(error), "")]) from None
    with TemporaryDirectory() as folder:
        for place, content in files.items():
            (Path(folder) / place).parent.mkdir(parents=True, exist_ok=True)
            (Path(folder) / place).write_bytes(content)
        read = user_patches.read(file, nodes, Path(folder), minor(file.config.cluster.talos.version))
        # The component is that of the working copy: what is compared is the cluster's own folder.
        pod_network = cilium.read(file, root, Path(folder) / "clusters" / name)
    if problems := (*read.problems, *pod_network.problems):
        raise ConfigError(problems)
    return Snapshot(config=file.config, nodes=nodes, patches=cilium.add_to(read.texts, nodes, pod_network.cilium))


def as_json(found: Diff) -> str:
    """One JSON document::

        {"name": "homelab",
         "base": "HEAD",                              the revision that was compared with
         "ok": true,                                  nothing is refused
         "keys": ["proxmox.vm.cpuType"],              of cluster.yaml, whose values differ
         "reasons": [                                 for the cluster as a whole
           {"kind": "warning", "text": "the Kubernetes API is away while homelab-cp1 restarts"}],
         "nodes": [
           {"name": "homelab-cp1",
            "role": "controlplane",                   or "worker"
            "kind": "restarted",                      that of the gravest reason; "unchanged" without any
            "reasons": [{"kind": "restarted", "text": "CPU type host to x86-64-v3"}]}]}

    The kinds and their meanings are ``cluster_stack.plan.changes.KINDS``.
    """
    edit = found.changes
    nodes = [
        {"name": node.name, "role": node.role, "kind": node.kind, "reasons": _listed(node.reasons)}
        for node in edit.nodes
    ]
    document = {
        "name": found.name,
        "base": found.base,
        "ok": not edit.refused,
        "keys": list(edit.keys),
        "reasons": _listed(edit.cluster),
        "nodes": nodes,
    }
    return json.dumps(document, indent=2)


def _listed(reasons: Sequence[Reason]) -> list[dict[str, str]]:
    return [{"kind": reason.kind, "text": reason.text} for reason in reasons]


_COLOURS: dict[Kind, Colour] = {
    "refused": "red",
    "warning": "yellow",
    "replaced": "red",
    "removed": "red",
    "created": "green",
    "restarted": "yellow",
    "moved": "blue",
    "upgrade": "blue",
    "unchanged": "dim",
}


def as_text(found: Diff, screen: Terminal) -> str:
    """For people: the cluster as a whole, then nodes with the same changes together, gravest first."""
    edit = found.changes
    lines = [screen.paint(f"{found.name}, compared with {found.base}", "bold")]
    if edit.keys:
        lines += _wrapped(f"edited: {', '.join(edit.keys)}", screen, "  ")
    for reason in edit.cluster:
        lines += ["", *_titled(reason.kind, reason.text, screen)]
    for kind in KINDS:
        for reasons, nodes in _alike(edit.nodes, kind):
            lines += ["", *_titled(kind, ", ".join(node.name for node in nodes), screen)]
            for reason in reasons:
                text = reason.text if reason.kind == kind else f"{reason.kind}: {reason.text}"
                lines += _wrapped(text, screen, "  ")
    lines += ["", *_sum(found, screen)]
    return "\n".join(lines)


def _alike(nodes: Sequence[NodeChange], kind: Kind) -> Iterator[tuple[tuple[Reason, ...], list[NodeChange]]]:
    groups: dict[tuple[Reason, ...], list[NodeChange]] = {}
    for node in nodes:
        if node.kind == kind:
            groups.setdefault(node.reasons, []).append(node)
    yield from groups.items()


def _titled(kind: Kind, text: str, screen: Terminal) -> list[str]:
    first, *rest = _wrapped(f"{kind}  {text}", screen, "", "  ")
    colour = _COLOURS.get(kind)
    return [screen.paint(kind, colour) + first[len(kind) :] if colour else first, *rest]


def _wrapped(text: str, screen: Terminal, indent: str, hanging: str | None = None) -> list[str]:
    return textwrap.wrap(
        printable(text),
        screen.width,
        initial_indent=indent,
        subsequent_indent=indent if hanging is None else hanging,
        break_long_words=False,
        break_on_hyphens=False,
    )


def _sum(found: Diff, screen: Terminal) -> list[str]:
    """How many nodes there are of each kind, and what the kind means."""
    counts = found.changes.counts
    if found.removed:
        stay = f"no update removes its machines: they stay until `pulumi destroy -s {found.name}`."
        return _wrapped(f"clusters/{found.name} is gone, and {stay}", screen, "")
    if not set(counts) - {"unchanged"}:
        return ["No machine changes by it." if found.changes.keys else "Nothing changes."]
    width = max(map(len, counts)) + 2
    digits = len(str(max(counts.values())))
    indent = " " * (digits + 2 + width)
    lines: list[str] = []
    for kind, count in counts.items():
        lines += _wrapped(f"{count:>{digits}}  {kind.ljust(width)}{KINDS[kind]}", screen, "", indent)
    return lines
