"""Proxmox's worker tasks: a call that takes time answers with a UPID at once, and the work goes on behind it.

Owns UPIDs, task states and task logs, each task in a file of its own. A task that the daemon did not live to end is
found ended without a status afterwards, as on a host that lost power.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import os
import time
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from lab.directory import read_json, write_json
from lab.faults.ledger import Ledger
from lab.proxmox.errors import ApiError, failure

KEPT = 500

log = logging.getLogger(__name__)


@dataclass
class Task:
    upid: str
    node: str
    pid: int
    pstart: int
    starttime: int
    type: str
    id: str
    user: str
    exitstatus: str | None = None
    endtime: int | None = None
    lines: list[str] = field(default_factory=list)

    def log(self, line: str) -> None:
        self.lines.append(line)

    def warn(self, line: str) -> None:
        self.lines.append(f"WARN: {line}")

    @property
    def running(self) -> bool:
        return self.exitstatus is None

    def status(self) -> dict[str, Any]:
        """`GET .../tasks/{upid}/status`."""
        user, _, token = self.user.partition("!")
        answer: dict[str, Any] = {
            "upid": self.upid,
            "node": self.node,
            "pid": self.pid,
            "pstart": self.pstart,
            "starttime": self.starttime,
            "type": self.type,
            "id": self.id,
            "user": user,
            "status": "running" if self.running else "stopped",
        }
        if token:
            answer["tokenid"] = token
        if self.exitstatus is not None:
            answer["exitstatus"] = self.exitstatus
        return answer

    def summary(self) -> dict[str, Any]:
        """One entry of `GET .../tasks`."""
        entry = {key: value for key, value in self.status().items() if key not in ("status", "exitstatus")}
        entry["user"] = self.user
        if self.exitstatus is not None:
            entry |= {"status": self.exitstatus, "endtime": self.endtime}
        return entry


Worker = Callable[[Task], Awaitable[None]]


class Tasks:
    def __init__(self, folder: Path, seconds: Callable[[], float], ledger: Ledger) -> None:
        self._folder = folder
        self._seconds = seconds
        self._ledger = ledger
        self._tasks: dict[str, Task] = {}
        self._workers: dict[str, asyncio.Task[None]] = {}
        self._next_pid = itertools.count(int(time.time()) % 4_000_000 + 1000)
        folder.mkdir(parents=True, exist_ok=True)
        files = sorted(folder.glob("*.json"), key=lambda file: file.stat().st_mtime)
        for file in files[:-KEPT]:
            file.unlink()
        for file in files[-KEPT:]:
            task = Task(**read_json(file))
            if task.running:
                task.exitstatus, task.endtime = "unexpected status", int(time.time())
            self._tasks[task.upid] = task

    def spawn(self, node: str, kind: str, identifier: str, user: str, worker: Worker) -> str:
        """Start the work and return its UPID."""
        pid, now = next(self._next_pid), int(time.time())
        pstart = int(time.monotonic() * 100)
        upid = f"UPID:{node}:{pid:08X}:{pstart:08X}:{now:08X}:{kind}:{identifier}:{user}:"
        task = Task(upid=upid, node=node, pid=pid, pstart=pstart, starttime=now, type=kind, id=identifier, user=user)
        self._tasks[upid] = task
        self._save(task)
        running = self._workers[upid] = asyncio.create_task(self._run(task, self._struck(kind, worker)))
        running.add_done_callback(lambda _: self._workers.pop(upid))
        return upid

    def __iter__(self) -> Iterator[Task]:
        """All tasks, the latest first."""
        return reversed(list(self._tasks.values()))

    def get(self, node: str, upid: str) -> Task:
        task = self._tasks.get(upid)
        if task is None or task.node != node:
            raise failure("no such task")
        return task

    def on_node(self, node: str) -> Iterator[Task]:
        return (task for task in self if task.node == node)

    async def wait(self, upid: str, seconds: float) -> Task | None:
        """The task, if it ends in time."""
        if worker := self._workers.get(upid):
            await asyncio.wait({worker}, timeout=seconds)
        task = self._tasks[upid]
        return None if task.running else task

    async def stop(self, upid: str) -> None:
        """End a task's work, wherever it is."""
        if worker := self._workers.get(upid):
            worker.cancel()
            await asyncio.wait({worker})

    async def wait_all(self) -> None:
        while self._workers:
            await asyncio.wait(self._workers.values())

    def _struck(self, kind: str, worker: Worker) -> Worker:
        """The work as it goes where a fault strikes it."""
        fault = self._ledger.task(kind)
        if fault is None:
            return worker

        async def hangs(task: Task) -> None:
            await self._ledger.until_cleared(fault)
            await worker(task)

        async def fails(task: Task) -> None:
            if fault.option("when") == "after":
                await worker(task)
            raise failure(str(fault.option("message")))

        return hangs if fault.kind == "task-hangs" else fails

    async def _run(self, task: Task, worker: Worker) -> None:
        try:
            await asyncio.sleep(self._seconds())
            await worker(task)
            warnings = sum(line.startswith("WARN: ") for line in task.lines)
            status = f"WARNINGS: {warnings}" if warnings else "OK"
            task.log(f"TASK {status}")
        except ApiError as error:
            detail = "; ".join(f"{name}: {text.strip()}" for name, text in error.errors.items())
            status = f"{error.message} {detail}".strip()
            task.log(f"TASK ERROR: {status}")
        except asyncio.CancelledError:
            status = "interrupted by signal"
            task.log(f"TASK ERROR: {status}")
        except Exception:
            log.exception("task %s", task.upid)
            status = "the lab itself failed, see its daemon.log"
            task.log(f"TASK ERROR: {status}")
        task.endtime = int(time.time())
        task.exitstatus = status
        self._save(task)

    def _save(self, task: Task) -> None:
        name = task.upid.replace(":", "_").replace("/", "_").replace(os.sep, "_")
        write_json(self._folder / f"{name}.json", asdict(task))
