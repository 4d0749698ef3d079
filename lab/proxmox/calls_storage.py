"""The calls about storages and what lies on them: their contents, downloads, removal."""

from __future__ import annotations

import bz2
import gzip
import hashlib
import re
import time
from pathlib import PurePosixPath
from typing import Any
from urllib.parse import urlsplit

from lab import disk_image
from lab.datacentre import Storage
from lab.disk_image import DiskImage, NoDiskImageError
from lab.internet import Answer, UnreachableError
from lab.proxmox.cluster import Cluster, Request
from lab.proxmox.errors import ApiError, failure, parameter_error
from lab.proxmox.registry import call
from lab.proxmox.storage import GIB, HostStorages, Volume, VolumeName
from lab.proxmox.tasks import Task

READERS = ["Datastore.Audit", "Datastore.AllocateSpace"]
FILE_NAMES = {
    "iso": (re.compile(r"[^/]+\.(?:iso|img)", re.IGNORECASE), "wrong file extension"),
    "vztmpl": (re.compile(r"[^/]+\.tar\.(?:gz|xz|zst|bz2)"), "wrong file extension"),
    "import": (re.compile(r"[\w.+=-]+\.(?:ova|qcow2|raw|vmdk)", re.ASCII), "invalid filename or wrong extension"),
}
FOLDERS = {"images": "images/", "iso": "template/", "vztmpl": "template/"}
DECOMPRESSORS = {"gz": gzip.decompress, "bz2": bz2.decompress}


@call("GET /storage")
async def configured(cluster: Cluster, request: Request) -> Any:
    return [
        {
            "storage": storage.id,
            "type": storage.type,
            "content": ",".join(storage.content),
            "shared": int(storage.shared),
            **({"nodes": ",".join(storage.nodes)} if storage.nodes else {}),
        }
        for storage in cluster.storages
        if cluster.access.allowed(request.user, f"/storage/{storage.id}", READERS, any_of=True)
        and request.parameters.get("type") in (None, storage.type)
    ]


@call("GET /nodes/{node}/storage")
async def on_node(cluster: Cluster, request: Request) -> Any:
    wanted, host = request.parameters, cluster.storages.on(request.node)
    return [
        {"storage": storage.id, **_status(host, storage)}
        for storage in cluster.storages
        if storage.is_on(request.node)
        and cluster.access.allowed(request.user, f"/storage/{storage.id}", READERS, any_of=True)
        and wanted.get("storage") in (None, storage.id)
        and set(wanted.get("content", "").split(",")) <= {"", *storage.content}
        and ("target" not in wanted or (storage.shared and storage.is_on(wanted["target"])))
    ]


@call("GET /nodes/{node}/storage/{storage}/status")
async def status(cluster: Cluster, request: Request) -> Any:
    host = cluster.storages.on(request.node)
    return _status(host, host.enabled(request.parameters["storage"]))


@call("GET /nodes/{node}/storage/{storage}/content")
async def content(cluster: Cluster, request: Request) -> Any:
    host, vmid = cluster.storages.on(request.node), request.parameters.get("vmid")
    storage = host.enabled(request.parameters["storage"])
    volumes = host.list(storage.id, request.parameters.get("content"), int(vmid) if vmid else None)
    return [_entry(volume) for volume in volumes if _may_see(cluster, request.user, volume)]


@call("GET /nodes/{node}/storage/{storage}/content/{volume}")
async def volume_attributes(cluster: Cluster, request: Request) -> Any:
    host, name = cluster.storages.on(request.node), _volume_name(cluster, request)
    cluster.storages.check_access(cluster.access, request.user, None, name.id)
    volume = host.find(name.id)
    if volume is None:
        raise failure(f"volume_size_info on '{name.id}' failed - no format")
    path = _path(cluster.storages.get(name.storage), name)
    return {"path": path, "format": name.format, "size": volume.size, "used": volume.used}


@call("DELETE /nodes/{node}/storage/{storage}/content/{volume}")
async def remove(cluster: Cluster, request: Request) -> Any:
    """A task; with `delay`, nothing where it ends within that many seconds."""
    host, name = cluster.storages.on(request.node), _volume_name(cluster, request)
    cluster.access.check(request.user, f"/storage/{name.storage}", ["Datastore.Allocate"])

    async def work(task: Task) -> None:
        host.enabled(name.storage)
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


@call("GET /nodes/{node}/query-url-metadata")
async def url_metadata(cluster: Cluster, request: Request) -> Any:
    url = request.parameters["url"]
    try:
        answer = await cluster.fetch("HEAD", url, request.parameters.get("verify-certificates") != "0")
    except UnreachableError:
        answer = Answer(500, f"Can't connect to {urlsplit(url).netloc}")
    if answer.status != 200:
        raise failure(f"invalid server response: '{answer.status_line}'")
    found: dict[str, Any] = {}
    named = re.search(r'filename="?([^";]*)', answer.headers.get("Content-Disposition", ""))
    if filename := named[1] if named else PurePosixPath(urlsplit(url).path).name:
        found["filename"] = filename
    if size := int(answer.headers.get("Content-Length", 0)):
        found["size"] = size
    if kind := answer.headers.get("Content-Type", "").partition(";")[0]:
        found["mimetype"] = kind
    return found


@call("POST /nodes/{node}/storage/{storage}/download-url")
async def download(cluster: Cluster, request: Request) -> Any:
    host, wanted = cluster.storages.on(request.node), request.parameters
    storage, kind = host.enabled(wanted["storage"]), wanted["content"]
    if not storage.keeps_files:
        raise failure(f"can't upload to storage type '{storage.type}', not a file based storage!")
    if kind not in storage.content:
        raise failure(f"storage '{storage.id}' is not configured for content-type '{kind}'")
    filename = re.sub(r"[^a-zA-Z0-9_.-]", "_", re.sub(r"^.*[/\\]", "", wanted["filename"].rstrip("\n")))
    pattern, problem = FILE_NAMES[kind]
    if not pattern.fullmatch(filename):
        raise parameter_error({"filename": problem})

    async def work(task: Task) -> None:
        await _download(cluster, host, cluster.storages.parse(f"{storage.id}:{kind}/{filename}"), wanted, task)

    return cluster.tasks.spawn(request.node, "download", filename, request.user, work)


async def _download(cluster: Cluster, host: HostStorages, name: VolumeName, wanted: dict[str, str], task: Task) -> None:
    url, path = wanted["url"], _path(cluster.storages.get(name.storage), name)
    if (compression := wanted.get("compression")) and name.content != "iso":
        raise failure(f"decompression not supported for {name.content}")
    task.log(f"downloading {url} to {path}")
    if (present := host.find(name.id)) is not None:
        if "checksum" not in wanted:
            raise failure(f"refusing to override existing file '{path}'")
        _check_sum(_content(present), wanted, task)
        task.log("OK, got correct file already, no need to download")
        return
    try:
        answer = await cluster.fetch("GET", url, wanted.get("verify-certificates") != "0")
    except UnreachableError as error:
        task.log(f"wget: {error}")
        raise failure(f"download failed: wget: unable to resolve host address '{urlsplit(url).hostname}'") from None
    if answer.status != 200:
        problem = f"{time.strftime('%Y-%m-%d %H:%M:%S')} ERROR {answer.status}: {answer.reason}."
        task.log(problem)
        raise failure(f"download failed: {problem}")
    _check_sum(answer.body, wanted, task)
    if compression and compression not in DECOMPRESSORS:
        raise failure(f"decompressing {compression} is not built in this lab")
    body = DECOMPRESSORS[compression](answer.body) if compression else answer.body
    try:
        image = disk_image.read(body)
    except NoDiskImageError:
        image = None
    if name.format in ("iso", "qcow2") and (image is None or image.format != name.format):
        raise failure(f"qemu-img: Could not open '{path}': Image is not in {name.format} format")
    size = image.disk_bytes if image and name.content == "import" else len(body)
    host.add_file(name.id, size, image.image if image else None, len(body))
    task.log(f"download of '{url}' to '{path}' finished")


def _check_sum(body: bytes, wanted: dict[str, str], task: Task) -> None:
    if (expected := wanted.get("checksum")) is None:
        return
    got = hashlib.new(wanted["checksum-algorithm"], body).hexdigest()
    if got != expected.lower():
        raise failure(f"checksum mismatch: got '{got}' != expect '{expected}', aborting")
    task.log("calculating checksum...OK, checksum verified")


def _content(volume: Volume) -> bytes:
    if volume.image is None:
        return b""
    return DiskImage(format=volume.name.format, image=volume.image, disk_bytes=volume.size).to_bytes()


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


def _path(storage: Storage, name: VolumeName) -> str:
    if storage.type == "rbd":
        return f"rbd:{storage.id}/{name.name}"
    if storage.type == "lvmthin":
        return f"/dev/pve/{name.name}"
    root = "/var/lib/vz" if storage.type == "dir" else f"/mnt/pve/{storage.id}"
    return f"{root}/{FOLDERS.get(name.content, '')}{name.name.replace('vztmpl/', 'cache/')}"


def _status(host: HostStorages, storage: Storage) -> dict[str, Any]:
    total, used = storage.size_gib * GIB, host.used(storage.id)
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
        "size": volume.used if volume.vmid is None else volume.size,
        "ctime": volume.created,
    }
    if volume.vmid is not None:
        entry |= {"vmid": volume.vmid, "used": volume.size, "parent": None}
    return entry
