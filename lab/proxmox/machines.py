"""Power: switches VMs on and off.

Owns what Proxmox's start, stop, shutdown, reboot and reset do; what a VM is made of when it starts is
lab.proxmox.assembly's business, the processes are the hypervisor's. Somebody else's VM has power without a process.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from lab import guest_agent
from lab.faults.fault import Faults
from lab.guest_agent import AgentError
from lab.hypervisor import Hypervisor, HypervisorError
from lab.proxmox.assembly import Assembly
from lab.proxmox.errors import failure
from lab.proxmox.guests import Guest, Guests
from lab.proxmox.pending import PendingChanges
from lab.proxmox.tasks import Task

DEFAULT_SHUTDOWN_SECONDS = 60.0


@dataclass(frozen=True)
class Machines:
    guests: Guests
    assembly: Assembly
    hypervisor: Hypervisor
    pending: PendingChanges
    faults: Callable[[], Faults]
    rebooting: set[int] = field(default_factory=set)
    """VMs that are off for a moment only."""

    def is_running(self, guest: Guest) -> bool:
        return guest.powered if guest.foreign else self.hypervisor.is_running(guest.vmid)

    async def start(self, guest: Guest, task: Task | None = None, *, ignore_lock: bool = False) -> None:
        if guest.is_template:
            raise failure("you can't start a vm if it's a template")
        if not ignore_lock:
            guest.check_lock()
        if self.is_running(guest):
            raise failure(f"VM {guest.vmid} already running")
        self.pending.apply(guest)
        if not guest.foreign:
            machine = self.assembly.machine(guest, task, self._devices_in_use(guest))
            try:
                await self.hypervisor.power_on(machine)
            except HypervisorError as error:
                raise failure(str(error)) from None
        guest.powered, guest.cloudinit = True, {}
        self.guests.save(guest)

    async def stop(self, guest: Guest) -> None:
        await self.hypervisor.power_cut(guest.vmid)
        self.power_lost(guest)
        self.pending.apply(guest)

    async def shutdown(self, guest: Guest, task: Task, *, timeout: float | None, force: bool) -> None:
        """Ask the guest to power off: through its agent where the configuration has one, else by the power button."""
        if not self.is_running(guest):
            return
        if guest.foreign:
            self.power_lost(guest)
            self.pending.apply(guest)
            return
        seconds = DEFAULT_SHUTDOWN_SECONDS if timeout is None else timeout
        try:
            if self.agent_enabled(guest):
                self._check_agent(guest)
                gone = await self.hypervisor.shut_down_by_agent(guest.vmid, seconds)
            else:
                gone = await self.hypervisor.press_power_button(guest.vmid, seconds)
            problem = "got timeout"
        except AgentError as error:
            gone, problem = False, f"VM {guest.vmid} qga command 'guest-ping' failed - {error}"
        if gone:
            self.pending.apply(guest)
            return
        if not force:
            raise failure(f"VM quit/powerdown failed - {problem}")
        task.log(f"VM quit/powerdown failed - {problem} - terminating now with SIGTERM")
        await self.hypervisor.power_cut(guest.vmid)
        self.pending.apply(guest)

    async def reboot(self, guest: Guest, task: Task, *, timeout: float | None) -> None:
        self.rebooting.add(guest.vmid)
        try:
            await self.shutdown(guest, task, timeout=timeout, force=False)
            await self.start(guest, task)
        finally:
            self.rebooting.discard(guest.vmid)

    async def reset(self, guest: Guest) -> None:
        await self.hypervisor.reset(guest.vmid)

    def power_lost(self, guest: Guest) -> None:
        """A VM went off, by whatever way. What is pending for one that went off by itself waits for its next start."""
        guest.powered = False
        self.guests.save(guest)

    def plug(self, guest: Guest) -> None:
        """Give a running VM the disks, discs and network devices that its configuration now has."""
        if self.hypervisor.is_running(guest.vmid):
            self.hypervisor.replug(guest.vmid, self.assembly.pluggable(guest))

    def renew_cloudinit(self, guest: Guest) -> None:
        """Make the cloud-init drive say what the configuration says; a running VM finds it there when it looks."""
        guest.cloudinit = {}
        self.guests.save(guest)
        self.plug(guest)

    def agent_enabled(self, guest: Guest) -> bool:
        return self.assembly.agent_enabled(guest.config)

    async def ask_agent(self, guest: Guest, command: str) -> Any:
        if not self.agent_enabled(guest):
            raise failure("No QEMU guest agent configured")
        if not self.is_running(guest):
            raise failure(f"VM {guest.vmid} is not running")
        try:
            self._check_agent(guest)
            return await guest_agent.ask(self.hypervisor.agent_channel(guest.vmid), command)
        except AgentError:
            raise failure("QEMU guest agent is not running") from None

    def _check_agent(self, guest: Guest) -> None:
        if not self.faults().agent_answers(guest.vmid):
            raise AgentError("got timeout")

    def _devices_in_use(self, starting: Guest) -> dict[str, int]:
        """The PCI devices of the host that its other running VMs have, by address."""
        return {
            address: guest.vmid
            for guest in self.guests
            if guest.node == starting.node and guest.vmid != starting.vmid and self.hypervisor.is_running(guest.vmid)
            for address in self.assembly.pci_addresses(guest)
        }

    def refresh_dhcp(self) -> None:
        """Tell every running machine what DHCP answers now."""
        for guest in self.guests:
            if self.hypervisor.is_running(guest.vmid):
                self.hypervisor.offer_addresses(guest.vmid, self.assembly.nics(guest))
