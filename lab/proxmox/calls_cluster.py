"""The calls about the cluster and its hosts: version, resources, next id, tasks, permissions."""

from __future__ import annotations

import re
import time
from typing import Any

from lab.datacentre import Node
from lab.proxmox.cluster import Cluster, Request
from lab.proxmox.errors import ApiError, failure, parameter_error
from lab.proxmox.formats import USUAL_MTU
from lab.proxmox.guest_status import guest_status
from lab.proxmox.registry import call
from lab.proxmox.tasks import Task

MIB = 1 << 20
GIB = 1 << 30
STARTED = time.time()


@call("GET /version")
async def version(cluster: Cluster, _: Request) -> Any:
    return dict(cluster.datacentre.proxmox.version)


@call("GET /cluster/status")
async def cluster_status(cluster: Cluster, _: Request) -> Any:
    nodes = cluster.datacentre.proxmox.nodes
    rows: list[dict[str, Any]] = [
        {
            "id": f"node/{node.name}",
            "type": "node",
            "name": node.name,
            "nodeid": number,
            "online": int(node.name not in cluster.ledger.faults.hosts_down),
            "local": int(number == 1),
            "level": "",
            "ip": str(node.address),
        }
        for number, node in enumerate(nodes, start=1)
    ]
    if len(nodes) > 1:
        name = cluster.datacentre.proxmox.cluster
        rows.append(
            {"id": "cluster", "type": "cluster", "name": name, "nodes": len(nodes), "quorate": 1, "version": len(nodes)}
        )
    return rows


@call("GET /cluster/resources")
async def resources(cluster: Cluster, request: Request) -> Any:
    """Everything that the caller may see."""
    kind, user = request.parameters.get("type"), request.user
    rows: list[dict[str, Any]] = []
    if kind in (None, "vm"):
        for guest in cluster.guests:
            if cluster.access.allowed(user, f"/vms/{guest.vmid}", ["VM.Audit"]):
                row = guest_status(cluster, guest)
                row["maxcpu"] = row.pop("cpus")
                row.pop("pid", None)
                row |= {"id": f"qemu/{guest.vmid}", "type": "qemu", "node": guest.node}
                row["template"] = guest.config.get("template", 0)
                if cluster.ha.is_configured(guest.vmid):
                    row["hastate"] = cluster.ha.state(guest)
                if guest.pool:
                    row["pool"] = guest.pool
                if guest.node in cluster.ledger.faults.hosts_down:
                    row["status"] = "unknown"
                rows.append(row)
    if kind in (None, "node"):
        rows += [{**_node_row(cluster, node), "id": f"node/{node.name}"} for node in cluster.datacentre.proxmox.nodes]
    if kind in (None, "storage"):
        for node in cluster.datacentre.proxmox.nodes:
            host = cluster.storages.on(node.name)
            for storage in (storage for storage in cluster.storages if storage.is_on(node.name)):
                path, needed = f"/storage/{storage.id}", ["Datastore.AllocateSpace", "Datastore.Audit"]
                if cluster.access.allowed(user, path, needed, any_of=True):
                    rows.append(
                        {
                            "id": f"storage/{node.name}/{storage.id}",
                            "type": "storage",
                            "storage": storage.id,
                            "node": node.name,
                            "status": "unknown" if node.name in cluster.ledger.faults.hosts_down else "available",
                            "plugintype": storage.type,
                            "content": ",".join(storage.content),
                            "shared": int(storage.shared),
                            "maxdisk": storage.size_gib * GIB,
                            "disk": host.used(storage.id),
                        }
                    )
    return rows


@call("GET /cluster/nextid")
async def next_id(cluster: Cluster, request: Request) -> Any:
    taken = {guest.vmid for guest in cluster.guests}
    if wanted := request.parameters.get("vmid"):
        if int(wanted) in taken:
            raise parameter_error({"vmid": f"VM {wanted} already exists"})
        return wanted
    bounds = dict(part.split("=") for part in cluster.settings.of_cluster().get("next-id", "").split(",") if part)
    lower, upper = int(bounds.get("lower", 100)), int(bounds.get("upper", 1_000_000))
    free = next((number for number in range(lower, upper) if number not in taken), None)
    if free is None:
        raise failure(f"unable to get any free VMID in range [{lower}, {upper}]")
    return str(free)


@call("GET /cluster/tasks")
async def recent_tasks(cluster: Cluster, request: Request) -> Any:
    """The caller's own tasks on all hosts; all of them to those who may look at the hosts."""
    found = [
        task
        for node in cluster.datacentre.proxmox.nodes
        for task in cluster.tasks.on_node(node.name)
        if _owns(request.user, task) or cluster.access.allowed(request.user, f"/nodes/{node.name}", ["Sys.Audit"])
    ]
    return [task.summary() for task in sorted(found, key=lambda task: task.starttime, reverse=True)]


@call("GET /nodes")
async def nodes(cluster: Cluster, _: Request) -> Any:
    return [{**_node_row(cluster, node), "id": f"node/{node.name}"} for node in cluster.datacentre.proxmox.nodes]


@call("GET /nodes/{node}/status")
async def node_status(cluster: Cluster, request: Request) -> Any:
    node = cluster.node(request.node)
    row = _node_row(cluster, node)
    memory = {"total": row["maxmem"], "used": row["mem"], "free": row["maxmem"] - row["mem"]}
    disk = cluster.storages.get("local") if any(s.id == "local" for s in cluster.storages) else None
    total = disk.size_gib * GIB if disk else 0
    used = cluster.storages.on(node.name).used(disk.id) if disk else 0
    return {
        "pveversion": f"pve-manager/{cluster.datacentre.proxmox.version['version']}",
        "kversion": f"Linux {node.kernel}",
        "uptime": row["uptime"],
        "loadavg": ["0.10", "0.12", "0.09"],
        "cpu": row["cpu"],
        "wait": 0,
        "idle": 0,
        "memory": memory,
        "swap": {"total": 0, "used": 0, "free": 0},
        "rootfs": {"total": total, "used": used, "free": total - used, "avail": total - used},
        "cpuinfo": {
            "model": node.cpu_model,
            "cpus": node.cpus,
            "cores": node.cpus // 2,
            "sockets": 1,
            "hvm": "1",
            "mhz": "2600.000",
            "user_hz": 100,
            "flags": "aes avx avx2 sse4_2 popcnt vmx",
        },
        "current-kernel": {"sysname": "Linux", "release": node.kernel, "version": "#1 SMP PVE", "machine": "x86_64"},
        "boot-info": {"mode": "efi", "secureboot": 0},
    }


@call("GET /nodes/{node}/version")
async def node_version(cluster: Cluster, _: Request) -> Any:
    return dict(cluster.datacentre.proxmox.version)


@call("GET /nodes/{node}/network")
async def networks(cluster: Cluster, request: Request) -> Any:
    """The host's bridges, to those who may use them or see the host."""
    if request.parameters.get("type") not in (None, "bridge", "any_bridge", "any_local_bridge", "include_sdn"):
        return []
    audit = cluster.access.allowed(request.user, f"/nodes/{request.node}", ["Sys.Audit"])
    rows = []
    for bridge in cluster.datacentre.proxmox.bridges:
        path, address = f"/sdn/zones/localnetwork/{bridge.name}", bridge.addresses.get(request.node)
        if address is None:
            continue
        if audit or cluster.access.allowed(request.user, path, ["SDN.Audit", "SDN.Use"], any_of=True):
            rows.append(
                {
                    "iface": bridge.name,
                    "type": "bridge",
                    "active": 1,
                    "autostart": 1,
                    "method": "static",
                    "address": str(address.ip),
                    "netmask": str(address.network.prefixlen),
                    "cidr": str(address),
                    "bridge_ports": "enp87s0",
                    "families": ["inet"],
                    "priority": 1,
                    **({"mtu": str(bridge.mtu)} if bridge.mtu != USUAL_MTU else {}),
                }
            )
    return rows


@call("GET /nodes/{node}/tasks")
async def tasks(cluster: Cluster, request: Request) -> Any:
    """The caller's own tasks; all of them to those who may look at the host."""
    everything = cluster.access.allowed(request.user, f"/nodes/{request.node}", ["Sys.Audit"])
    wanted = request.parameters
    found = [
        task.summary()
        for task in cluster.tasks.on_node(request.node)
        if (everything or _owns(request.user, task))
        and wanted.get("vmid") in (None, task.id)
        and wanted.get("typefilter") in (None, task.type)
        and (wanted.get("errors") != "1" or task.exitstatus not in (None, "OK"))
    ]
    first, count = int(wanted.get("start", 0)), int(wanted.get("limit", 50))
    return found[first : first + count]


@call("GET /nodes/{node}/tasks/{upid}/status")
async def task_status(cluster: Cluster, request: Request) -> Any:
    return _visible_task(cluster, request).status()


@call("GET /nodes/{node}/tasks/{upid}/log")
async def task_log(cluster: Cluster, request: Request) -> Any:
    lines = _visible_task(cluster, request).lines or ["no content"]
    first, count = int(request.parameters.get("start", 0)), int(request.parameters.get("limit", 50))
    return [{"n": number, "t": line} for number, line in enumerate(lines, start=1)][first : first + count]


@call("DELETE /nodes/{node}/tasks/{upid}")
async def stop_task(cluster: Cluster, request: Request) -> Any:
    task = _named_task(cluster, request)
    if not _owns(request.user, task):
        cluster.access.check(request.user, f"/nodes/{request.node}", ["Sys.Modify"])
    await cluster.tasks.stop(task.upid)


def _visible_task(cluster: Cluster, request: Request) -> Task:
    task = _named_task(cluster, request)
    if not _owns(request.user, task):
        cluster.access.check(request.user, f"/nodes/{request.node}", ["Sys.Audit"])
    return task


def _named_task(cluster: Cluster, request: Request) -> Task:
    upid = request.parameters["upid"]
    if not re.fullmatch(r"UPID:[^:]+:[0-9A-F]{8,9}:[0-9A-F]{8,9}:[0-9A-F]{8}:[^:]+:[^:]*:[^:]+:", upid):
        raise ApiError(500, f"unable to parse worker upid '{upid}'")
    return cluster.tasks.get(request.node, upid)


def _owns(user: str, task: Task) -> bool:
    """A token owns its tasks; a user owns theirs and their tokens'."""
    return task.user == user or task.user.partition("!")[0] == user


def _node_row(cluster: Cluster, node: Node) -> dict[str, Any]:
    if node.name in cluster.ledger.faults.hosts_down:
        return {"node": node.name, "type": "node", "status": "offline", "level": "", "ssl_fingerprint": ""}
    guests = [guest for guest in cluster.guests if guest.node == node.name and cluster.machines.is_running(guest)]
    return {
        "node": node.name,
        "type": "node",
        "status": "online",
        "level": "",
        "maxcpu": node.cpus,
        "cpu": 0.02,
        "maxmem": node.memory_mib * MIB,
        "mem": sum(int(guest_status(cluster, guest)["mem"]) for guest in guests),
        "maxdisk": 100 * GIB,
        "disk": 10 * GIB,
        "uptime": int(time.time() - STARTED),
        "ssl_fingerprint": "",
    }
