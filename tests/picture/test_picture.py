"""The picture from a short recording: the steps that it shows, and that they are drawn where they can be read."""

from __future__ import annotations

from itertools import pairwise
from xml.etree import ElementTree as ET

import pytest

from tests.bench.recording import API_RUNS, Event, Line, Machine, Recording, Request
from tests.bench.steps import UpSteps, steps_of
from tests.bench.waits import longest_chain
from tests.picture.drawing import SIZES, draw, text_width
from tests.picture.timeline import timeline_of

SVG = "{http://www.w3.org/2000/svg}"
BEGAN = 1000.0
NODE = "/nodes/ms01"


def _resource(name: str, begin: float, end: float, *, planning: bool = False) -> list[Event]:
    return [
        Event(BEGAN + begin, "begin", name, planning),
        Event(BEGAN + end, "end", name, planning),
    ]


def _machine_requests(vmid: int, begin: float) -> list[Request]:
    vm = f"{NODE}/qemu/{vmid}"
    return [
        Request(BEGAN + begin, "POST", f"{NODE}/qemu", 200, creates=vmid),
        Request(BEGAN + begin + 0.1, "GET", f"{NODE}/tasks/UPID:ms01:1:1:1:qmcreate:{vmid}:x:/status", 200),
        Request(BEGAN + begin + 1.1, "GET", f"{NODE}/tasks/UPID:ms01:1:1:1:qmcreate:{vmid}:x:/status", 200),
        Request(BEGAN + begin + 1.2, "POST", f"{vm}/status/start", 200),
        Request(BEGAN + begin + 2.2, "GET", f"{NODE}/tasks/UPID:ms01:1:1:1:qmstart:{vmid}:x:/status", 200),
        Request(BEGAN + begin + 2.3, "GET", f"{vm}/agent/network-get-interfaces", 500),
        Request(BEGAN + begin + 3.3, "GET", f"{vm}/agent/network-get-interfaces", 200),
    ]


def _machine(name: str, vmid: int, *, boots: float, back: float) -> Machine:
    return Machine(name, vmid, (Line(BEGAN + boots, "Talos booting"), Line(BEGAN + back, f"{API_RUNS}: Started")))


@pytest.fixture
def steps() -> UpSteps:
    events = [
        *_resource("homelab-secrets", 1.5, 1.6, planning=True),
        Event(BEGAN + 2, "previewed", "", planning=True),
        *_resource("homelab-secrets", 3, 3.5),
        *_resource("homelab-cp1-config", 7.0, 7.04),
        *_resource("homelab-worker1-config", 7.0, 7.05),
        *_resource("homelab-bootstrap", 7.1, 10.1),
        *_resource("homelab-kubeconfig", 10.2, 10.22),
    ]
    machines = (
        _machine("homelab-cp1", 800, boots=5.5, back=8.5),
        _machine("homelab-worker1", 810, boots=5.5, back=11.5),
    )
    requests = (*_machine_requests(800, 3.6), *_machine_requests(810, 3.7))
    return steps_of(Recording(BEGAN, BEGAN + 10.8, tuple(events), requests, machines), "homelab")


def test_steps_are_what_the_logs_say(steps: UpSteps) -> None:
    assert steps.preview is not None
    first = steps.machines[0]
    found = [
        steps.preview,
        steps.begin,
        steps.secrets,
        first.create,
        first.power_on,
        first.boot,
        first.configure,
        first.install,
        steps.bootstrap,
        steps.kubeconfig,
    ]
    assert [(round(step.begin, 2), round(step.end, 2)) for step in found] == [
        (0, 2),
        (2, 3),
        (3, 3.5),
        (3.6, 4.7),
        (4.8, 5.8),
        (5.5, 6.9),
        (7, 7.04),
        (7.04, 8.5),
        (7.1, 10.1),
        (10.2, 10.22),
    ]


def test_the_chain_counts_no_moment_twice(steps: UpSteps) -> None:
    chain = longest_chain(steps)
    assert {name for name, _ in chain} == {"homelab-cp1"}
    assert all(before.end <= after.begin for (_, before), (_, after) in pairwise(chain))
    # create, power on, what of the boot comes after it, configuration, install, bootstrap, kubeconfig
    assert [round(link.seconds, 2) for _, link in chain] == [1.1, 1.0, 1.1, 0.04, 1.46, 1.6, 0.02]


def test_everything_is_named(steps: UpSteps) -> None:
    root = ET.fromstring(draw(timeline_of(steps, "homelab")))
    words = {_words(text) for text in root.iter(f"{SVG}text")}
    assert {
        "$ pulumi up -s homelab",
        "homelab-cp1 control plane, VM 800",
        "homelab-worker1 worker, VM 810",
        "make the machine secrets",
        "create the VM",
        "power on",
        "boot the ISO, report the address",
        "apply the machine configuration",
        "install to disk, reboot",
        "install to disk, reboot, join",
        "bootstrap etcd",
        "fetch the kubeconfig",
        "done after 10.8 s",
        "20 ms",
    } <= words
    assert root.find(f"{SVG}title") is not None
    description = root.findtext(f"{SVG}desc") or ""
    assert "bootstrap etcd from 7.1 to 10.1 s" in description


def test_all_of_it_can_be_seen(steps: UpSteps) -> None:
    text = draw(timeline_of(steps, "homelab"))
    root = ET.fromstring(text)
    _, _, width, height = map(float, root.attrib["viewBox"].split())
    boxes = [_box(element) for element in root.iter() if element.tag in (f"{SVG}text", f"{SVG}rect", f"{SVG}line")]
    assert len(boxes) > 40
    for words, left, top, right, bottom in boxes:
        assert 0 <= left <= right <= width, words
        assert 0 <= top <= bottom <= height, words
    assert len(text.encode()) < 40_000


def test_no_words_lie_over_others_or_over_the_last_line(steps: UpSteps) -> None:
    root = ET.fromstring(draw(timeline_of(steps, "homelab")))
    texts = [_box(element) for element in root.iter(f"{SVG}text")]
    for number, one in enumerate(texts):
        for other in texts[number + 1 :]:
            assert not _overlap(one, other), f"{one[0]} / {other[0]}"
    done = next(_box(line) for line in root.iter(f"{SVG}line") if line.attrib["class"] == "done")
    assert [text[0] for text in texts if _overlap(text, done)] == []


Box = tuple[str, float, float, float, float]


def _box(element: ET.Element) -> Box:
    """What an element covers: left, top, right, bottom."""
    at = {name: float(value) for name, value in element.items() if name not in ("class", "text-anchor")}
    if element.tag == f"{SVG}rect":
        return "a bar", at["x"], at["y"], at["x"] + at["width"], at["y"] + at["height"]
    if element.tag == f"{SVG}line":
        return "a line", at["x1"], at["y1"], at["x2"], at["y2"]
    words = _words(element)
    size = max(SIZES[kind] for kind in element.attrib["class"].split() if kind in SIZES)
    width = text_width(words, size)
    before = {"start": 0.0, "middle": 0.5, "end": 1.0}[element.get("text-anchor", "start")]
    left = at["x"] - before * width
    return words, left, at["y"] - size, left + width, at["y"] + 0.3 * size


def _words(text: ET.Element) -> str:
    return " ".join("".join(text.itertext()).split())


def _overlap(one: Box, other: Box) -> bool:
    return one[1] < other[3] and other[1] < one[3] and one[2] < other[4] and other[2] < one[4]
