"""The calls under /cluster/ha: resources, rules, and the groups that Proxmox VE 9 no longer has."""

from __future__ import annotations

import time
from typing import Any

from lab.proxmox import ha
from lab.proxmox.cluster import Cluster, Request
from lab.proxmox.errors import failure
from lab.proxmox.guests import Guest
from lab.proxmox.registry import call


@call("GET /cluster/ha/resources")
async def resources(cluster: Cluster, request: Request) -> Any:
    found = [cluster.ha.configuration.resource(sid) for sid in cluster.ha.configuration.resources]
    return [entry for entry in found if request.parameters.get("type") in (None, entry["type"])]


@call("GET /cluster/ha/resources/{sid}")
async def resource(cluster: Cluster, request: Request) -> Any:
    return cluster.ha.configuration.resource(_sid(request))


@call("POST /cluster/ha/resources")
async def add_resource(cluster: Cluster, request: Request) -> Any:
    sid = _sid(request)
    _guest(cluster, sid)
    cluster.ha.configuration.add_resource(sid, request.parameters)
    cluster.ha.look()


@call("PUT /cluster/ha/resources/{sid}")
async def update_resource(cluster: Cluster, request: Request) -> Any:
    cluster.ha.configuration.update_resource(_sid(request), request.parameters)
    cluster.ha.look()


@call("DELETE /cluster/ha/resources/{sid}")
async def remove_resource(cluster: Cluster, request: Request) -> Any:
    sid = _sid(request)
    if sid not in cluster.ha.configuration.resources:
        raise failure(f"cannot delete service '{sid}', not HA managed!")
    cluster.ha.configuration.remove_resource(sid, purge=request.parameters.get("purge", "1") == "1")


@call("POST /cluster/ha/resources/{sid}/migrate")
async def migrate(cluster: Cluster, request: Request) -> Any:
    sid, node = _sid(request), cluster.node(request.node).name
    if sid not in cluster.ha.configuration.resources:
        raise failure(f"cannot migrate service '{sid}', not HA managed!")
    cluster.ha.migrate(_guest(cluster, sid), node)
    return {"sid": sid, "requested-node": node}


@call("GET /cluster/ha/rules")
async def rules(cluster: Cluster, request: Request) -> Any:
    kind, sid = request.parameters.get("type"), request.parameters.get("resource")
    return [
        cluster.ha.configuration.rule(name)
        for name, rule in cluster.ha.configuration.rules.items()
        if kind in (None, rule["type"]) and (sid is None or sid in ha.members(rule))
    ]


@call("GET /cluster/ha/rules/{rule}")
async def rule(cluster: Cluster, request: Request) -> Any:
    return cluster.ha.configuration.rule(request.parameters["rule"])


@call("POST /cluster/ha/rules")
async def add_rule(cluster: Cluster, request: Request) -> Any:
    cluster.ha.configuration.add_rule(request.parameters["rule"], request.parameters)
    cluster.ha.look()


@call("PUT /cluster/ha/rules/{rule}")
async def update_rule(cluster: Cluster, request: Request) -> Any:
    cluster.ha.configuration.update_rule(request.parameters["rule"], request.parameters)
    cluster.ha.look()


@call("DELETE /cluster/ha/rules/{rule}")
async def remove_rule(cluster: Cluster, request: Request) -> Any:
    cluster.ha.configuration.remove_rule(request.parameters["rule"])


@call("GET /cluster/ha/status/current")
async def status(cluster: Cluster, _: Request) -> Any:
    """The manager as it is now: who decides, whose hosts act, and what becomes of each resource."""
    hosts, now = [node.name for node in cluster.datacentre.proxmox.nodes], time.time()
    stamp = time.strftime("%a %b %e %H:%M:%S %Y", time.localtime(now))
    rows: list[dict[str, Any]] = [
        {"id": "quorum", "type": "quorum", "node": hosts[0], "quorate": 1, "status": "OK"},
        {
            "id": "master",
            "type": "master",
            "node": hosts[0],
            "status": f"{hosts[0]} ({_activity(cluster)}, {stamp})",
            "timestamp": int(now),
        },
    ]
    rows += [
        {
            "id": f"lrm:{host}",
            "type": "lrm",
            "node": host,
            "status": f"{host} ({_activity(cluster, host)}, {stamp})",
            "timestamp": int(now),
        }
        for host in hosts
    ]
    for sid, settings in cluster.ha.configuration.resources.items():
        guest = _guest(cluster, sid)
        state = cluster.ha.state(guest)
        rows.append(
            {
                "id": f"service:{sid}",
                "type": "service",
                "sid": sid,
                "node": guest.node,
                "state": state,
                "crm_state": state,
                "request_state": settings.get("state", "started"),
                "status": f"{sid} ({guest.node}, {state})",
                "max_restart": settings.get("max_restart", 1),
                "max_relocate": settings.get("max_relocate", 1),
            }
        )
    return rows


@call("GET /cluster/ha/groups")
async def groups(_: Cluster, __: Request) -> Any:
    raise failure(f"cannot index groups: {ha.MIGRATED}")


@call("POST /cluster/ha/groups")
async def add_group(_: Cluster, __: Request) -> Any:
    raise failure(f"cannot create group: {ha.MIGRATED}")


@call("GET /cluster/ha/groups/{group}")
async def group(_: Cluster, __: Request) -> Any:
    raise failure(f"cannot read group: {ha.MIGRATED}")


@call("PUT /cluster/ha/groups/{group}")
async def update_group(_: Cluster, __: Request) -> Any:
    raise failure(f"cannot update group: {ha.MIGRATED}")


@call("DELETE /cluster/ha/groups/{group}")
async def remove_group(_: Cluster, __: Request) -> Any:
    raise failure(f"cannot delete group: {ha.MIGRATED}")


def _activity(cluster: Cluster, host: str | None = None) -> str:
    """A manager without anything to do stands by."""
    guests = [_guest(cluster, sid) for sid in cluster.ha.configuration.resources]
    return "active" if any(host in (None, guest.node) for guest in guests) else "idle"


def _sid(request: Request) -> str:
    sid = ha.resource_id(request.parameters["sid"])
    if request.parameters.get("type", sid.partition(":")[0]) != sid.partition(":")[0]:
        raise failure("types does not match")
    return sid


def _guest(cluster: Cluster, sid: str) -> Guest:
    kind, _, name = sid.partition(":")
    guest = cluster.guests.find(int(name)) if kind == "vm" and name.isdigit() else None
    if guest is None:
        raise failure(f"resource '{sid}' does not exists in cluster")
    return guest
