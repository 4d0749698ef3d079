"""Runs the machines: one `talos-node machine <dir>` process per VM that has power.

Owns processes, power and the console log. What a VM is made of comes in as its hardware (lab.hardware), its network is
made by lab.network; what its loss of power means to Proxmox is the listener's business. A kill is a power cut, SIGTERM
is the power button, exit code 64 is a reboot.
"""

from __future__ import annotations

import asyncio
import logging
import os
import shutil
import signal
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from lab import environment, guest_agent, hardware
from lab.children import Child, Children
from lab.directory import LabDirectory
from lab.faults.fault import Faults
from lab.hardware import Machine, Nic, Pluggable
from lab.network.bridges import NetworkError
from lab.network.wiring import Wiring
from lab.programs import Programs

REBOOT_EXIT_CODE = 64
REBOOT_PAUSE_SECONDS = 0.2  # a node that reboots at once for ever must not eat the host
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

log = logging.getLogger(__name__)


class HypervisorError(Exception):
    """A machine cannot be powered on."""


@dataclass
class _Running:
    child: Child
    since: float
    watcher: asyncio.Task[None]


class Hypervisor:
    def __init__(self, directory: LabDirectory, programs: Programs, children: Children, wiring: Wiring) -> None:
        self._directory = directory
        self._programs = programs
        self._children = children
        self._wiring = wiring
        self._running: dict[int, _Running] = {}
        self._powering_on: set[int] = set()
        self._switching_off: set[int] = set()
        self._resets: dict[int, Callable[[], None]] = {}
        self._refreshing: set[asyncio.Task[None]] = set()
        self.on_power_lost: Callable[[int], None] = _nobody_listens
        self.faults: Callable[[], Faults] = Faults
        """What is wrong with the site now."""

    def folder(self, vmid: int) -> Path:
        return self._directory.vms / str(vmid)

    def is_running(self, vmid: int) -> bool:
        return vmid in self._running

    def uptime(self, vmid: int) -> int:
        return int(time.monotonic() - self._running[vmid].since) if vmid in self._running else 0

    def pid(self, vmid: int) -> int | None:
        return self._running[vmid].child.pid if vmid in self._running else None

    async def power_on(self, machine: Machine) -> None:
        vmid = machine["vmid"]
        if vmid in self._running or vmid in self._powering_on:
            raise HypervisorError(f"VM {vmid} already running")
        self._powering_on.add(vmid)
        folder = self.folder(vmid)
        shutil.rmtree(folder / "run", ignore_errors=True)
        hardware.write(folder, machine)
        self.offer_addresses(vmid, machine["nics"])
        hardware.write_faults(folder, self.faults().of_machine(vmid))
        try:
            await self._wiring.power_on(vmid, machine["nics"])
            child = await self._spawn(vmid)
        except NetworkError as error:
            await self._wiring.power_off(vmid)
            raise HypervisorError(str(error)) from None
        except HypervisorError:
            await self._wiring.power_off(vmid)
            raise
        finally:
            self._powering_on.discard(vmid)
        self._running[vmid] = _Running(child, time.monotonic(), asyncio.create_task(self._watch(vmid, child)))
        self._pause(vmid)

    def offer_addresses(self, vmid: int, nics: Sequence[Nic]) -> None:
        """Tell a machine what DHCP answers on its NICs now; nobody does where the network is cut off."""
        offers = {nic["mac"]: None if self._wiring.is_cut(vmid, nic["name"]) else nic["dhcp"] for nic in nics}
        hardware.write_dhcp(self.folder(vmid), offers)

    async def power_cut(self, vmid: int) -> None:
        """Pull the plug: nothing in the guest gets to know."""
        await self._switch_off(vmid, signal.SIGKILL, None)

    async def press_power_button(self, vmid: int, timeout: float | None) -> bool:
        """ACPI shutdown; whether the machine went off in time."""
        return await self._switch_off(vmid, signal.SIGTERM, timeout)

    async def shut_down_by_agent(self, vmid: int, timeout: float | None) -> bool:
        """Shut down through the guest agent; whether the machine went off in time. AgentError where none listens."""
        await guest_agent.ask(self.agent_channel(vmid), "guest-ping")
        await guest_agent.ask(self.agent_channel(vmid), "guest-shutdown", {"mode": "powerdown"}, answers=False)
        return await self._gone(vmid, timeout)

    async def reset(self, vmid: int, meanwhile: Callable[[], None] = lambda: None) -> None:
        """The reset button: power stays, the machine starts over; `meanwhile` is done while nothing of it runs."""
        if running := self._running.get(vmid):
            self._resets[vmid] = meanwhile  # the watcher finds it dead and powers it on again
            running.child.kill_group()

    def moved(self) -> None:
        """A machine runs on another host now: what is wrong with the networks of hosts follows soon."""
        task = asyncio.create_task(self._wiring.refresh())
        self._refreshing.add(task)
        task.add_done_callback(self._refreshing.discard)

    def replug(self, vmid: int, changed: Pluggable) -> None:
        """Change what can change of a machine that runs; it finds it at the latest when it boots again."""
        hardware.replug(self.folder(vmid), changed)
        if "nics" in changed:
            self.offer_addresses(vmid, changed["nics"])

    async def refresh_faults(self) -> None:
        """Tell every running machine what is wrong with it now, and pause or continue it."""
        for vmid in self._running:
            hardware.write_faults(self.folder(vmid), self.faults().of_machine(vmid))
            if not self._pause(vmid):
                self._running[vmid].child.signal_group(signal.SIGCONT)

    def is_paused(self, vmid: int) -> bool:
        return self.is_running(vmid) and vmid in self.faults().full_disks

    async def inside(self, vmid: int, work: Callable[[], None]) -> None:
        """Do something in the network of a machine that runs."""
        await self._wiring.inside(vmid, work)

    def agent_channel(self, vmid: int) -> Path:
        return self.folder(vmid) / "run" / "agent.sock"

    def erase(self, vmid: int) -> None:
        shutil.rmtree(self.folder(vmid), ignore_errors=True)

    def cut_everything(self) -> None:
        """The whole site loses power: no listener hears of it, so what ran is known to have run."""
        self.on_power_lost = _nobody_listens
        for running in self._running.values():
            running.watcher.cancel()
            running.child.kill_group()

    async def _switch_off(self, vmid: int, number: signal.Signals, timeout: float | None) -> bool:
        running = self._running.get(vmid)
        if running is None:
            return True
        self._switching_off.add(vmid)
        if number == signal.SIGKILL:
            running.child.kill_group()
        else:
            running.child.send_signal(number)
        gone = await self._gone(vmid, timeout)
        if not gone:
            self._switching_off.discard(vmid)
        return gone

    async def _gone(self, vmid: int, timeout: float | None) -> bool:
        running = self._running.get(vmid)
        if running is not None:
            await asyncio.wait({running.watcher}, timeout=timeout)
        return vmid not in self._running

    def _pause(self, vmid: int) -> bool:
        """Stop a machine where QEMU would, with all that it has started; whether that is so."""
        if paused := self.is_paused(vmid):
            self._running[vmid].child.signal_group(signal.SIGSTOP)
        return paused

    async def _spawn(self, vmid: int) -> Child:
        folder, node = self.folder(vmid), self._programs.node
        path = os.pathsep.join([*map(str, self._programs.folders), PATH])

        def start() -> Child:
            return self._children.start(
                [str(node), "machine", str(folder)],
                folder=folder,
                output=folder / "console.log",
                environment={"PATH": path, "HOME": str(folder), **environment.trust(self._directory)},
            )

        try:
            return await self._wiring.inside(vmid, start)
        except OSError as error:
            raise HypervisorError(f"cannot start {node}: {error}") from None

    async def _watch(self, vmid: int, child: Child) -> None:
        """Follow a machine through its reboots until it is off."""
        folder = self.folder(vmid)
        while True:
            code = await child.ended
            child.kill_group()  # nothing of a machine survives it
            (folder / "run" / "agent.sock").unlink(missing_ok=True)
            reset = self._resets.pop(vmid, None)
            if reset:
                reset()
            if vmid in self._switching_off or not (code == REBOOT_EXIT_CODE or reset):
                break
            await asyncio.sleep(REBOOT_PAUSE_SECONDS)
            try:
                await self._wiring.reset(vmid, hardware.nics(folder))
                child = await self._spawn(vmid)
            except (HypervisorError, NetworkError) as error:
                log.error("VM %s: %s", vmid, error)
                break
            self._running[vmid].child = child
            self._pause(vmid)
            if vmid in self._switching_off:  # while there was nothing to switch off
                child.kill_group()
        if code != 0 and vmid not in self._switching_off:
            log.error("VM %s: the machine crashed (exit code %s), see %s", vmid, code, folder / "console.log")
        await self._wiring.power_off(vmid)
        self._switching_off.discard(vmid)
        del self._running[vmid]
        self.on_power_lost(vmid)


def _nobody_listens(_: int) -> None:
    """The listener of a hypervisor that has none."""
