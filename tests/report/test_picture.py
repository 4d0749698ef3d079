"""The picture of a cluster: what is in it, and that all of it can be seen and read."""

from __future__ import annotations

import re
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from cluster_stack.report.picture import DARK, LIGHT, SIZES, draw, text_width
from tests.report.sites import RICH, view

SVG = "{http://www.w3.org/2000/svg}"


def _words(root: ET.Element) -> list[str]:
    return [text.text or "" for text in root.iter(f"{SVG}text")]


def test_everything_is_named(tmp_path: Path) -> None:
    root = ET.fromstring(draw(view(tmp_path)))
    assert {
        "prod: 3 control planes, 3 workers, VM ids 900 to 950",
        "https://10.0.0.50:6443",
        "10.0.0.50, which one of the control planes has",
        "pve1",
        "4 virtual cores on 32 threads",
        "8 GB of 128 GB memory",
        "prod-cp1",
        "control plane",
        "VM 900, 10.0.0.51",
        "prod-worker2",
        "8 cores, 16 GB, 100 GB disk",
        "scsi1 200 GB (data)",
        "worker (gpu)",
        "rtx4090",
        "used by this cluster",
    } <= set(_words(root))


def test_it_can_be_read_aloud(tmp_path: Path) -> None:
    root = ET.fromstring(draw(view(tmp_path)))
    named = {element.attrib["id"]: element for element in root.iter() if "id" in element.attrib}
    title, description = (named[name].text or "" for name in root.attrib["aria-labelledby"].split())
    assert root.attrib["role"] == "img"
    assert title == "prod: 3 control planes, 3 workers, VM ids 900 to 950"
    assert "Proxmox host pve4: prod-worker2 (worker, VM 911, 10.0.0.61)." in description


def test_the_same_cluster_is_the_same_picture(tmp_path: Path) -> None:
    assert draw(view(tmp_path / "here")) == draw(view(tmp_path / "there"))


@pytest.mark.parametrize("workers", [0, 2, 36])
def test_all_of_it_can_be_seen(tmp_path: Path, workers: int) -> None:
    text = RICH.replace("count: 2\n", f"count: {workers}\n").replace("memory: 65536}]", "memory: 1048576}]")
    text = text.replace("10.0.0.60-10.0.0.79", "10.0.0.100-10.0.0.199").replace("idBase: 950", "idBase: 990")
    text = (
        text.replace("131072", "1048576").replace("disk: 2000}", "disk: 131072}").replace("pve2", "a-host-" * 6 + "b")
    )
    root = ET.fromstring(draw(view(tmp_path, text)))
    _, _, width, height = map(float, root.attrib["viewBox"].split())
    texts = [_box(element) for element in root.iter(f"{SVG}text")]
    boxes = [*texts, *(_box(element) for element in root.iter(f"{SVG}rect"))]
    for words, left, top, right, bottom in boxes:
        assert 0 <= left < right <= width, words
        assert 0 <= top < bottom <= height, words
    for number, one in enumerate(texts):
        for other in texts[number + 1 :]:
            assert not _overlap(one, other), f"{one[0]} / {other[0]}"
    for kind in ("card", "track"):
        for box in (_box(element) for element in root.iter(f"{SVG}rect") if element.attrib["class"] == kind):
            for one in texts:
                assert not _overlap(one, box) or _inside(one, box), f"{one[0]} over the edge of a {kind}"


def test_bars_only_where_the_file_says_what_there_is(tmp_path: Path) -> None:
    def bars(text: str) -> list[float]:
        root = ET.fromstring(draw(view(tmp_path, text)))
        return [float(box.attrib["width"]) for box in root.iter(f"{SVG}rect") if box.attrib["class"] == "used"]

    assert len(bars(RICH)) == 3 + 1  # memory and disk of pve1, memory of pve4, the legend
    nothing_said = re.sub(r"^  nodes: \[\{.*$", "  nodes: [pve1, pve2, pve3, pve4]", RICH, flags=re.MULTILINE)
    assert bars(nothing_said) == []


def test_names_cannot_break_the_picture(tmp_path: Path) -> None:
    text = RICH.replace("vip: 10.0.0.50", 'endpoint: "https://api.example:6443/<a>&\\e"')
    words = _words(ET.fromstring(draw(view(tmp_path, text))))
    assert "https://api.example:6443/<a>&?" in words


def test_it_is_drawn_for_light_and_dark_pages(tmp_path: Path) -> None:
    style = ET.fromstring(draw(view(tmp_path))).findtext(f"{SVG}style") or ""
    light, _, dark = style.partition("@media(prefers-color-scheme:dark)")
    assert LIGHT.keys() == DARK.keys()
    assert all(colour in light for colour in LIGHT.values())
    assert all(colour in dark for colour in DARK.values())


@pytest.mark.parametrize("palette", [LIGHT, DARK])
@pytest.mark.parametrize("ink", ["text", "muted", "controlplane", "worker"])
def test_text_stands_out(palette: dict[str, str], ink: str) -> None:
    """WCAG 2.2, 1.4.3: a contrast of 4.5 at least."""
    for ground in ("page", "host", "card"):
        assert _contrast(palette[ink], palette[ground]) >= 4.5


def _contrast(one: str, other: str) -> float:
    dark, light = sorted((_luminance(one), _luminance(other)))
    return (light + 0.05) / (dark + 0.05)


def _luminance(colour: str) -> float:
    parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    red, green, blue = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


Box = tuple[str, float, float, float, float]


def _box(element: ET.Element) -> Box:
    """What an element covers: left, top, right, bottom."""
    at = {name: float(value) for name, value in element.items() if name != "class"}
    if element.tag == f"{SVG}rect":
        return element.attrib["class"], at["x"], at["y"], at["x"] + at["width"], at["y"] + at["height"]
    words = element.text or ""
    size = max(SIZES[kind] for kind in element.attrib["class"].split() if kind in SIZES)
    return words, at["x"], at["y"] - 0.75 * size, at["x"] + text_width(words, size), at["y"] + 0.25 * size


def _overlap(one: Box, other: Box) -> bool:
    return one[1] < other[3] and other[1] < one[3] and one[2] < other[4] and other[2] < one[4]


def _inside(one: Box, other: Box) -> bool:
    return other[1] <= one[1] and one[3] <= other[3] and other[2] <= one[2] and one[4] <= other[4]
