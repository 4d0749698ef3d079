"""A cluster on the terminal: a table of its nodes, and a drawing of the hosts with their machines in them."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Iterator, Sequence
from itertools import zip_longest

from cluster_stack.plan.nodes import NodePlan
from cluster_stack.plan.quantities import gigabytes, megabytes
from cluster_stack.report.cluster import ClusterView, HostView, address, extras, role, size
from cluster_stack.report.terminal import Terminal, printable

_COLUMNS: tuple[tuple[str, Callable[[NodePlan], str]], ...] = (
    ("name", lambda node: node.name),
    ("role", role),
    ("VM id", lambda node: str(node.vm_id)),
    ("address", address),
    ("host", lambda node: node.host),
    ("cores", lambda node: f"{node.cores} x {node.sockets}" if node.sockets > 1 else str(node.cores)),
    ("memory", lambda node: megabytes(node.memory)),
    ("disk", lambda node: gigabytes(node.disk)),
    ("further", lambda node: ", ".join(extras(node))),
    ("schematic", lambda node: node.schematic.id[:8]),
)
_RIGHT = {"VM id", "cores", "memory", "disk"}
"""Numbers, which are compared by their ends."""

_BETWEEN = "  "

_LEAST_VALUE = 32
"""Columns that a fact wants beside its noun; with less it stands below."""


def draw(view: ClusterView, screen: Terminal) -> str:
    """The whole of it, no wider than the screen."""
    first, *rest = textwrap.wrap(f"{view.name}: {view.summary}", screen.width, break_on_hyphens=False)
    lines = [first.replace(view.name, screen.paint(view.name, "bold"), 1), *rest, "", *_facts(view, screen), ""]
    lines += _table(view.nodes, screen)
    for row in _rows(view.hosts, screen):
        lines += ["", *row]
    return "\n".join(line.rstrip() for line in lines)


def _facts(view: ClusterView, screen: Terminal) -> Iterator[str]:
    facts = [(noun, printable(value)) for noun, value in view.facts()]
    width = max(len(noun) for noun, _ in facts) + len(_BETWEEN)
    beside = screen.width - width >= _LEAST_VALUE
    indent = " " * width if beside else _BETWEEN
    for noun, value in facts:
        lines = textwrap.wrap(value, screen.width - len(indent), break_on_hyphens=False)
        if beside:
            yield screen.paint(noun.ljust(width), "dim") + lines.pop(0)
        else:
            yield screen.paint(noun, "dim")
        yield from (indent + line for line in lines)


def _table(nodes: Sequence[NodePlan], screen: Terminal) -> Iterator[str]:
    texts = {head: [read(node) for node in nodes] for head, read in _COLUMNS}
    shown = {head: column for head, column in texts.items() if any(column)}
    widths = {head: max(map(len, [head, *column])) for head, column in shown.items()}
    if sum(widths.values()) + len(_BETWEEN) * (len(widths) - 1) > screen.width:
        yield from _list(nodes, screen)
        return
    yield screen.paint(_BETWEEN.join(_aligned(head, head, widths[head]) for head in shown), "dim")
    for number, node in enumerate(nodes):
        row = [_aligned(head, column[number], widths[head]) for head, column in shown.items()]
        row[0] = screen.paint(row[0], "bold" if node.role == "controlplane" else "green")
        yield _BETWEEN.join(row)


def _aligned(head: str, text: str, width: int) -> str:
    return text.rjust(width) if head in _RIGHT else text.ljust(width)


def _list(nodes: Sequence[NodePlan], screen: Terminal) -> Iterator[str]:
    """The table for a screen that is too narrow for it."""
    for node in nodes:
        yield screen.paint(screen.cut(node.name, screen.width), "bold" if node.role == "controlplane" else "green")
        parts = [role(node), f"VM {node.vm_id} on {node.host}", address(node), size(node), *extras(node)]
        text = ", ".join([*parts, f"schematic {node.schematic.id[:8]}"])
        yield from textwrap.wrap(
            text, screen.width, initial_indent="  ", subsequent_indent="  ", break_on_hyphens=False
        )


def _rows(hosts: Sequence[HostView], screen: Terminal) -> Iterator[list[str]]:
    """Boxes beside each other as far as they fit."""
    row: list[list[str]] = []
    used = 0
    for host in hosts:
        box = _box(host, screen)
        width = len(box[0])
        if row and used + len(_BETWEEN) + width > screen.width:
            yield _beside(row)
            row, used = [], 0
        used += width + (len(_BETWEEN) if row else 0)
        row.append(box)
    yield _beside(row)


def _beside(boxes: Sequence[Sequence[str]]) -> list[str]:
    widths = [len(box[0]) for box in boxes]
    return [
        _BETWEEN.join(line.ljust(width) for line, width in zip(lines, widths, strict=True))
        for lines in zip_longest(*boxes, fillvalue="")
    ]


def _box(found: HostView, screen: Terminal) -> list[str]:
    """A host, all lines equally long."""
    top_left, flat, top_right, side, bottom_left, bottom_right, left, right = tuple(screen.lines)
    names = max((len(node.name) for node in found.nodes), default=0)
    ids = max((len(str(node.vm_id)) for node in found.nodes), default=0)
    machines = [f"{node.name.ljust(names)}  {node.vm_id:>{ids}}  {address(node)}" for node in found.nodes]
    if max(map(len, machines), default=0) > screen.width - 4:
        machines = [node.name for node in found.nodes]
    use = found.use() if found.nodes else ["none of its machines"]
    inner = min(max(map(len, [f"{found.host.name}  ", *use, *machines])), screen.width - 4)

    def line(text: str) -> str:
        return f"{side} {screen.cut(text, inner).ljust(inner)} {side}"

    title = screen.cut(found.host.name, inner - 2)
    return [
        f"{top_left}{flat} {title} {flat * (inner - len(title) - 1)}{top_right}",
        *map(line, use),
        *([f"{left}{flat * (inner + 2)}{right}"] if machines else []),
        *map(line, machines),
        f"{bottom_left}{flat * (inner + 2)}{bottom_right}",
    ]
