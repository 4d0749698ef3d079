"""The HA manager: starts, stops and moves the VMs that it looks after.

Owns what follows from the HA configuration. It acts as `root@pam`, each action a task on the VM's host, when the
configuration changes or a machine goes off by itself; a real one looks every ten seconds. It fences nobody: what is on
a host that is down waits for the host.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from lab.datacentre import Datacentre
from lab.proxmox import ha
from lab.proxmox.errors import ApiError
from lab.proxmox.guests import Guest, Guests
from lab.proxmox.machines import Machines
from lab.proxmox.migration import Migration, StorageMap
from lab.proxmox.tasks import Task, Tasks, Worker

USER = "root@pam"
SHUTDOWN_SECONDS = 60.0
WANTED_RUNNING = ("started", "enabled")


@dataclass
class HaManager:
    datacentre: Datacentre
    configuration: ha.Configuration
    guests: Guests
    machines: Machines
    migration: Migration
    tasks: Tasks
    _busy: set[int] = field(default_factory=set)
    _failed: dict[str, int] = field(default_factory=dict)
    """How often a VM's start has failed since it was last told to run."""
    _patience: dict[int, float] = field(default_factory=dict)
    """How long a VM may take to shut down, where somebody has said so."""
    _immovable: set[tuple[int, str]] = field(default_factory=set)
    """The moves that have failed: VM and host. A real manager tries for ever, every ten seconds."""

    def is_configured(self, vmid: int) -> bool:
        return f"vm:{vmid}" in self.configuration.resources

    def manages(self, vmid: int) -> bool:
        """Whether calls about the VM's power go through the manager."""
        return self.is_configured(vmid) and self._wanted(vmid) != "ignored"

    def state(self, guest: Guest) -> str:
        """What the manager says of a VM."""
        wanted = self._wanted(guest.vmid)
        if self._gave_up(guest.vmid):
            return "error"
        if wanted not in WANTED_RUNNING:
            return wanted
        return "started" if self.machines.is_running(guest) else "starting"

    def request(self, vmid: int, state: str, timeout: float = SHUTDOWN_SECONDS) -> None:
        """What `qm start` and `qm stop` become for a VM that the manager looks after; no time means: at once."""
        self._failed.pop(f"vm:{vmid}", None)
        self._patience[vmid] = timeout
        self.configuration.update_resource(f"vm:{vmid}", {"state": state})
        self.look()

    def look(self) -> None:
        """See to every VM that is not as it should be."""
        for sid in self.configuration.resources:
            guest = self.guests.find(int(sid.partition(":")[2]))
            if guest is not None and guest.vmid not in self._busy | self.machines.rebooting:
                self._see_to(guest)

    def migrate(self, guest: Guest, target: str) -> None:
        """Move a VM, as somebody has asked the manager to."""
        if guest.node != target:
            self._spawn(guest, "qmigrate", lambda task: self._migrate(guest, target, task))

    def _see_to(self, guest: Guest) -> None:
        running, wanted = self.machines.is_running(guest), self._wanted(guest.vmid)
        if wanted == "ignored" or self._gave_up(guest.vmid) or guest.node in self.machines.faults().hosts_down:
            return
        if (
            wanted in WANTED_RUNNING
            and (target := self._better_host(guest))
            and ((guest.vmid, target) not in self._immovable)
        ):
            self.migrate(guest, target)
        elif wanted in WANTED_RUNNING and not running:
            self._spawn(guest, "qmstart", lambda task: self._start(guest, task))
        elif wanted not in WANTED_RUNNING and running:
            self._spawn(guest, "qmshutdown", lambda task: self._stop(guest, task))

    def _spawn(self, guest: Guest, kind: str, act: Worker) -> None:
        self._busy.add(guest.vmid)

        async def work(task: Task) -> None:
            try:
                await act(task)
            finally:
                self._busy.discard(guest.vmid)
                self.look()

        self.tasks.spawn(guest.node, kind, str(guest.vmid), USER, work)

    async def _start(self, guest: Guest, task: Task) -> None:
        sid = f"vm:{guest.vmid}"
        if self.machines.is_running(guest):
            return
        try:
            await self.machines.start(guest, task)
        except ApiError:
            self._failed[sid] = self._failed.get(sid, 0) + 1
            raise
        self._failed.pop(sid, None)

    async def _stop(self, guest: Guest, task: Task) -> None:
        if (seconds := self._patience.pop(guest.vmid, SHUTDOWN_SECONDS)) > 0:
            await self.machines.shutdown(guest, task, timeout=seconds, force=True)
        else:
            await self.machines.stop(guest)

    async def _migrate(self, guest: Guest, target: str, task: Task) -> None:
        try:
            self.migration.run(guest, target, task, StorageMap(), local_disks=True)
        except ApiError:
            self._immovable.add((guest.vmid, target))
            raise

    def _wanted(self, vmid: int) -> str:
        return str(self.configuration.resources[f"vm:{vmid}"].get("state", "started"))

    def _gave_up(self, vmid: int) -> bool:
        sid = f"vm:{vmid}"
        tries = 1 + int(self.configuration.resources[sid].get("max_restart", 1))
        return self._failed.get(sid, 0) >= tries and self._wanted(vmid) != "disabled"

    def _better_host(self, guest: Guest) -> str | None:
        """Where a VM has to go for the rules' sake; None where it may stay."""
        sid = f"vm:{guest.vmid}"
        hosts = {node.name: 0 for node in self.datacentre.proxmox.nodes}
        for rule in self.configuration.active_rules(ha.NODE_AFFINITY):
            if sid in ha.members(rule):
                named = ha.priorities(rule)
                others = {} if rule.get("strict") else dict.fromkeys(hosts, -1)
                hosts = {**others, **named}
        for rule in self.configuration.active_rules(ha.RESOURCE_AFFINITY):
            if sid in ha.members(rule):
                theirs = {self._host(other) for other in ha.members(rule) if other < sid}
                together = rule["affinity"] == "positive"
                hosts = {host: p for host, p in hosts.items() if not theirs or (host in theirs) == together}
        failback = self.configuration.resources[sid].get("failback", 1)
        if not hosts or (guest.node in hosts and (not failback or hosts[guest.node] == max(hosts.values()))):
            return None
        return max(sorted(hosts), key=lambda host: hosts[host])

    def _host(self, sid: str) -> str | None:
        guest = self.guests.find(int(sid.partition(":")[2]))
        return guest.node if guest else None
