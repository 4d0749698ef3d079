"""The calls that make VMs of VMs: clones, templates, snapshots."""

from __future__ import annotations

from typing import Any, cast

from lab.proxmox.calls_guests import masked
from lab.proxmox.cluster import Cluster, Request
from lab.proxmox.registry import call
from lab.proxmox.tasks import Task
from lab.proxmox.volumes import Feature

SNAPSHOT = "/nodes/{node}/qemu/{vmid}/snapshot"


@call("POST /nodes/{node}/qemu/{vmid}/clone")
async def clone(cluster: Cluster, request: Request) -> Any:
    guest = cluster.guests.get(request.node, request.vmid)
    cluster.cloning.check(request.user, guest, request.parameters)

    async def work(task: Task) -> None:
        plan = cluster.cloning.check(request.user, guest, request.parameters)
        await cluster.cloning.run(plan, task)

    return cluster.tasks.spawn(guest.node, "qmclone", str(guest.vmid), request.user, work)


@call("POST /nodes/{node}/qemu/{vmid}/template")
async def make_template(cluster: Cluster, request: Request) -> Any:
    guest, disk = cluster.guests.get(request.node, request.vmid), request.parameters.get("disk")
    cluster.cloning.check_template(guest, disk)

    async def work(_: Task) -> None:
        cluster.cloning.make_template(guest, disk)

    return cluster.tasks.spawn(guest.node, "qmtemplate", str(guest.vmid), request.user, work)


@call(f"GET {SNAPSHOT}")
async def snapshots(cluster: Cluster, request: Request) -> Any:
    return cluster.snapshots.listed(cluster.guests.get(request.node, request.vmid))


@call(f"POST {SNAPSHOT}")
async def take_snapshot(cluster: Cluster, request: Request) -> Any:
    guest, name = cluster.guests.get(request.node, request.vmid), request.parameters["snapname"]
    cluster.snapshots.check_name(name)

    async def work(_: Task) -> None:
        description = request.parameters.get("description", "")
        cluster.snapshots.take(guest, name, description, memory=request.flag("vmstate"))

    return cluster.tasks.spawn(guest.node, "qmsnapshot", str(guest.vmid), request.user, work)


@call(f"GET {SNAPSHOT}/{{snapname}}")
async def snapshot_index(_: Cluster, __: Request) -> Any:
    return [{"cmd": "rollback"}, {"cmd": "config"}]


@call(f"GET {SNAPSHOT}/{{snapname}}/config")
async def snapshot_config(cluster: Cluster, request: Request) -> Any:
    guest = cluster.guests.get(request.node, request.vmid)
    return masked(cluster.snapshots.get(guest, request.parameters["snapname"]))


@call(f"PUT {SNAPSHOT}/{{snapname}}/config")
async def describe_snapshot(cluster: Cluster, request: Request) -> Any:
    guest = cluster.guests.get(request.node, request.vmid)
    if "description" in request.parameters:
        cluster.snapshots.describe(guest, request.parameters["snapname"], request.parameters["description"])


@call(f"POST {SNAPSHOT}/{{snapname}}/rollback")
async def roll_back(cluster: Cluster, request: Request) -> Any:
    guest = cluster.guests.get(request.node, request.vmid)
    if request.flag("start"):
        cluster.access.check(request.user, f"/vms/{guest.vmid}", ["VM.PowerMgmt"])

    async def work(task: Task) -> None:
        await cluster.snapshots.roll_back(guest, request.parameters["snapname"])
        if request.flag("start"):
            await cluster.machines.start(guest, task)

    return cluster.tasks.spawn(guest.node, "qmrollback", str(guest.vmid), request.user, work)


@call(f"DELETE {SNAPSHOT}/{{snapname}}")
async def remove_snapshot(cluster: Cluster, request: Request) -> Any:
    guest = cluster.guests.get(request.node, request.vmid)

    async def work(_: Task) -> None:
        cluster.snapshots.remove(guest, request.parameters["snapname"], force=request.flag("force"))

    return cluster.tasks.spawn(guest.node, "qmdelsnapshot", str(guest.vmid), request.user, work)


@call("GET /nodes/{node}/qemu/{vmid}/feature")
async def feature(cluster: Cluster, request: Request) -> Any:
    guest = cluster.guests.get(request.node, request.vmid)
    config = guest.config
    if name := request.parameters.get("snapname"):
        config = cluster.snapshots.get(guest, name)
    wanted = cast("Feature", request.parameters["feature"])  # the schema lets no other through
    return {
        "hasFeature": int(cluster.snapshots.has_feature(config, wanted, name)),
        "nodes": cluster.snapshots.shared_nodes(config),
    }
