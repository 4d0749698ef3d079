"""Runs the machines: one `talos-node machine <dir>` process per VM that has power.

Owns processes, power and the console log. What a VM is made of comes in as its hardware (lab.hardware); what its loss
of power means to Proxmox is the listener's business. A kill is a power cut, SIGTERM is the power button, exit code 64
is a reboot.
"""

from __future__ import annotations

import asyncio
import logging
import os
import shutil
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from ipaddress import IPv4Address, ip_interface
from pathlib import Path

from lab import guest_agent, hardware, network
from lab.directory import LabDirectory, read_json
from lab.hardware import Machine, Pluggable

REBOOT_EXIT_CODE = 64
REBOOT_PAUSE_SECONDS = 0.2  # a node that reboots at once for ever must not eat the host
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

log = logging.getLogger(__name__)


class HypervisorError(Exception):
    """A machine cannot be powered on."""


@dataclass
class _Running:
    process: asyncio.subprocess.Process
    pid: int
    since: float
    watcher: asyncio.Task[None]


class Hypervisor:
    def __init__(
        self, directory: LabDirectory, binary: Callable[[], Path], server_addresses: frozenset[IPv4Address]
    ) -> None:
        self._directory = directory
        self._binary = binary
        self._server_addresses = server_addresses
        self._running: dict[int, _Running] = {}
        self._switching_off: set[int] = set()
        self._resets: set[int] = set()
        self.on_power_lost: Callable[[int], None] = _nobody_listens

    def folder(self, vmid: int) -> Path:
        return self._directory.vms / str(vmid)

    def is_running(self, vmid: int) -> bool:
        return vmid in self._running

    def uptime(self, vmid: int) -> int:
        return int(time.monotonic() - self._running[vmid].since) if vmid in self._running else 0

    def pid(self, vmid: int) -> int | None:
        return self._running[vmid].pid if vmid in self._running else None

    async def power_on(self, machine: Machine) -> None:
        vmid = machine["vmid"]
        if vmid in self._running:
            raise HypervisorError(f"VM {vmid} already running")
        folder = self.folder(vmid)
        shutil.rmtree(folder / "run", ignore_errors=True)
        hardware.write(folder, machine)
        process = await self._spawn(folder)
        self._running[vmid] = _Running(
            process, process.pid, time.monotonic(), asyncio.create_task(self._watch(vmid, process))
        )

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

    async def reset(self, vmid: int) -> None:
        """The reset button: power stays, the machine starts over."""
        if running := self._running.get(vmid):
            self._resets.add(vmid)  # the watcher finds it dead and powers it on again
            running.process.kill()

    def replug(self, vmid: int, changed: Pluggable) -> None:
        """Change what can change of a machine that runs; it finds it at the latest when it boots again."""
        hardware.replug(self.folder(vmid), changed)

    def agent_channel(self, vmid: int) -> Path:
        return self.folder(vmid) / "run" / "agent.sock"

    def erase(self, vmid: int) -> None:
        shutil.rmtree(self.folder(vmid), ignore_errors=True)

    def cut_everything(self) -> None:
        """The whole site loses power: no listener hears of it, so what ran is known to have run."""
        self.on_power_lost = _nobody_listens
        for running in self._running.values():
            running.watcher.cancel()
            if running.process.returncode is None:
                running.process.kill()

    async def _switch_off(self, vmid: int, number: signal.Signals, timeout: float | None) -> bool:
        running = self._running.get(vmid)
        if running is None:
            return True
        self._switching_off.add(vmid)
        running.process.send_signal(number)
        gone = await self._gone(vmid, timeout)
        if not gone:
            self._switching_off.discard(vmid)
        return gone

    async def _gone(self, vmid: int, timeout: float | None) -> bool:
        running = self._running.get(vmid)
        if running is not None:
            await asyncio.wait({running.watcher}, timeout=timeout)
        return vmid not in self._running

    async def _spawn(self, folder: Path) -> asyncio.subprocess.Process:
        binary = self._binary()
        console = os.open(folder / "console.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        try:
            return await asyncio.create_subprocess_exec(
                str(binary),
                "machine",
                str(folder),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=console,
                stderr=console,
                cwd=folder,
                env={"PATH": PATH, "HOME": str(folder), "SSL_CERT_FILE": str(self._directory.ca)},
            )
        except OSError as error:
            raise HypervisorError(f"cannot start {binary}: {error}") from None
        finally:
            os.close(console)

    async def _watch(self, vmid: int, process: asyncio.subprocess.Process) -> None:
        """Follow a machine through its reboots until it is off."""
        folder = self.folder(vmid)
        while True:
            code = await process.wait()
            self._remove_leftover_addresses(folder)
            (folder / "run" / "agent.sock").unlink(missing_ok=True)
            reset = vmid in self._resets
            self._resets.discard(vmid)
            if vmid in self._switching_off or not (code == REBOOT_EXIT_CODE or reset):
                break
            await asyncio.sleep(REBOOT_PAUSE_SECONDS)
            try:
                process = await self._spawn(folder)
            except HypervisorError as error:
                log.error("VM %s: %s", vmid, error)
                break
            self._running[vmid].process, self._running[vmid].pid = process, process.pid
        if code != 0 and vmid not in self._switching_off:
            log.error("VM %s: the machine crashed (exit code %s), see %s", vmid, code, folder / "console.log")
        self._switching_off.discard(vmid)
        del self._running[vmid]
        self.on_power_lost(vmid)

    def _remove_leftover_addresses(self, folder: Path) -> None:
        """A machine that died at once could not take its addresses off the network.

        Those that it had from DHCP and from its cloud-init drive are known; one that only its machine configuration
        named stays until the machine boots again.
        """
        offers = [offer for offer in read_json(folder / "dhcp.json", {}).values() if offer]
        cidata = read_json(folder / "machine.json", {}).get("cidata") or {"nics": []}
        texts = [entry.get(key, "") for entry in [*offers, *cidata["nics"]] for key in ("address", "address6")]
        mine = {ip_interface(text).ip for text in texts if "/" in text}
        for address in mine - self._server_addresses:
            network.remove_address(address)


def _nobody_listens(_: int) -> None:
    """The listener of a hypervisor that has none."""
