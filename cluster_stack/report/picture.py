"""A cluster as an SVG image that needs nothing but itself, in a light and a dark version.

The place of everything follows from the plan; the width of a text is estimated, on the safe side, because no font is at
hand. The image brings its own background, so that it can be read on a page of any colour.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from xml.etree import ElementTree as ET

from cluster_stack.plan.nodes import NodePlan
from cluster_stack.plan.quantities import gigabytes, megabytes
from cluster_stack.report.cluster import ROLES, ClusterView, HostView, address, extras, role
from cluster_stack.report.terminal import printable

WIDEST = 1280
"""Hosts go below each other where beside each other they would be wider."""
MARGIN, GAP, PADDING = 20, 14, 12
CARD_GAP = 8
MOST_CARDS = 8
"""In one column of a host."""
STRIPE = 6
BAR, BAR_LENGTH = 6, 60

SIZES = {"title": 20, "heading": 15, "name": 14, "text": 13, "small": 12}
FONT = "system-ui,-apple-system,'Segoe UI','Noto Sans',Helvetica,Arial,sans-serif"

LIGHT = {
    "page": "#ffffff",
    "host": "#f6f8fa",
    "card": "#ffffff",
    "border": "#d1d9e0",
    "text": "#1f2328",
    "muted": "#59636e",
    "track": "#dfe4e9",
    "controlplane": "#8250df",
    "worker": "#0f7b8a",
}
DARK = {
    "page": "#0d1117",
    "host": "#161b22",
    "card": "#0d1117",
    "border": "#3d444d",
    "text": "#f0f6fc",
    "muted": "#9ea7b1",
    "track": "#2a313a",
    "controlplane": "#b083f0",
    "worker": "#39b7c8",
}


def draw(view: ClusterView) -> str:
    """The whole image, as the text of an SVG file."""
    facts = _Facts(view)
    hosts = [_HostBox(host, _card_width(view.nodes)) for host in view.hosts]
    placed, bottom = _placed(hosts, MARGIN + facts.height + GAP)
    width = max(facts.width, *(left + host.width for host, left, _ in placed)) + MARGIN
    height = bottom + GAP + 30
    root = ET.Element(
        "svg",
        {
            "xmlns": "http://www.w3.org/2000/svg",
            "viewBox": f"0 0 {_n(width)} {_n(height)}",
            "width": _n(width),
            "height": _n(height),
            "role": "img",
            "aria-labelledby": "title description",
        },
    )
    ET.SubElement(root, "title", {"id": "title"}).text = f"{view.name}: {view.summary}"
    ET.SubElement(root, "desc", {"id": "description"}).text = printable(_in_words(view))
    ET.SubElement(root, "style").text = _style()
    _rectangle(root, "page", 0.5, 0.5, width - 1, height - 1, corner=8)
    facts.draw(root)
    for host, left, top in placed:
        host.draw(root, left, top)
    _legend(root, height - 16, bars=any(host.has_bars for host in hosts))
    ET.indent(root, space=" ")
    return ET.tostring(root, encoding="unicode") + "\n"


def text_width(words: str, size: float) -> float:
    """What a text takes at most, in any of the fonts: they differ, and none is here to ask."""
    return 0.62 * size * len(words)


class _Facts:
    """The name of the cluster and what there is to know of all of it."""

    def __init__(self, view: ClusterView) -> None:
        self._title = f"{view.name}: {view.summary}"
        self._facts = [(noun, printable(value)) for noun, value in view.facts()]
        self._nouns = max(text_width(noun, SIZES["text"]) for noun, _ in self._facts) + 12
        self.height = 34 + 20 * len(self._facts)
        values = max(text_width(value, SIZES["text"]) for _, value in self._facts)
        self.width = MARGIN + max(self._nouns + values, text_width(self._title, SIZES["title"]))

    def draw(self, root: ET.Element) -> None:
        _text(root, "title", MARGIN, MARGIN + 18, self._title)
        for number, (noun, value) in enumerate(self._facts):
            baseline = MARGIN + 46 + 20 * number
            _text(root, "text muted", MARGIN, baseline, noun)
            _text(root, "text", MARGIN + self._nouns, baseline, value)


@dataclass(frozen=True)
class _HostBox:
    found: HostView
    card_width: float

    @property
    def _columns(self) -> list[tuple[NodePlan, ...]]:
        """As few as there can be, all about equally long."""
        nodes = self.found.nodes
        columns = -(-len(nodes) // MOST_CARDS)
        length = -(-len(nodes) // max(1, columns))
        return [nodes[first : first + length] for first in range(0, len(nodes), max(1, length))]

    @property
    def _head(self) -> float:
        return PADDING + 20 + 19 * len(self._use) + 4

    @property
    def _use(self) -> list[tuple[str, float | None]]:
        """What is used of the host, and the part of it where the file says what there is."""
        host = self.found.host
        parts = [
            None,
            self.found.memory / host.memory if host.memory else None,
            self.found.disk / host.disk if host.disk else None,
        ]
        return list(zip(self.found.use(), parts, strict=True)) if self.found.nodes else [("no machine here", None)]

    @property
    def has_bars(self) -> bool:
        return any(part is not None for _, part in self._use)

    @property
    def width(self) -> float:
        cards = max(1, len(self._columns)) * (self.card_width + CARD_GAP) - CARD_GAP
        figures = (
            text_width(words, SIZES["text"]) + (0 if part is None else GAP + BAR_LENGTH) for words, part in self._use
        )
        return 2 * PADDING + max(cards, text_width(self.found.host.name, SIZES["heading"]), *figures)

    @property
    def height(self) -> float:
        columns = [sum(_card_height(node) + CARD_GAP for node in column) for column in self._columns]
        return self._head + max(columns, default=0) + PADDING - (CARD_GAP if columns else 0)

    def draw(self, root: ET.Element, left: float, top: float) -> None:
        _rectangle(root, "host", left, top, self.width, self.height, corner=8)
        _text(root, "heading", left + PADDING, top + PADDING + 13, self.found.host.name)
        for number, (words, part) in enumerate(self._use):
            baseline = top + PADDING + 34 + 19 * number
            _text(root, "text muted", left + PADDING, baseline, words)
            if part is not None:
                self._bar(root, left, baseline - 8, part)
        for number, column in enumerate(self._columns):
            y = top + self._head
            for node in column:
                _card(root, node, left + PADDING + number * (self.card_width + CARD_GAP), y, self.card_width)
                y += _card_height(node) + CARD_GAP

    def _bar(self, root: ET.Element, left: float, top: float, part: float) -> None:
        x = left + self.width - PADDING - BAR_LENGTH
        _rectangle(root, "track", x, top, BAR_LENGTH, BAR, corner=BAR / 2)
        _rectangle(root, "used", x, top, max(BAR, BAR_LENGTH * min(part, 1)), BAR, corner=BAR / 2)


def _placed(hosts: Sequence[_HostBox], top: float) -> tuple[list[tuple[_HostBox, float, float]], float]:
    """Each host with its left and its top, row by row; and where the last row ends."""
    placed: list[tuple[_HostBox, float, float]] = []
    left, bottom = float(MARGIN), top
    for host in hosts:
        if left > MARGIN and left + host.width > WIDEST - MARGIN:
            left, top = float(MARGIN), bottom + GAP
        placed.append((host, left, top))
        left += host.width + GAP
        bottom = max(bottom, top + host.height)
    return placed, bottom


def _card_lines(node: NodePlan) -> list[str]:
    size = f"{node.cpus} cores, {megabytes(node.memory)}, {gigabytes(node.disk)} disk"
    return [f"VM {node.vm_id}, {address(node)}", size, *extras(node)]


def _card_height(node: NodePlan) -> float:
    return 46 + 17 * len(_card_lines(node))


def _card_width(nodes: Sequence[NodePlan]) -> float:
    """All cards are as wide as the widest; a host's figures and their bars fit above them."""
    texts = [(node.name, "name") for node in nodes]
    texts += [(line, "small") for node in nodes for line in (role(node), *_card_lines(node))]
    widest = max(text_width(words, SIZES[size]) for words, size in texts)
    return max(270.0, STRIPE + 2 * 10 + widest)


def _card(root: ET.Element, node: NodePlan, left: float, top: float, width: float) -> None:
    height = _card_height(node)
    group = ET.SubElement(root, "g")
    ET.SubElement(group, "title").text = printable(f"{node.name}, {role(node)}, schematic {node.schematic.id}")
    _rectangle(group, "card", left, top, width, height, corner=5)
    _rectangle(group, node.role, left, top, STRIPE, height, corner=3)
    x = left + STRIPE + 10
    _text(group, "name", x, top + 20, node.name)
    _text(group, f"small role {node.role}Text", x, top + 37, role(node))
    for number, line in enumerate(_card_lines(node)):
        _text(group, "small", x, top + 54 + 17 * number, line)


def _legend(root: ET.Element, baseline: float, *, bars: bool) -> None:
    x = float(MARGIN)
    entries: list[tuple[str, str]] = [*ROLES.items()]
    if bars:
        entries.append(("used", "used by this cluster"))
    for kind, words in entries:
        _rectangle(root, kind, x, baseline - 10, 12, 12, corner=3)
        _text(root, "small muted", x + 18, baseline, words)
        x += 18 + text_width(words, SIZES["small"]) + 16


def _in_words(view: ClusterView) -> str:
    return " ".join(_sentences(view))


def _sentences(view: ClusterView) -> Iterator[str]:
    for noun, value in view.facts():
        yield f"{noun}: {value}."
    for found in view.hosts:
        machines = ", ".join(f"{node.name} ({role(node)}, VM {node.vm_id}, {address(node)})" for node in found.nodes)
        yield f"Proxmox host {found.host.name}: {machines or 'no machine'}."


def _style() -> str:
    sizes = "".join(f".{name}{{font-size:{size}px}}" for name, size in SIZES.items())
    fixed = f"text{{font-family:{FONT}}}.title,.heading,.name{{font-weight:600}}.role{{font-weight:600}}"
    return f"{fixed}{sizes}{_colours(LIGHT)}@media(prefers-color-scheme:dark){{{_colours(DARK)}}}"


def _colours(palette: dict[str, str]) -> str:
    boxes = "".join(f".{kind}{{fill:{palette[kind]};stroke:{palette['border']}}}" for kind in ("page", "host", "card"))
    roles = "".join(
        f".{kind}{{fill:{palette[kind]}}}text.{kind}Text{{fill:{palette[kind]}}}" for kind in ("controlplane", "worker")
    )
    return (
        f"text{{fill:{palette['text']}}}text.muted{{fill:{palette['muted']}}}"
        f"{boxes}{roles}.track{{fill:{palette['track']}}}.used{{fill:{palette['muted']}}}"
    )


def _text(root: ET.Element, kind: str, x: float, y: float, words: str) -> None:
    ET.SubElement(root, "text", {"class": kind, "x": _n(x), "y": _n(y)}).text = words


def _rectangle(root: ET.Element, kind: str, x: float, y: float, width: float, height: float, *, corner: float) -> None:
    place = {"x": _n(x), "y": _n(y), "width": _n(width), "height": _n(height), "rx": _n(corner)}
    ET.SubElement(root, "rect", {"class": kind, **place})


def _n(number: float) -> str:
    return f"{number:.1f}".removesuffix(".0")
