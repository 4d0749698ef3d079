"""Waiting for something: how long, how often one looks, what the user sees of it, and that he may end it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from cluster_stack.lifecycle.errors import CancelledError, LifecycleError

DEFAULT_SECONDS = 15 * 60.0
_FIRST_PAUSE, _LONGEST_PAUSE = 0.2, 3.0


class TimeLimitError(LifecycleError):
    """The time is up. The text is what was waited for at last."""


class Waiting:
    """The patience of one operation."""

    def __init__(
        self, seconds: float, cancelled: threading.Event, report: Callable[[str], None] = lambda _: None
    ) -> None:
        """``report`` shows the user a line, each time that it is another one."""
        self.seconds = seconds or DEFAULT_SECONDS
        self._end = time.monotonic() + self.seconds
        self._cancelled = cancelled
        self._report = report
        self._shown = ""
        self._pause = _FIRST_PAUSE

    def pause(self, doing: str) -> None:
        """Let some time pass, ``doing`` something. Raises TimeLimitError, CancelledError."""
        if doing != self._shown:
            self._report(doing)
            self._shown, self._pause = doing, _FIRST_PAUSE
        left = self._end - time.monotonic()
        if left <= 0:
            raise TimeLimitError(doing)
        if self._cancelled.wait(min(self._pause, left)):
            raise CancelledError
        self._pause = min(self._pause * 1.5, _LONGEST_PAUSE)

    @property
    def limit(self) -> str:
        """The time limit, for a sentence."""
        minutes = self.seconds / 60
        return f"{minutes:g} min" if minutes >= 1 else f"{self.seconds:g} s"
