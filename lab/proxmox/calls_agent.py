"""The calls to a VM's guest agent."""

from __future__ import annotations

from typing import Any

from lab.proxmox.cluster import Cluster, Request
from lab.proxmox.registry import call

PATH = "/nodes/{node}/qemu/{vmid}/agent"


@call(f"GET {PATH}/network-get-interfaces")
async def interfaces(cluster: Cluster, request: Request) -> Any:
    return await _ask(cluster, request, "guest-network-get-interfaces")


@call(f"GET {PATH}/info")
async def info(cluster: Cluster, request: Request) -> Any:
    return await _ask(cluster, request, "guest-info")


@call(f"POST {PATH}/ping")
async def ping(cluster: Cluster, request: Request) -> Any:
    return await _ask(cluster, request, "guest-ping")


async def _ask(cluster: Cluster, request: Request, command: str) -> Any:
    guest = cluster.guests.get(request.node, request.vmid)
    return {"result": await cluster.machines.ask_agent(guest, command)}
