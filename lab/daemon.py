"""The lab's one long-running process, the init of its PID namespace.

Puts the site together and serves it until the power goes. Owns start-up order and shutdown. Being init means that its
death, however it comes, takes every machine with it.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import socket
import ssl
import sys
import time
from collections.abc import Callable
from ipaddress import IPv4Address
from typing import Any

from aiohttp import web

from lab import certificates, control, environment, internet
from lab.chart_registry import ChartRegistry
from lab.children import Children
from lab.datacentre import Datacentre
from lab.directory import REPOSITORY, LabDirectory, write_json
from lab.faults.events import Events
from lab.faults.ledger import Ledger
from lab.hypervisor import PATH, Hypervisor
from lab.image_factory import ImageFactory
from lab.kubelets import Kubelets
from lab.namespace import own_pid
from lab.network.wiring import Wiring
from lab.page import listener, recent_requests, reports
from lab.page import server as page
from lab.page.document import Document
from lab.programs import Programs
from lab.proxmox import cluster as proxmox
from lab.proxmox import description
from lab.proxmox.server import Server
from lab.schematics import Schematics

HTTPS = 443
GIT, CHARTS = "git.lan", "quay.io"
START_SECONDS = 20.0


class Site:
    """Everything that answers in one lab."""

    def __init__(self, directory: LabDirectory, datacentre: Datacentre, programs: Programs) -> None:
        self._directory = directory
        self._datacentre = datacentre
        self._programs = programs
        schematics = Schematics(directory, datacentre.factory.schematics)
        self._factory = ImageFactory(datacentre.factory, schematics)
        self._ledger = Ledger(directory)
        self._control = control.Server(directory, datacentre, self._ledger, self.status, schematics.post)
        self._children = Children()
        self._wiring = Wiring(datacentre)
        self._hypervisor = Hypervisor(directory, programs, self._children, self._wiring)
        self._kubelets = programs.kubernetes and Kubelets(directory, self._children, programs.kubernetes, PATH)
        self._cluster = proxmox.build(
            directory,
            datacentre,
            description.load(),
            self._hypervisor,
            self._ledger,
            internet.client(directory.ca),
        )
        self._requests = recent_requests.RecentRequests()
        self._document = Document(
            self._cluster,
            self._hypervisor,
            reports.Reports(directory.vms),
            self._requests,
            lambda: self._ledger.faults,
        )
        events = Events(self._cluster)
        self._ledger.happens, self._ledger.begins, self._ledger.ends = events.happen, events.begin, events.end
        self._hypervisor.faults = lambda: self._ledger.faults
        self._proxmox_site: web.TCPSite | None = None
        self._proxmox_runner: web.AppRunner | None = None

    async def start(self, page_socket: socket.socket) -> None:
        """Make everything answer; the page does on a socket that was made outside."""
        self._children.watch()
        self._wiring.host_of = self._host_of
        await self._wiring.start(self._ledger.faults.network)
        server = Server(self._cluster, self._directory.requests, self._requests.add)
        self._proxmox_runner = await _runner(server.application())
        await self._open_or_close_proxmox()
        for registry in self._datacentre.factory.registries:
            await self._serve(await _runner(self._factory.application(registry)), registry)
        await self._start_discovery()
        if self._kubelets:
            self._kubelets.start()
            self._start_git()
            await self._serve_charts()
        self._ledger.on_change(self._open_or_close_proxmox)
        self._ledger.on_change(self._rewire)
        self._ledger.on_change(self._refresh_dhcp)
        self._ledger.on_change(self._hypervisor.refresh_faults)
        await web.SockSite(await _runner(page.application(self._document)), page_socket).start()
        await self._control.start()
        await self._cluster.power_on_what_ran()

    def status(self) -> dict[str, Any]:
        guests = [
            {
                "vmid": guest.vmid,
                "name": guest.name,
                "node": guest.node,
                "running": self._cluster.machines.is_running(guest),
                "pid": self._hypervisor.pid(guest.vmid),
                "foreign": guest.foreign,
            }
            for guest in self._cluster.guests
        ]
        return {"guests": guests, "faults": [fault.model_dump(mode="json") for fault in self._ledger.faults]}

    def power_cut(self) -> None:
        self._hypervisor.cut_everything()

    async def _serve(self, runner: web.AppRunner, name: str) -> web.TCPSite:
        address = self._datacentre.names[name]
        site = web.TCPSite(runner, str(address), HTTPS, ssl_context=_tls(self._directory, name, address))
        await site.start()
        return site

    async def _open_or_close_proxmox(self) -> None:
        assert self._proxmox_runner is not None
        proxmox, faults = self._datacentre.proxmox, self._ledger.faults
        gone = {node.address for node in proxmox.nodes if node.name in faults.hosts_down}
        unreachable = faults.proxmox_unreachable or self._datacentre.names[proxmox.name] in gone
        if unreachable and self._proxmox_site is not None:
            await self._proxmox_site.stop()
            server = self._proxmox_runner.server
            assert server is not None
            await server.shutdown(0.1)  # open connections break, as they do when a host goes away
            self._proxmox_site = None
        elif not unreachable and self._proxmox_site is None:
            self._proxmox_site = await self._serve(self._proxmox_runner, self._datacentre.proxmox.name)

    def _host_of(self, vmid: int) -> str | None:
        return next((guest.node for guest in self._cluster.guests if guest.vmid == vmid), None)

    async def _rewire(self) -> None:
        await self._wiring.set_faults(self._ledger.faults.network)

    async def _refresh_dhcp(self) -> None:
        self._cluster.machines.refresh_dhcp()

    def _start_git(self) -> None:
        """A site with Kubernetes has a Git server, for what its clusters read from there."""
        address = self._datacentre.names.get(GIT)
        if address is None:
            return
        certificate, key = certificates.ensure_server(self._directory, GIT, address)
        self._children.start(
            [
                *(sys.executable, "-m", "lab.git_server"),
                f"--address={address}",
                f"--certificate={certificate}",
                f"--key={key}",
                f"--folder={self._directory.repositories}",
            ],
            folder=REPOSITORY,
            output=self._directory.root / "git.log",
            environment={"PATH": PATH, "HOME": str(self._directory.repositories)},
        )

    async def _serve_charts(self) -> None:
        """What Helm finds on the site's internet."""
        if self._programs.kubernetes and CHARTS in self._datacentre.names:
            registry = ChartRegistry(self._programs.kubernetes.charts)
            await self._serve(await _runner(registry.application()), CHARTS)

    async def _start_discovery(self) -> None:
        """The discovery service is the real one, in a process of its own."""
        name = "discovery.talos.dev"
        address = self._datacentre.names[name]
        certificate, key = certificates.ensure_server(self._directory, name, address)
        output = self._directory.root / "discovery.log"
        discovery = self._children.start(
            [
                str(self._programs.node),
                "discovery",
                f"--listen={address}:{HTTPS}",
                f"--cert={certificate}",
                f"--key={key}",
            ],
            folder=self._directory.discovery,
            output=output,
            environment={"PATH": PATH, "HOME": str(self._directory.discovery), **environment.trust(self._directory)},
        )
        answers = asyncio.create_task(_until_it_listens(address))
        waiting: set[asyncio.Future[Any]] = {discovery.ended, answers}
        await asyncio.wait(waiting, timeout=START_SECONDS, return_when=asyncio.FIRST_COMPLETED)
        if not answers.done():
            raise OSError(f"the discovery service does not answer, see {output}")


def run(
    directory: LabDirectory,
    datacentre: Datacentre,
    programs: Programs,
    page_socket: socket.socket,
    ready: Callable[[], None],
) -> None:
    """Serve until SIGTERM; `ready` is called once everything answers."""
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(name)s: %(message)s")
    asyncio.run(_run(directory, datacentre, programs, page_socket, ready))
    # Leaving takes the PID namespace, and with it every process in it, along.


async def _run(
    directory: LabDirectory,
    datacentre: Datacentre,
    programs: Programs,
    page_socket: socket.socket,
    ready: Callable[[], None],
) -> None:
    loop, power_cut = asyncio.get_running_loop(), asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, power_cut.set)
    loop.add_signal_handler(signal.SIGHUP, lambda: None)
    site = Site(directory, datacentre, programs)
    await site.start(page_socket)
    about = {"pid": own_pid(), "since": time.time(), "user": os.getuid(), "page": listener.address(page_socket)}
    write_json(directory.daemon, about)
    ready()
    await power_cut.wait()
    site.power_cut()
    directory.control_socket.unlink(missing_ok=True)
    directory.daemon.unlink(missing_ok=True)
    os._exit(0)


async def _runner(application: web.Application) -> web.AppRunner:
    runner = web.AppRunner(application, access_log=None, handle_signals=False)
    await runner.setup()
    return runner


async def _until_it_listens(address: IPv4Address) -> None:
    while True:
        try:
            _, writer = await asyncio.open_connection(str(address), HTTPS)
        except OSError:
            await asyncio.sleep(0.02)
        else:
            writer.close()
            return


def _tls(directory: LabDirectory, name: str, address: IPv4Address) -> ssl.SSLContext:
    certificate, key = certificates.ensure_server(directory, name, address)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.load_cert_chain(certificate, key)
    return context
