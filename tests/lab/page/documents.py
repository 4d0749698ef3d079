"""A page without a lab: whatever document a test wants to see shown."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from typing import Any

from aiohttp import web

from lab.page import listener
from lab.page.headline import headline
from lab.page.server import application


class Shown:
    """A document that is on a page; the test changes parts of it."""

    def __init__(self, document: dict[str, Any]) -> None:
        self.document = document

    def __call__(self) -> dict[str, Any]:
        return self.document

    def change(self, **parts: Any) -> None:
        self.document = {**self.document, **parts}


@contextlib.asynccontextmanager
async def served(shown: Shown, port: int = 0) -> AsyncIterator[str]:
    """The address at which the document is shown meanwhile."""
    with listener.bind(port) as listening:
        runner = web.AppRunner(application(shown), access_log=None, handle_signals=False, shutdown_timeout=0.1)
        await runner.setup()
        await web.SockSite(runner, listening).start()
        try:
            yield listener.address(listening)
        finally:
            await runner.cleanup()


def machine(number: int, host: str = "ms01", **more: Any) -> dict[str, Any]:
    """A worker that is ready."""
    return {
        "id": number,
        "name": f"homelab-worker{number}",
        "host": host,
        "power": "on",
        "cpus": 4,
        "memory_mib": 8192,
        "tags": [],
        "foreign": False,
        "template": False,
        "cut_off": False,
        "cut_nics": [],
        "stage": "running",
        "ready": True,
        "unmet": [],
        "hostname": f"homelab-worker{number}",
        "cluster": "homelab",
        "role": "worker",
        "talos": "v1.13.0",
        "schematic": "0" * 64,
        "installed": True,
        "addresses": [{"address": f"10.0.{number // 250}.{number % 250}/16", "link": "eth0", "virtual": False}],
        "services": [{"name": "apid", "state": "Running", "healthy": True, "message": ""}],
        **more,
    }


def document(*machines: dict[str, Any], hosts: tuple[str, ...] = ("ms01",), **parts: Any) -> dict[str, Any]:
    empty: dict[str, Any] = {name: {} for name in ("etcd", "kubernetes", "tasks", "requests", "events")}
    made = {
        "lab": {"cluster": "homelab", "proxmox": "9.2.4", "address": "https://px.example/"},
        "hosts": {host: {"cpus": 20, "memory_mib": 98304, "cut_off": False} for host in hosts},
        "vms": {str(vm["id"]): vm for vm in machines},
        "faults": [],
        **empty,
        **parts,
    }
    return {**made, "headline": headline(machines, made["etcd"], made["faults"])}
