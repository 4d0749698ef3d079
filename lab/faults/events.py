"""What a fault does to the machines at the moment when it comes, and when it goes."""

from __future__ import annotations

import asyncio

from lab.faults import etcd
from lab.faults.fault import Fault
from lab.faults.kinds import FaultError
from lab.proxmox.cluster import Cluster
from lab.proxmox.errors import ApiError
from lab.proxmox.guests import Guest

RESET_SECONDS = 5


class Events:
    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster

    async def happen(self, fault: Fault) -> None:
        """Raises FaultError where it cannot."""
        if fault.kind == "vm-kill":
            await self._kill(self._running(fault))
        elif fault.kind == "host-reboot":
            await self._lose_power(str(fault.target))
            await self._start_what_boots_with(str(fault.target))
        elif fault.kind == "dhcp-renumber":
            self._renumber(self._guest(fault))
        elif fault.kind == "etcd-corrupt":
            await self._corrupt_etcd(self._guest(fault))
        elif fault.kind == "etcd-nospace":
            hypervisor, guest = self._cluster.machines.hypervisor, self._running(fault)
            await hypervisor.inside(guest.vmid, lambda: etcd.raise_nospace(hypervisor.folder(guest.vmid)))
        else:
            raise FaultError(f"this lab does not know how {fault.kind} happens")

    async def begin(self, fault: Fault) -> None:
        if fault.kind == "host-down":
            await self._lose_power(str(fault.target))
        elif fault.kind == "vm-locked":
            guest = self._guest(fault)
            guest.config["lock"] = str(fault.option("lock"))
            self._cluster.guests.save(guest)

    async def end(self, fault: Fault) -> None:
        if fault.kind == "host-down":
            await self._start_what_boots_with(str(fault.target))
        elif fault.kind == "vm-locked" and (guest := self._cluster.guests.find(int(fault.target or 0))):
            guest.config.pop("lock", None)
            self._cluster.guests.save(guest)

    def _guest(self, fault: Fault) -> Guest:
        guest = self._cluster.guests.find(int(fault.target or 0))
        if guest is None:
            raise FaultError(f"{fault.kind}: there is no VM {fault.target} yet")
        return guest

    def _running(self, fault: Fault) -> Guest:
        guest = self._guest(fault)
        if not self._cluster.machines.is_running(guest):
            raise FaultError(f"{fault.kind}: VM {guest.vmid} ({guest.name}) is not running")
        return guest

    async def _kill(self, guest: Guest) -> None:
        if guest.foreign:
            self._cluster.machines.power_lost(guest)
        else:
            await self._cluster.machines.hypervisor.power_cut(guest.vmid)

    async def _lose_power(self, host: str) -> None:
        for guest in self._on(host):
            if self._cluster.machines.is_running(guest):
                await self._kill(guest)

    async def _start_what_boots_with(self, host: str) -> None:
        """As `pvesh create /nodes/<host>/startall` does when a host is up: a start that fails is a failed task."""
        for guest in self._on(host):
            if guest.config.get("onboot") and not self._cluster.machines.is_running(guest):
                self._start(guest)
        self._cluster.ha.look()

    def _start(self, guest: Guest) -> None:
        self._cluster.tasks.spawn(
            guest.node, "qmstart", str(guest.vmid), "root@pam", lambda task: self._cluster.machines.start(guest, task)
        )

    def _on(self, host: str) -> list[Guest]:
        return [guest for guest in self._cluster.guests if guest.node == host]

    async def _corrupt_etcd(self, guest: Guest) -> None:
        """Spoil the file while nobody has it open: a machine that runs loses power for a moment."""
        hypervisor = self._cluster.machines.hypervisor
        database = etcd.database(hypervisor.folder(guest.vmid))
        if not hypervisor.is_running(guest.vmid):
            etcd.corrupt(database)
            return
        done = asyncio.Event()

        def meanwhile() -> None:
            etcd.corrupt(database)
            done.set()

        await hypervisor.reset(guest.vmid, meanwhile)
        await asyncio.wait_for(done.wait(), RESET_SECONDS)

    def _renumber(self, guest: Guest) -> None:
        assembly = self._cluster.machines.assembly
        try:
            assembly.renumber(guest)
        except ApiError as error:
            raise FaultError(f"dhcp-renumber: {error.message}") from None
        if self._cluster.machines.hypervisor.is_running(guest.vmid):
            self._cluster.machines.hypervisor.offer_addresses(guest.vmid, assembly.nics(guest))
