"""The calls about storages and what lies on them."""

from __future__ import annotations

from typing import Any

from lab.datacentre import Storage
from lab.proxmox.cluster import Cluster, Request
from lab.proxmox.errors import failure
from lab.proxmox.registry import call
from lab.proxmox.storage import GIB, Volume

READERS = ["Datastore.Audit", "Datastore.AllocateSpace"]


@call("GET /storage")
async def configured(cluster: Cluster, request: Request) -> Any:
    return [
        {
            "storage": storage.id,
            "type": storage.type,
            "content": ",".join(storage.content),
            "shared": int(storage.shared),
        }
        for storage in cluster.storages
        if cluster.access.allowed(request.user, f"/storage/{storage.id}", READERS, any_of=True)
        and request.parameters.get("type") in (None, storage.type)
    ]


@call("GET /nodes/{node}/storage")
async def on_node(cluster: Cluster, request: Request) -> Any:
    wanted = request.parameters
    return [
        {"storage": storage.id, **_status(cluster, storage)}
        for storage in cluster.storages
        if cluster.access.allowed(request.user, f"/storage/{storage.id}", READERS, any_of=True)
        and wanted.get("storage") in (None, storage.id)
        and set(wanted.get("content", "").split(",")) <= {"", *storage.content}
    ]


@call("GET /nodes/{node}/storage/{storage}/status")
async def status(cluster: Cluster, request: Request) -> Any:
    return _status(cluster, cluster.storages.get(request.parameters["storage"]))


@call("GET /nodes/{node}/storage/{storage}/content")
async def content(cluster: Cluster, request: Request) -> Any:
    storage = cluster.storages.get(request.parameters["storage"])
    vmid = request.parameters.get("vmid")
    volumes = cluster.storages.list(storage.id, request.parameters.get("content"), int(vmid) if vmid else None)
    return [_entry(volume) for volume in volumes]


@call("GET /nodes/{node}/storage/{storage}/content/{volume}")
async def volume_attributes(cluster: Cluster, request: Request) -> Any:
    storage = cluster.storages.get(request.parameters["storage"])
    name = request.parameters["volume"]
    identifier = name if name.startswith(f"{storage.id}:") else f"{storage.id}:{name}"
    cluster.storages.check_access(cluster.access, request.user, None, identifier)
    volume = cluster.storages.find(identifier)
    if volume is None:
        raise failure(f"volume_size_info on '{identifier}' failed")
    folder = {"images": "images/", "iso": "template/", "vztmpl": "template/"}.get(volume.name.content, "")
    root = "/var/lib/vz" if storage.type == "dir" else f"/mnt/pve/{storage.id}"
    path = f"{root}/{folder}{volume.name.name.replace('vztmpl/', 'cache/')}"
    return {"path": path, "format": volume.name.format, "size": volume.size, "used": volume.size}


def _status(cluster: Cluster, storage: Storage) -> dict[str, Any]:
    total, used = storage.size_gib * GIB, cluster.storages.used(storage.id)
    return {
        "type": storage.type,
        "content": ",".join(storage.content),
        "active": 1,
        "enabled": 1,
        "shared": int(storage.shared),
        "total": total,
        "used": used,
        "avail": total - used,
        "used_fraction": used / total,
    }


def _entry(volume: Volume) -> dict[str, Any]:
    entry: dict[str, Any] = {
        "volid": volume.name.id,
        "content": volume.name.content,
        "format": volume.name.format,
        "size": volume.size,
        "ctime": volume.created,
    }
    if volume.vmid is not None:
        entry |= {"vmid": volume.vmid, "used": volume.size, "parent": None}
    return entry
