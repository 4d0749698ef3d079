"""A timeline as an SVG image that needs nothing but itself, in a light and a dark version.

The place of everything follows from the data; the width of a text is estimated, on the safe side, because no font is
at hand. GitHub shows the image within a page of either colour, so it brings its own background.
"""

from __future__ import annotations

from xml.etree import ElementTree as ET

from tests.bench.steps import Step, Who
from tests.picture.timeline import Lane, Timeline

WIDTH = 900
MARGIN = 16
LABELS = 34
CHART_BEGIN, CHART_END = 272, 862
HEADER = 84
LANE_HEADING, ROW, LANE_PADDING, LANE_GAP = 28, 23, 7, 8
BAR, SHORTEST_BAR = 12, 3
FOOTER = 60
MOST_TICKS = 12

LEGEND: tuple[tuple[Who, str], ...] = (("pulumi", "Pulumi"), ("proxmox", "Proxmox"), ("talos", "Talos on the machine"))
NOTE = "A real run in the lab. Proxmox tasks are polled once a second; a rebooting machine is asked until it answers."

LIGHT = {
    "page": "#ffffff",
    "border": "#d1d9e0",
    "lane": "#f6f8fa",
    "grid": "#dfe4e9",
    "text": "#1f2328",
    "muted": "#59636e",
    "pulumi": "#8250df",
    "proxmox": "#d9730d",
    "talos": "#0f7b8a",
    "done": "#1a7f37",
}
DARK = {
    "page": "#0d1117",
    "border": "#3d444d",
    "lane": "#161b22",
    "grid": "#2a313a",
    "text": "#f0f6fc",
    "muted": "#9ea7b1",
    "pulumi": "#b083f0",
    "proxmox": "#f0953f",
    "talos": "#39b7c8",
    "done": "#3fb950",
}
SIZES = {"command": 17, "summary": 13, "heading": 13, "label": 13, "small": 12}
MONOSPACE = "ui-monospace,SFMono-Regular,Menlo,Consolas,'Liberation Mono',monospace"
SANS = "system-ui,-apple-system,'Segoe UI','Noto Sans',Helvetica,Arial,sans-serif"


def draw(timeline: Timeline) -> str:
    """The whole image, as the text of an SVG file."""
    latest = max(timeline.seconds, *(step.end for lane in timeline.lanes for step in lane.steps))
    height = HEADER + sum(_height(lane) + LANE_GAP for lane in timeline.lanes) + FOOTER
    root = ET.Element(
        "svg",
        {
            "xmlns": "http://www.w3.org/2000/svg",
            "viewBox": f"0 0 {WIDTH} {height}",
            "width": str(WIDTH),
            "height": str(height),
            "role": "img",
            "aria-labelledby": "title description",
        },
    )
    ET.SubElement(root, "title", {"id": "title"}).text = f"{timeline.command}: {timeline.summary}"
    ET.SubElement(root, "desc", {"id": "description"}).text = _in_words(timeline)
    ET.SubElement(root, "style").text = _style()
    _rectangle(root, "page", 0.5, 0.5, WIDTH - 1, height - 1, corner=8)
    _header(root, timeline)
    lanes = _Lanes(root, latest, height - FOOTER)
    for lane in timeline.lanes:
        lanes.background(lane)
    lanes.axis(timeline.seconds)
    for lane in timeline.lanes:
        lanes.steps(lane)
    _text(root, "small muted", MARGIN, height - 15, NOTE)
    ET.indent(root, space=" ")
    return ET.tostring(root, encoding="unicode") + "\n"


def text_width(words: str, size: float) -> float:
    """What a text takes at most, in any of the fonts: they differ, and none is here to ask."""
    return 0.6 * size * len(words)


def duration(seconds: float) -> str:
    return f"{seconds:.1f} s" if seconds >= 0.1 else f"{1000 * seconds:.0f} ms"


def _header(root: ET.Element, timeline: Timeline) -> None:
    _text(root, "command", MARGIN + 4, 33, f"$ {timeline.command}")
    _text(root, "summary muted", MARGIN + 4, 56, timeline.summary)
    x = float(CHART_END)
    for who, words in reversed(LEGEND):
        x -= text_width(words, SIZES["small"])
        _text(root, "small", x, 33, words)
        _rectangle(root, who, x - 18, 33 - 10, BAR, BAR, corner=3)
        x -= 18 + 14


class _Lanes:
    """Draws lanes below each other, in two passes: what is behind the grid, and what is before it."""

    def __init__(self, root: ET.Element, latest: float, bottom: float) -> None:
        self._root = root
        self._latest = latest
        self._bottom = bottom
        self._background_top = float(HEADER)
        self._top = float(HEADER)
        self._done = float("inf")

    def background(self, lane: Lane) -> None:
        _rectangle(self._root, "lane", MARGIN, self._background_top, WIDTH - 2 * MARGIN, _height(lane), corner=6)
        self._background_top += _height(lane) + LANE_GAP

    def axis(self, done: float) -> None:
        last = self._bottom - LANE_GAP
        every = next(step for step in (1, 2, 5, 10, 20, 30, 60, 120, 300, 600) if self._latest / step <= MOST_TICKS)
        for second in range(0, int(self._latest) + 1, every):
            x = self._x(second)
            _line(self._root, "grid", x, HEADER, x, last)
            _text(self._root, "small muted", x, last + 18, f"{second} s", anchor="middle")
        self._done = x = self._x(done)
        words = f"done after {done:.1f} s"
        _line(self._root, "done", x, HEADER - 6, x, last)
        right = min(x + text_width(words, SIZES["small"]) / 2, CHART_END)
        _text(self._root, "small doneText", right, HEADER - 11, words, anchor="end")

    def steps(self, lane: Lane) -> None:
        heading = _text(self._root, "heading", LABELS - 8, self._top + 19, f"{lane.title} ")
        ET.SubElement(heading, "tspan", {"class": "small subtitle", "dx": "4"}).text = lane.subtitle
        for row, step in enumerate(lane.steps):
            self._step(step, self._top + LANE_HEADING + row * ROW)
        self._top += _height(lane) + LANE_GAP

    def _step(self, step: Step, top: float) -> None:
        begin = self._x(step.begin)
        length = max(self._x(step.end) - begin, SHORTEST_BAR)
        baseline = top + ROW / 2 + 4.5
        _text(self._root, "label", LABELS, baseline, step.title)
        _rectangle(self._root, step.who, begin, top + (ROW - BAR) / 2, length, BAR, corner=min(3, length / 2))
        words = duration(step.seconds)
        after = begin + length + 6
        # Before the bar where after it there is the picture's edge, or the line that says when all is done.
        if after + text_width(words, SIZES["small"]) <= (self._done if after < self._done else WIDTH - MARGIN):
            _text(self._root, "small muted", after, baseline, words)
        else:
            _text(self._root, "small muted", begin - 6, baseline, words, anchor="end")

    def _x(self, seconds: float) -> float:
        return CHART_BEGIN + (CHART_END - CHART_BEGIN) * seconds / self._latest


def _height(lane: Lane) -> float:
    return LANE_HEADING + ROW * len(lane.steps) + LANE_PADDING


def _in_words(timeline: Timeline) -> str:
    lanes = (
        f"{lane.title} ({lane.subtitle}): "
        + ", ".join(f"{step.title} from {step.begin:.1f} to {step.end:.1f} s" for step in lane.steps)
        for lane in timeline.lanes
    )
    return f"A timeline. {'. '.join(lanes)}. {timeline.command} is done after {timeline.seconds:.1f} s."


def _style() -> str:
    sizes = "".join(f".{name}{{font-size:{size}px}}" for name, size in SIZES.items())
    fixed = (
        f"text{{font-family:{SANS}}}.command{{font-family:{MONOSPACE};font-weight:600}}.heading{{font-weight:600}}"
        ".subtitle{font-weight:400}.done{stroke-width:1.5;stroke-dasharray:4 3}.doneText{font-weight:600}"
    )
    return f"{fixed}{sizes}{_colours(LIGHT)}@media(prefers-color-scheme:dark){{{_colours(DARK)}}}"


def _colours(palette: dict[str, str]) -> str:
    bars = "".join(f".{who}{{fill:{palette[who]}}}" for who, _ in LEGEND)
    return (
        f"text{{fill:{palette['text']}}}text.muted,tspan{{fill:{palette['muted']}}}"
        f"text.doneText{{fill:{palette['done']}}}"
        f".page{{fill:{palette['page']};stroke:{palette['border']}}}.lane{{fill:{palette['lane']}}}"
        f".grid{{stroke:{palette['grid']}}}.done{{stroke:{palette['done']}}}{bars}"
    )


def _text(root: ET.Element, kind: str, x: float, y: float, words: str, anchor: str = "start") -> ET.Element:
    place = {"class": kind, "x": _n(x), "y": _n(y)}
    text = ET.SubElement(root, "text", place if anchor == "start" else {**place, "text-anchor": anchor})
    text.text = words
    return text


def _rectangle(root: ET.Element, kind: str, x: float, y: float, width: float, height: float, *, corner: float) -> None:
    place = {"x": _n(x), "y": _n(y), "width": _n(width), "height": _n(height), "rx": _n(corner)}
    ET.SubElement(root, "rect", {"class": kind, **place})


def _line(root: ET.Element, kind: str, x1: float, y1: float, x2: float, y2: float) -> None:
    ET.SubElement(root, "line", {"class": kind, "x1": _n(x1), "y1": _n(y1), "x2": _n(x2), "y2": _n(y2)})


def _n(number: float) -> str:
    return f"{number:.1f}".removesuffix(".0")
