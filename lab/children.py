"""The daemon's children: started, waited for, ended with all that they have started.

The daemon is the init of its PID namespace, so that orphans become its children too: whoever ends is reaped here, and
nowhere else in the daemon may anybody wait for a process.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Child:
    """A process in a group of its own. `ended` has its exit code, negative for the signal that it died of."""

    process: subprocess.Popen[bytes]
    ended: asyncio.Future[int]

    @property
    def pid(self) -> int:
        return self.process.pid

    def send_signal(self, number: signal.Signals) -> None:
        if not self.ended.done():
            os.kill(self.pid, number)

    def signal_group(self, number: signal.Signals) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, number)

    def kill_group(self) -> None:
        """End it and all that it has started, whether it still runs or not."""
        self.signal_group(signal.SIGKILL)


class Children:
    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._running: dict[int, Child] = {}
        self._loop: asyncio.AbstractEventLoop | None = None

    def watch(self) -> None:
        """Reap from now on, in the running loop."""
        self._loop = asyncio.get_running_loop()
        self._loop.add_signal_handler(signal.SIGCHLD, self._reap)

    def start(self, command: Sequence[str], *, folder: Path, output: Path, environment: Mapping[str, str]) -> Child:
        """Start a process that speaks into a file. It may be called in any thread; raises OSError."""
        assert self._loop is not None, "nobody watches"
        with self._lock, output.open("ab") as file:  # it is known before anybody can reap it
            process = subprocess.Popen(
                list(command),
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=file,
                cwd=folder,
                env=dict(environment),
                start_new_session=True,
            )
            child = Child(process, self._loop.create_future())
            self._running[process.pid] = child
        return child

    def _reap(self) -> None:
        with self._lock:
            while True:
                try:
                    pid, status = os.waitpid(-1, os.WNOHANG)
                except ChildProcessError:
                    return
                if pid == 0:
                    return
                if child := self._running.pop(pid, None):
                    child.process.returncode = os.waitstatus_to_exitcode(status)
                    child.ended.set_result(child.process.returncode)
