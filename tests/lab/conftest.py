"""A cluster in this process, with a hypervisor that only counts: for tests of the API that need no namespace."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast
from urllib.parse import quote

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from lab import datacentre as site
from lab.children import Children
from lab.directory import LabDirectory
from lab.faults.events import Events
from lab.faults.fault import Fault, Faults
from lab.faults.ledger import Ledger, add
from lab.hardware import Machine, Pluggable
from lab.hypervisor import Hypervisor
from lab.image_factory import ImageFactory
from lab.internet import Answer, UnreachableError
from lab.network.wiring import Wiring
from lab.programs import Programs
from lab.proxmox import cluster as proxmox
from lab.proxmox import description
from lab.proxmox.cluster import Cluster
from lab.proxmox.server import Server
from lab.schematics import Schematics

FACTORY = "factory.talos.dev"
TOKEN = "pulumi@pve!cluster-stack"
DESCRIPTION = description.load()
SITE = site.load()


class CountingHypervisor(Hypervisor):
    """Machines that run because they were told to: no process, no network."""

    def __init__(self, directory: LabDirectory) -> None:
        super().__init__(directory, Programs(Path(), ()), Children(), Wiring(SITE))
        self.machines: dict[int, Machine] = {}
        self.answers_power_button = True
        self.pressed = 0

    def is_running(self, vmid: int) -> bool:
        return vmid in self.machines

    def uptime(self, vmid: int) -> int:
        return 1

    def pid(self, vmid: int) -> int | None:
        return 4711

    async def power_on(self, machine: Machine) -> None:
        self.machines[machine["vmid"]] = machine

    def replug(self, vmid: int, changed: Pluggable) -> None:
        cast("dict[str, Any]", self.machines[vmid]).update(changed)

    async def power_cut(self, vmid: int) -> None:
        if self.machines.pop(vmid, None):
            self.on_power_lost(vmid)

    async def press_power_button(self, vmid: int, timeout: float | None) -> bool:
        self.pressed += 1
        if self.answers_power_button:
            await self.power_cut(vmid)
        return self.answers_power_button


@dataclass
class Lab:
    """One in-process site and a client with its token."""

    directory: LabDirectory
    cluster: Cluster
    hypervisor: CountingHypervisor
    client: TestClient[Any, Any]
    schematics: Schematics
    headers: dict[str, str] = field(default_factory=dict)
    """What signs the requests; by default the token."""

    async def log_in(self, user: str = "root@pam", password: str | None = None) -> None:
        """Go on with a ticket in place of the token."""
        password = password or self.directory.root_password()
        answer = await self.call("POST", "/access/ticket", username=user, password=password)
        ticket = {"Cookie": f"PVEAuthCookie={quote(answer['ticket'], safe='')}"}
        self.headers = {**ticket, "CSRFPreventionToken": answer["CSRFPreventionToken"]}

    def break_things(self, kind: str, *targets: str, **options: Any) -> None:
        """Let this be wrong with each of the targets (with all, where none is named), and nothing else."""
        faults = Faults()
        for target in targets or (None,):
            faults = add(faults, Fault(kind=kind, target=target, options=options))[1]
        self.cluster.ledger.faults = faults

    async def call(self, method: str, path: str, /, **parameters: object) -> Any:
        """The data of a call that must succeed."""
        status, body = await self.answer(method, path, **parameters)
        assert status == 200, body
        return body["data"]

    async def answer(self, method: str, path: str, /, **parameters: object) -> tuple[int, dict[str, Any]]:
        values = {name.replace("__", "-"): str(value) for name, value in parameters.items()}
        where: dict[str, Any] = {"data": values} if method in ("POST", "PUT") else {"params": values}
        token = {"Authorization": f"PVEAPIToken={TOKEN}={self.directory.token_secret()}"}
        async with self.client.request(method, f"/api2/json{path}", headers=self.headers or token, **where) as response:
            body = await response.json() if response.content_length else {}
            return response.status, {**body, "reason": response.reason}

    async def task(self, method: str, path: str, /, **parameters: object) -> str:
        """Run a call that answers with a UPID, wait for the task, return its exit status."""
        upid = await self.call(method, path, **parameters)
        await self.cluster.tasks.wait_all()
        status = await self.call("GET", f"/nodes/{upid.split(':')[1]}/tasks/{upid}/status")
        assert status["status"] == "stopped"
        return str(status["exitstatus"])


@pytest.fixture
def directory(tmp_path: Path) -> LabDirectory:
    folder = LabDirectory(tmp_path)
    folder.prepare()
    return folder


MakeLab = Callable[..., Awaitable[Lab]]
"""Makes the site, or one whose Proxmox differs by the keyword arguments."""


@pytest.fixture
async def make_lab(directory: LabDirectory) -> AsyncIterator[MakeLab]:
    """Makes the site again and again on the same folder, as a daemon that restarts would."""
    clients: list[TestClient[Any, Any]] = []

    async def started(application: web.Application) -> TestClient[Any, Any]:
        clients.append(TestClient(TestServer(application)))
        await clients[-1].start_server()
        return clients[-1]

    async def make(**changes: Any) -> Lab:
        hypervisor, datacentre = CountingHypervisor(directory), _without_delays(**changes)
        schematics = Schematics(directory, datacentre.factory.schematics)
        factory = await started(ImageFactory(datacentre.factory, schematics).application(FACTORY))

        async def fetch(method: str, url: str, verify: bool) -> Answer:
            if not url.startswith(f"https://{FACTORY}/"):
                raise UnreachableError("Name or service not known")
            async with factory.request(method, url.removeprefix(f"https://{FACTORY}")) as answer:
                return Answer(answer.status, answer.reason or "", dict(answer.headers), await answer.read())

        ledger = Ledger(directory)
        cluster = proxmox.build(directory, datacentre, DESCRIPTION, hypervisor, ledger, fetch)
        events = Events(cluster)
        ledger.happens, ledger.begins, ledger.ends = events.happen, events.begin, events.end
        client = await started(Server(cluster, directory.requests).application())
        return Lab(directory, cluster, hypervisor, client, schematics)

    yield make
    for client in clients:
        await client.close()


@pytest.fixture
async def lab(make_lab: MakeLab) -> Lab:
    return await make_lab()


def _without_delays(**changes: Any) -> site.Datacentre:
    proxmox = SITE.proxmox.model_copy(update=changes)
    return SITE.model_copy(update={"proxmox": proxmox, "delays": site.Delays(boot=0, install=0, service=0, task=0)})


VM: dict[str, object] = {  # what the provider sends for the first control plane of the homelab
    "vmid": 800,
    "name": "homelab-cp1",
    "description": "Talos control plane\nof homelab",
    "tags": "control-plane;dev;talos",
    "acpi": 1,
    "agent": "enabled=1,fstrim_cloned_disks=0,type=virtio",
    "balloon": 0,
    "bios": "seabios",
    "boot": "order=scsi0;ide2",
    "cores": 4,
    "cpu": "x86-64-v2-AES",
    "ide2": "file=c137-isos:iso/talos-1.11.5-qemuguest-metal-amd64.iso,media=cdrom,",
    "keyboard": "en-us",
    "memory": 8192,
    "net0": "model=virtio,bridge=vmbr0,firewall=0",
    "numa": 0,
    "onboot": 0,
    "ostype": "l26",
    "scsi0": "file=local:32,format=raw,size=34359738368,aio=io_uring,backup=1,iothread=0,ssd=0,discard=ignore,"
    "cache=none,replicate=1",
    "scsihw": "virtio-scsi-single",
    "serial0": "socket",
    "sockets": 1,
}
