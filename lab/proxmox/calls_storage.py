"""The calls about storages as a host has them, and about what lies on them."""

from __future__ import annotations

from typing import Any

from lab.datacentre import Storage
from lab.proxmox import formats
from lab.proxmox.cluster import Cluster, Request
from lab.proxmox.errors import ApiError, failure, parameter_error
from lab.proxmox.registry import call
from lab.proxmox.storage import GIB, HostStorages
from lab.proxmox.tasks import Task
from lab.proxmox.volumes import Volume, VolumeName, host_path

READERS = ["Datastore.Audit", "Datastore.AllocateSpace"]
SUBDIRECTORIES = "content download-url file-restore import-metadata prunebackups rrd rrddata status upload"
FROM_THE_GUEST = "You can delete the image from the guest's hardware pane"
CONTENT = "/nodes/{node}/storage/{storage}/content"


@call("GET /nodes/{node}/storage")
async def on_node(cluster: Cluster, request: Request) -> Any:
    wanted, host = request.parameters, cluster.storages.on(request.node)
    return [
        {"storage": storage.id, **_status(host, storage)}
        for storage in cluster.storages
        if storage.is_on(request.node)
        and not (request.flag("enabled") and storage.disabled)
        and cluster.access.allowed(request.user, f"/storage/{storage.id}", READERS, any_of=True)
        and wanted.get("storage") in (None, storage.id)
        and set(wanted.get("content", "").split(",")) <= {"", *storage.content}
        and ("target" not in wanted or (storage.shared and storage.is_on(wanted["target"])))
    ]


@call("GET /nodes/{node}/storage/{storage}")
async def index(_: Cluster, __: Request) -> Any:
    return [{"subdir": name} for name in SUBDIRECTORIES.split()]


@call("GET /nodes/{node}/storage/{storage}/status")
async def status(cluster: Cluster, request: Request) -> Any:
    host = cluster.storages.on(request.node)
    return _status(host, host.enabled(request.parameters["storage"]))


@call(f"GET {CONTENT}")
async def content(cluster: Cluster, request: Request) -> Any:
    host, vmid = cluster.storages.on(request.node), request.parameters.get("vmid")
    storage = host.enabled(request.parameters["storage"])
    volumes = host.list(storage.id, request.parameters.get("content"), int(vmid) if vmid else None)
    return [_entry(volume) for volume in volumes if _may_see(cluster, request.user, volume)]


@call(f"POST {CONTENT}")
async def allocate(cluster: Cluster, request: Request) -> Any:
    """A disk that no VM has in a drive yet."""
    host, wanted = cluster.storages.on(request.node), request.parameters
    storage = host.enabled(wanted["storage"])
    stem, dot, ending = wanted["filename"].rpartition(".")
    stem, file_format = (stem, ending) if dot else (wanted["filename"], wanted.get("format", "raw"))
    if "format" in wanted and dot and wanted["format"] != ending:
        raise failure(f"format does not match file extension ({ending} != {wanted['format']})")
    if not stem.startswith(f"vm-{wanted['vmid']}-"):
        raise failure(f"illegal name '{wanted['filename']}' - should be 'vm-{wanted['vmid']}-*'")
    number, unit = wanted["size"].rstrip("MG"), wanted["size"][-1]
    size = int(number) * (formats.UNITS[unit] if unit in "MG" else formats.UNITS["K"])
    return host.allocate_disk(storage.id, int(wanted["vmid"]), file_format, size, stem=stem).name.id


@call(f"GET {CONTENT}/{{volume}}")
async def volume_attributes(cluster: Cluster, request: Request) -> Any:
    host, name = cluster.storages.on(request.node), _volume_name(cluster, request)
    cluster.storages.check_access(cluster.access, request.user, None, name.id)
    volume = host.find(name.id)
    if volume is None:
        raise failure(f"volume_size_info on '{name.id}' failed - no format")
    path = host_path(cluster.storages.get(name.storage), name)
    notes = {"notes": volume.notes} if volume.notes else {}
    return {"path": path, "format": name.format, "size": volume.size, "used": volume.used, **notes}


@call(f"PUT {CONTENT}/{{volume}}")
async def describe(cluster: Cluster, request: Request) -> Any:
    """Notes and protection, which Proxmox keeps for backups alone."""
    host, name = cluster.storages.on(request.node), _volume_name(cluster, request)
    cluster.storages.check_access(cluster.access, request.user, None, name.id)
    if name.content != "backup":
        raise failure("volume notes and protection are only supported for backups")
    volume = host.require(name.id)
    protected = request.flag("protected") if "protected" in request.parameters else volume.protected
    host.describe(volume, request.parameters.get("notes", volume.notes), protected)


@call(f"DELETE {CONTENT}/{{volume}}")
async def remove(cluster: Cluster, request: Request) -> Any:
    """A task; with `delay`, nothing where it ends within that many seconds."""
    host, name = cluster.storages.on(request.node), _volume_name(cluster, request)
    cluster.access.check(request.user, f"/storage/{name.storage}", ["Datastore.Allocate"])
    guest = cluster.guests.find(name.owner) if name.owner is not None else None
    if guest is not None and guest.node == request.node and name.content == "images":
        raise failure(f"Cannot remove image, a guest with VMID '{name.owner}' exists!\n{FROM_THE_GUEST}")

    async def work(task: Task) -> None:
        host.enabled(name.storage)
        volume = host.find(name.id)
        if volume is not None and volume.protected:
            raise failure("volume is protected")
        host.free(name.id)
        task.log(f"Removed volume '{name.id}'")

    identifier = name.storage if name.owner is None else f"{name.owner}@{name.storage}"
    upid = cluster.tasks.spawn(request.node, "imgdel", identifier, request.user, work)
    if "delay" in request.parameters:
        task = await cluster.tasks.wait(upid, float(request.parameters["delay"]))
        if task is not None and task.exitstatus == "OK":
            return None
        if task is not None:
            raise failure(str(task.exitstatus))
    return upid


def _may_see(cluster: Cluster, user: str, volume: Volume) -> bool:
    try:
        cluster.storages.check_access(cluster.access, user, None, volume.name.id)
    except ApiError:
        return False
    return True


def _volume_name(cluster: Cluster, request: Request) -> VolumeName:
    """The volume that a call names: by its whole id, or by its name on the storage of the path."""
    storage, name = request.parameters["storage"], request.parameters["volume"]
    if ":" not in name:
        name = f"{storage}:{name}"
    elif (named := name.partition(":")[0]) != storage:
        raise parameter_error({"volume": f"storage ID mismatch ({named} != {storage})\n"})
    return cluster.storages.parse(name)


def _status(host: HostStorages, storage: Storage) -> dict[str, Any]:
    known = {
        "type": storage.type,
        "content": ",".join(storage.content),
        "active": int(not storage.disabled),
        "enabled": int(not storage.disabled),
        "shared": int(storage.shared),
    }
    if storage.disabled:
        return {**known, "total": 0, "used": 0, "avail": 0}
    total, used = storage.size_gib * GIB, host.used(storage.id)
    return {**known, "total": total, "used": used, "avail": max(0, total - used), "used_fraction": used / total}


def _entry(volume: Volume) -> dict[str, Any]:
    entry: dict[str, Any] = {
        "volid": volume.name.id,
        "content": volume.name.content,
        "format": volume.name.format,
        "size": volume.used if volume.vmid is None else volume.size,
        "ctime": volume.created,
    }
    if volume.vmid is not None:
        entry |= {"vmid": volume.vmid, "used": volume.used, "parent": volume.parent}
    if volume.notes:
        entry["notes"] = volume.notes
    if volume.protected:
        entry["protected"] = 1
    return entry
