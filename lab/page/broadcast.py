"""Tells everybody who watches what changed. While nobody watches, nothing is looked at."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Callable, Iterator
from typing import Any

from lab.page.changes import merge_patch

INTERVAL_SECONDS = 0.5
QUIET_SECONDS = 15.0
RETRY_MILLISECONDS = 1000  # after which a browser that lost its connection tries again
LONGEST_QUEUE = 40


class Broadcast:
    def __init__(self, document: Callable[[], dict[str, Any]]) -> None:
        self._document = document
        self._latest: dict[str, Any] = {}
        self._watchers: set[Watcher] = set()
        self._looking: asyncio.Task[None] | None = None

    @contextlib.contextmanager
    def watcher(self) -> Iterator[Watcher]:
        """Somebody who watches: is told the whole document first, then its changes."""
        if self._looking is None:
            self._latest = self._document()
            self._looking = asyncio.create_task(self._look())
        watcher = Watcher()
        watcher.tell(f"retry: {RETRY_MILLISECONDS}\n" + _event("document", self._latest))
        self._watchers.add(watcher)
        try:
            yield watcher
        finally:
            self._watchers.discard(watcher)
            if not self._watchers:
                self._looking.cancel()
                self._looking = None

    async def _look(self) -> None:
        while True:
            await asyncio.sleep(INTERVAL_SECONDS)
            document = self._document()
            patch = merge_patch(self._latest, document)
            self._latest = document
            if patch:
                event = _event("patch", patch)
                for watcher in self._watchers:
                    watcher.tell(event)


class Watcher:
    """One browser. It is let go of when it is too slow; it connects again, and begins with the whole."""

    def __init__(self) -> None:
        self._queue = asyncio.Queue[str](LONGEST_QUEUE)
        self._too_slow = False

    def tell(self, event: str) -> None:
        if self._queue.full():
            self._too_slow = True
        else:
            self._queue.put_nowait(event)

    async def next(self) -> str | None:
        """What to send next; None at the end."""
        if self._too_slow:
            return None
        try:
            return await asyncio.wait_for(self._queue.get(), QUIET_SECONDS)
        except asyncio.TimeoutError:
            return ": still there\n\n"


def _event(name: str, data: object) -> str:
    return f"event: {name}\ndata: {json.dumps(data, separators=(',', ':'))}\n\n"
