"""The wires of a running lab: machines are plugged in at power-on and unplugged at power-off, faults hold meanwhile.

Everything that concerns the kernel runs in one thread, the only one that ever enters another network namespace.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from pyroute2 import IPRoute, NetlinkError

from lab import namespace
from lab.datacentre import Datacentre
from lab.hardware import Nic
from lab.network.bridges import Bridges, NetworkError
from lab.network.faults import NetworkFaults
from lab.network.machine import MachineNetwork

T = TypeVar("T")


class Wiring:
    def __init__(self, datacentre: Datacentre) -> None:
        self._datacentre = datacentre
        self._faults = NetworkFaults()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="wiring")
        self._machines: dict[int, MachineNetwork] = {}
        self._watches: dict[int, socket.socket] = {}
        self._watching = asyncio.Lock()
        self._following: set[asyncio.Task[None]] = set()
        self.host_of: Callable[[int], str | None] = lambda _: None
        """The Proxmox host that a VM is on."""

    async def start(self, faults: NetworkFaults) -> None:
        """Make the site's networks, with what is wrong with them from the start. Raises NetworkError."""
        self._faults = faults
        await self._do(self._build)

    async def power_on(self, vmid: int, nics: Sequence[Nic]) -> None:
        """Give a machine a network of its own, and plug it in. Raises NetworkError."""
        await self._do(lambda: self._plug_in(vmid, nics))
        await self._apply([vmid])

    async def power_off(self, vmid: int) -> None:
        await self._do(lambda: self._unplug(vmid))
        await self._apply([])

    async def reset(self, vmid: int, nics: Sequence[Nic]) -> None:
        """Take off a machine's network what its last boot has set there, and plug in what it has now."""
        await self._do(lambda: self._machines[vmid].reset(nics))
        await self._apply([vmid])

    async def inside(self, vmid: int, start: Callable[[], T]) -> T:
        """Call `start` in a machine's network: what it starts stays there."""

        def entered() -> T:
            with namespace.inside(self._machines[vmid].namespace):
                return start()

        return await self._do(entered)

    async def set_faults(self, faults: NetworkFaults) -> None:
        """Make these faults hold, and no others."""
        self._faults = faults
        await self.refresh()

    async def refresh(self) -> None:
        """The faults of hosts hold for the VMs that are on them now, after a migration too."""
        await self._apply(list(self._machines))

    def is_cut(self, vmid: int, nic: str) -> bool:
        return self._faults.cuts(vmid, self.host_of(vmid), nic)

    async def _do(self, work: Callable[[], T]) -> T:
        try:
            return await asyncio.get_running_loop().run_in_executor(self._thread, work)
        except NetlinkError as error:
            raise NetworkError(f"the kernel refuses a part of the lab's network: {error}") from None

    # In the wiring thread

    def _build(self) -> None:
        self._kernel: Any = IPRoute()
        self._bridges = Bridges(self._datacentre, self._kernel)
        self._bridges.build()

    def _plug_in(self, vmid: int, nics: Sequence[Nic]) -> None:
        try:
            self._machines[vmid] = MachineNetwork(vmid, nics, self._bridges, self._kernel)
        except OSError as error:
            raise NetworkError(f"VM {vmid} cannot have a network of its own: {error}") from None

    def _unplug(self, vmid: int) -> None:
        if machine := self._machines.pop(vmid, None):
            machine.remove()

    def _attach_and_limit(self, vmids: Iterable[int]) -> None:
        for vmid in vmids:
            if machine := self._machines.get(vmid):
                for nic in machine.nics:
                    machine.attach(nic, not self.is_cut(vmid, nic))
                    machine.limit(nic, self._faults.limit(vmid, nic))

    def _refuse(self) -> None:
        """Make every machine deaf to the present addresses of those that it does not hear."""
        unheard = {vmid: self._faults.unheard_by(vmid) & self._machines.keys() for vmid in self._machines}
        addresses = {source: self._machines[source].addresses() for source in set().union(*unheard.values())}
        for vmid, machine in self._machines.items():
            machine.refuse({address for source in unheard[vmid] for address in addresses[source]})

    # In the loop's thread

    async def _apply(self, changed: Iterable[int]) -> None:
        """Make the faults hold, after machines or faults have changed."""
        await self._watch()
        await self._do(lambda: self._attach_and_limit(changed))
        await self._do(self._refuse)

    async def _watch(self) -> None:
        """Follow the addresses of exactly those machines that somebody does not hear."""
        loop = asyncio.get_running_loop()
        async with self._watching:
            sources = {source for source, _ in self._faults.one_way} & self._machines.keys()
            for vmid in self._watches.keys() - sources:
                watch = self._watches.pop(vmid)
                loop.remove_reader(watch)
                watch.close()
            for vmid in sources - self._watches.keys():
                self._watches[vmid] = watch = await self._do(self._machines[vmid].watch_addresses)
                loop.add_reader(watch, self._follow, watch)

    def _follow(self, watch: socket.socket) -> None:
        """Addresses have changed: which, the kernel is asked."""
        with contextlib.suppress(OSError):  # there is no more; or there was more than the kernel keeps
            while watch.recv(1 << 16):
                pass
        task = asyncio.create_task(self._do(self._refuse))
        self._following.add(task)
        task.add_done_callback(self._following.discard)
