"""The last requests that Proxmox received: calls that change something, and calls that only look, so many of each.

Programs that wait ask again and again; counted together, their questions would push out what was done.
"""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Mapping
from typing import Any

SHOWN = ("time", "method", "path", "status", "seconds", "user", "message")
"""No parameters: what they mean is in the request log."""
KEPT = 50


class RecentRequests:
    def __init__(self) -> None:
        self._numbers = itertools.count(1)
        self._looks: deque[tuple[int, dict[str, Any]]] = deque(maxlen=KEPT)
        self._changes: deque[tuple[int, dict[str, Any]]] = deque(maxlen=KEPT)

    def add(self, entry: Mapping[str, Any]) -> None:
        """Take an entry of the request log."""
        shown = {name: entry[name] for name in SHOWN if entry.get(name) is not None}
        kind = self._looks if entry["method"] == "GET" else self._changes
        kind.append((next(self._numbers), shown))

    def document(self) -> dict[str, dict[str, Any]]:
        """By number, the oldest first."""
        return {str(number): entry for number, entry in sorted([*self._looks, *self._changes], key=lambda one: one[0])}
