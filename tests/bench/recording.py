"""Records one real `pulumi up`: what the engine, Proxmox and the machines' consoles said, each with its time.

Owns the reading of those three; what it means is in ``tests.bench.steps``. All times are seconds of the wall clock: the
lab runs on the same one.
"""

from __future__ import annotations

import json
import os
import re
import select
import subprocess
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

from tests.bench import stopwatch
from tests.engine.site import Site

CONSOLE_LINE = re.compile(r"\[(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6})\d*Z\]: \[talos\] (.*)")
API_RUNS = "service[apid](Running)"
LOOK_AGAIN_SECONDS = 0.05
ALL_UP_WITHIN_SECONDS = 30.0


@dataclass(frozen=True)
class Event:
    """The engine begins with a resource or is done with it, or is done with the whole preview."""

    time: float
    kind: Literal["begin", "end", "previewed"]
    resource: str
    planning: bool


@dataclass(frozen=True)
class Request:
    """A request that Proxmox answered."""

    time: float
    method: str
    path: str
    status: int
    creates: int | None = None
    """The id of the VM that it creates."""


@dataclass(frozen=True)
class Line:
    """A line on a machine's serial console."""

    time: float
    text: str


@dataclass(frozen=True)
class Machine:
    name: str
    vmid: int
    console: tuple[Line, ...]

    @property
    def is_control_plane(self) -> bool:
        return re.fullmatch(r".*-cp\d+", self.name) is not None


@dataclass(frozen=True)
class Recording:
    began: float
    ended: float
    events: tuple[Event, ...]
    requests: tuple[Request, ...]
    machines: tuple[Machine, ...]
    """Those that the update made, in the order of their VM ids."""


def record_up(site: Site, cluster: str, *options: str) -> Recording:
    """Run `pulumi up` for a cluster whose stack exists, and wait until every new machine's API is up."""
    seen = len(site.requests())
    times, log = site.folder / "times.json", site.folder / "events"
    os.mkfifo(log)
    # The engine takes --event-log only with its debugging commands switched on; the Automation API does the same.
    up = ("env", "PULUMI_DEBUG_COMMANDS=true", "pulumi", "up", "--yes", "--non-interactive", "-s", cluster, *options)
    # Its output goes to a file: nobody would empty a pipe while the events are read.
    printed = site.folder / "up.txt"
    shell = ("sh", "-c", 'exec "$@" > "$0" 2>&1', str(printed))
    process = site.begin(*shell, *stopwatch.command(times, *up, "--event-log", str(log)))
    try:
        events = tuple(_events(log, process))
    finally:
        log.unlink()
    if process.returncode != 0:
        raise RuntimeError(f"pulumi up -s {cluster}: exit code {process.returncode}\n{printed.read_text()}")
    began, finished = stopwatch.read(times)
    requests = tuple(_request(entry) for entry in site.requests()[seen:])
    names = {guest["vmid"]: guest["name"] for guest in site.control.status()["guests"]}
    made = {vmid: names[vmid] for vmid in sorted(request.creates for request in requests if request.creates)}
    return Recording(began, finished, events, requests, _machines(site, made))


def _events(pipe: Path, process: subprocess.Popen[str]) -> Iterator[Event]:
    """The events that arrive until the process ends, each with the time of its arrival.

    The engine's own times are whole seconds; and it begins its log anew when the preview is done and the update starts,
    so from a file the last events of the preview would get lost.
    """
    unfinished = b""
    # Open for writing too: else the pipe would end whenever the engine lets go of it.
    reader = os.open(pipe, os.O_RDWR | os.O_NONBLOCK)
    try:
        while True:
            ended = process.poll() is not None
            while select.select([reader], [], [], LOOK_AGAIN_SECONDS)[0]:
                *lines, unfinished = (unfinished + os.read(reader, 1 << 16)).split(b"\n")
                now = time.time()
                for line in lines:
                    if event := _event(now, json.loads(line)):
                        yield event
            if ended:
                return
    finally:
        os.close(reader)


def _event(now: float, entry: Mapping[str, Any]) -> Event | None:
    if (summary := entry.get("summaryEvent")) and summary["isPreview"]:
        return Event(now, "previewed", "", planning=True)
    begun = entry.get("resourcePreEvent")
    found = begun or entry.get("resOutputsEvent")
    if not found:
        return None
    name = found["metadata"]["urn"].rsplit("::", 1)[1]
    return Event(now, "begin" if begun else "end", name, planning=found.get("planning", False))


def _request(entry: Mapping[str, Any]) -> Request:
    creates = entry["method"] == "POST" and entry["path"].endswith("/qemu")
    vmid = int(entry["parameters"]["vmid"]) if creates else None
    return Request(entry["time"], entry["method"], entry["path"], entry["status"], vmid)


def _machines(site: Site, names: Mapping[int, str]) -> tuple[Machine, ...]:
    consoles = {vmid: site.lab.vms / str(vmid) / "console.log" for vmid in names}
    deadline = time.monotonic() + ALL_UP_WITHIN_SECONDS
    while not all(API_RUNS in console.read_text() for console in consoles.values()):
        if time.monotonic() > deadline:
            raise RuntimeError(f"not every machine's API came up within {ALL_UP_WITHIN_SECONDS:.0f} s")
        time.sleep(0.1)
    return tuple(Machine(names[vmid], vmid, tuple(_lines(console))) for vmid, console in consoles.items())


def _lines(console: Path) -> Iterator[Line]:
    for line in console.read_text().splitlines():
        if found := CONSOLE_LINE.search(line):
            yield Line(datetime.fromisoformat(found[1] + "+00:00").timestamp(), found[2])
