"""The calls about resource pools: the present form (`/pools?poolid=`) and the one with the pool in the path."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from lab.proxmox import formats
from lab.proxmox.cluster import Cluster, Request
from lab.proxmox.errors import ApiError, failure
from lab.proxmox.guest_status import guest_status
from lab.proxmox.registry import call


@call("GET /pools")
async def listed(cluster: Cluster, request: Request) -> Any:
    """The pools that the caller may see; with `poolid`, one of them with its members."""
    wanted = request.parameters.get("poolid")
    if wanted is not None:
        cluster.access.check(request.user, f"/pool/{wanted}", ["Pool.Audit"])
        return [{"poolid": wanted, **_with_members(cluster, wanted, request.parameters.get("type"))}]
    return [
        {"poolid": name, **_comment(cluster, name)}
        for name in cluster.pools
        if cluster.access.allowed(request.user, f"/pool/{name}", ["Pool.Audit"])
    ]


@call("GET /pools/{poolid}")
async def read(cluster: Cluster, request: Request) -> Any:
    return _with_members(cluster, request.parameters["poolid"], request.parameters.get("type"))


@call("POST /pools")
async def create(cluster: Cluster, request: Request) -> Any:
    with _failing_as("create pool failed"):
        cluster.pools.create(request.parameters["poolid"], request.parameters.get("comment", ""))


@call("PUT /pools")
@call("PUT /pools/{poolid}")
async def update(cluster: Cluster, request: Request) -> Any:
    """Comment, and members in or out. All or nothing."""
    name, wanted = request.parameters["poolid"], request.parameters
    with _failing_as("update pools failed"):
        pool = cluster.pools.get(name)
        guests = {int(vmid): name for vmid in formats.split_list(wanted.get("vms", ""))}
        for vmid in guests:
            _check_guest(cluster, request, name, vmid)
        storages = formats.split_list(wanted.get("storage", ""))
        for storage in storages:
            needed = ["Permissions.Modify", "Datastore.Allocate"]
            cluster.access.check(request.user, f"/storage/{storage}", needed, any_of=True)
            if (storage in pool.storages) != request.flag("delete"):
                state = "is not" if request.flag("delete") else "is already"
                raise failure(f"Storage '{storage}' {state} a pool member")
        for vmid in guests:
            guest = cluster.guests.find(vmid)
            if guest is not None:
                guest.pool = None if request.flag("delete") else name
                cluster.guests.save(guest)
        kept = [storage for storage in pool.storages if storage not in storages]
        pool.storages = kept if request.flag("delete") else kept + storages
        pool.comment = wanted.get("comment", pool.comment)
        cluster.pools.save()


@call("DELETE /pools")
@call("DELETE /pools/{poolid}")
async def remove(cluster: Cluster, request: Request) -> Any:
    name = request.parameters["poolid"]
    with _failing_as("delete pool failed"):
        pool = cluster.pools.get(name)
        for guest in cluster.members_of(name):
            raise failure(f"pool '{name}' is not empty (contains VM {guest.vmid})")
        for storage in pool.storages:
            raise failure(f"pool '{name}' is not empty (contains storage '{storage}')")
        cluster.pools.remove(name)


def _check_guest(cluster: Cluster, request: Request, name: str, vmid: int) -> None:
    cluster.access.check(request.user, f"/vms/{vmid}", ["Permissions.Modify", "VM.Allocate"], any_of=True)
    guest = cluster.guests.find(vmid)
    present = guest.pool if guest else None
    if request.flag("delete"):
        if present != name:
            raise failure(f"VM {vmid} is not a pool member")
        return
    if present == name:
        raise failure(f"VM {vmid} is already a pool member")
    if present is not None:
        if not request.flag("allow-move"):
            raise failure(f"VM {vmid} belongs already to pool '{present}' and 'allow-move' is not set")
        cluster.access.check(request.user, f"/pool/{present}", ["Pool.Allocate"])


def _with_members(cluster: Cluster, name: str, kind: str | None) -> dict[str, Any]:
    pool = cluster.pools.get(name)
    members: list[dict[str, Any]] = []
    if kind in (None, "qemu"):
        members += [
            {**guest_status(cluster, guest), "id": f"qemu/{guest.vmid}", "type": "qemu", "node": guest.node}
            for guest in cluster.members_of(name)
        ]
    if kind in (None, "storage"):
        node = cluster.datacentre.proxmox.nodes[0].name
        members += [
            {"id": f"storage/{node}/{storage}", "type": "storage", "node": node, "storage": storage}
            for storage in pool.storages
        ]
    return {"members": members, **_comment(cluster, name)}


def _comment(cluster: Cluster, name: str) -> dict[str, str]:
    comment = cluster.pools.get(name).comment
    return {"comment": comment} if comment else {}


@contextmanager
def _failing_as(what: str) -> Iterator[None]:
    """Failures of a locked section carry its name; refusals of rights do not."""
    try:
        yield
    except ApiError as error:
        if error.status != 500:
            raise
        raise failure(f"{what}: {error.message}") from None
