"""Keeps the faults of a running lab, counts what they wait for, and tells whoever makes them true.

Everything that sets, clears or strikes comes through here; the folder always has what holds.
"""

from __future__ import annotations

import asyncio
import contextvars
import logging
from collections.abc import Awaitable, Callable, Iterable

from lab.directory import LabDirectory
from lab.faults import fault as faults
from lab.faults.fault import Fault, Faults
from lab.faults.kinds import FaultError, Shape, did_you_mean

Call = tuple[str, str]
"""Method and path of a request."""

CURRENT: contextvars.ContextVar[Call | None] = contextvars.ContextVar("request", default=None)
"""The request in whose course something happens; nothing of its own accord has one."""

Event = Callable[[Fault], Awaitable[None]]

log = logging.getLogger(__name__)


class Ledger:
    def __init__(self, directory: LabDirectory) -> None:
        self._directory = directory
        self.faults = faults.load(directory)
        self._listeners: list[Callable[[], Awaitable[None]]] = []
        self._changed = asyncio.Event()
        self.happens: Event = _nothing
        """Makes an event happen."""
        self.begins: Event = _nothing
        """What a state does to the site when it comes, beyond being true."""
        self.ends: Event = _nothing

    def on_change(self, listener: Callable[[], Awaitable[None]]) -> None:
        """Call a coroutine function whenever other faults hold, before whoever changed them is told."""
        self._listeners.append(listener)

    async def set(self, fault: Fault) -> Fault:
        """Let a fault hold, happen, or wait; once this returns, it does."""
        if fault.of.shape is Shape.EVENT and not fault.is_armed:
            await self.happens(fault)
            return fault
        before = self.faults
        added, kept = add(before, fault)
        self._keep(kept)
        try:
            if fault.of.shape is Shape.STATE and added.holds:
                await self.begins(added)
        except FaultError:
            self._keep(before)
            raise
        await self._tell()
        return added

    async def clear(self, identifier: str | None = None) -> list[Fault]:
        """End one fault, or all. Returns those that ended."""
        cleared, kept = remove(self.faults, identifier)
        self._keep(kept)
        for fault in cleared:
            if fault.of.shape is Shape.STATE and fault.holds:
                await self.ends(fault)
        await self._tell()
        return cleared

    async def request(self, method: str, path: str) -> Fault | None:
        """Count a request; what waited for it comes true, and what strikes it is returned."""
        CURRENT.set((method, path))
        counted = self._count(
            fault
            for fault in self.faults
            if fault.of.shape is not Shape.TASK and fault.is_counting and fault.matches(method, path)
        )
        struck = [fault for fault in counted if fault.counts_now()]
        for fault in struck:
            if fault.of.shape is not Shape.REQUEST:
                await self._come_true(fault)
        return next((fault for fault in struck if fault.of.shape is Shape.REQUEST), None)

    def task(self, kind: str) -> Fault | None:
        """Count a task that starts; what strikes it is returned."""
        call = CURRENT.get()
        counted = self._count(
            fault
            for fault in self.faults
            if fault.of.shape is Shape.TASK
            and fault.is_counting
            and fault.target in (None, kind)
            and (fault.match is None or (call is not None and fault.matches(*call)))
        )
        return next((fault for fault in counted if fault.counts_now()), None)

    async def until_cleared(self, fault: Fault) -> None:
        while any(other.id == fault.id for other in self.faults):
            await self._changed.wait()

    async def _come_true(self, fault: Fault) -> None:
        """A request has come that a state or an event waited for. Where it cannot be, the site goes on without it."""
        try:
            await (self.happens if fault.of.shape is Shape.EVENT else self.begins)(fault)
        except FaultError as error:
            log.error("fault %s does not strike: %s", fault.id, error)
        await self._tell()

    def _count(self, matching: Iterable[Fault]) -> list[Fault]:
        counted = {fault.id: fault.model_copy(update={"seen": fault.seen + 1}) for fault in matching}
        if counted:
            self._keep(Faults(tuple(counted.get(fault.id, fault) for fault in self.faults)))
        return list(counted.values())

    def _keep(self, kept: Faults) -> None:
        self.faults = kept
        faults.save(self._directory, kept)
        self._changed.set()
        self._changed = asyncio.Event()

    async def _tell(self) -> None:
        for listener in self._listeners:
            await listener()


def add(present: Faults, fault: Fault) -> tuple[Fault, Faults]:
    """Put a fault to the others, in the place of what it says anew; it comes back with its id."""
    same = next((other for other in present if fault.stands_for(other)), None)
    named = fault.model_copy(update={"id": same.id if same else _free_id(present, fault.kind)})
    others = tuple(other for other in present if other is not same)
    return named, Faults((*others, named))


def remove(present: Faults, identifier: str | None) -> tuple[list[Fault], Faults]:
    gone = [fault for fault in present if identifier in (None, fault.id)]
    if identifier is not None and not gone:
        ids = [fault.id for fault in present]
        there = f"there is {', '.join(ids)}" if ids else "nothing is wrong"
        raise FaultError(f"there is no fault '{identifier}' to clear{did_you_mean(identifier, ids)}; {there}")
    return gone, Faults(tuple(fault for fault in present if fault not in gone))


def _free_id(present: Faults, kind: str) -> str:
    taken = {fault.id for fault in present}
    return next(free for number in range(1, len(taken) + 2) if (free := f"{kind}-{number}") not in taken)


async def _nothing(_: Fault) -> None:
    """For a site that has nobody to do it."""
