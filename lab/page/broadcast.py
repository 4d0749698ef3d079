"""Tells everybody who watches what changed. While nobody watches, nothing is looked at."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
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
        self._watchers: set[asyncio.Queue[str]] = set()
        self._looking: asyncio.Task[None] | None = None

    async def watch(self) -> AsyncIterator[str]:
        """The events of one watcher: the whole document first, then its changes. It ends for one that is too slow."""
        if self._looking is None:
            self._latest = self._document()
            self._looking = asyncio.create_task(self._look())
        queue = asyncio.Queue[str](LONGEST_QUEUE)
        queue.put_nowait(f"retry: {RETRY_MILLISECONDS}\n" + _event("document", self._latest))
        self._watchers.add(queue)
        try:
            while queue in self._watchers:
                try:
                    yield await asyncio.wait_for(queue.get(), QUIET_SECONDS)
                except asyncio.TimeoutError:
                    yield ": still there\n\n"
        finally:
            self._watchers.discard(queue)
            if not self._watchers and self._looking:
                self._looking.cancel()
                self._looking = None

    async def _look(self) -> None:
        while True:
            await asyncio.sleep(INTERVAL_SECONDS)
            document = self._document()
            patch = merge_patch(self._latest, document)
            self._latest = document
            if patch:
                self._tell(_event("patch", patch))

    def _tell(self, event: str) -> None:
        for queue in list(self._watchers):
            try:
                queue.put_nowait(event)
            except asyncio.QueueFull:
                self._watchers.discard(queue)  # its browser connects again, and begins with the whole


def _event(name: str, data: object) -> str:
    return f"event: {name}\ndata: {json.dumps(data, separators=(',', ':'))}\n\n"
