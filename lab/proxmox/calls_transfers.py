"""The calls that bring files onto a storage: from the web, and with a form."""

from __future__ import annotations

import bz2
import gzip
import hashlib
import re
import time
from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import Any
from urllib.parse import urlsplit

from lab import disk_image
from lab.disk_image import DiskImage, NoDiskImageError
from lab.internet import Answer, UnreachableError
from lab.proxmox.cluster import Cluster, Request
from lab.proxmox.errors import failure, parameter_error
from lab.proxmox.registry import call
from lab.proxmox.storage import HostStorages
from lab.proxmox.tasks import Task
from lab.proxmox.uploads import CHECKSUMS
from lab.proxmox.volumes import Volume, VolumeName, host_path

FILE_NAMES = {
    "iso": (re.compile(r"[^/]+\.(?:iso|img)", re.IGNORECASE), "wrong file extension"),
    "vztmpl": (re.compile(r"[^/]+\.tar\.(?:gz|xz|zst|bz2)"), "wrong file extension"),
    "import": (re.compile(r"[\w.+=-]+\.(?:ova|qcow2|raw|vmdk)", re.ASCII), "invalid filename or wrong extension"),
}
DECOMPRESSORS = {"gz": gzip.decompress, "bz2": bz2.decompress}


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
    name = _file_name(host, wanted)

    async def work(task: Task) -> None:
        await _download(cluster, host, name, wanted, task)

    return cluster.tasks.spawn(request.node, "download", name.name.rpartition("/")[2], request.user, work)


@call("POST /nodes/{node}/storage/{storage}/upload")
async def upload(cluster: Cluster, request: Request) -> Any:
    """A file of the same name is replaced."""
    host, wanted, sent = cluster.storages.on(request.node), request.parameters, request.upload
    name = _file_name(host, wanted)
    if sent is None:
        raise failure("missing temporary file name")

    async def work(task: Task) -> None:
        try:
            task.log(f"starting file import from: {wanted['tmpfilename']}")
            sums = sent.sums()
            _check_sum(sums, wanted, task)
            path = host_path(host.storages.get(name.storage), name)
            _keep(host, name, sent.beginning(), sent.size, sums)
            task.log(f"target node: {request.node}")
            task.log(f"target file: {path}")
            task.log(f"file size is: {sent.size}")
            task.log("finished file import successfully")
        finally:
            sent.close()

    return cluster.tasks.spawn(request.node, "imgcopy", "", request.user, work)


def _file_name(host: HostStorages, wanted: dict[str, str]) -> VolumeName:
    """The volume that a file becomes, where the storage takes such files."""
    storage, kind = host.enabled(wanted["storage"]), wanted["content"]
    if not storage.keeps_files:
        raise failure(f"can't upload to storage type '{storage.type}', not a file based storage!")
    if kind not in storage.content:
        raise failure(f"storage '{storage.id}' is not configured for content-type '{kind}'")
    filename = re.sub(r"[^a-zA-Z0-9_.-]", "_", re.sub(r"^.*[/\\]", "", wanted["filename"].rstrip("\n")))
    pattern, problem = FILE_NAMES[kind]
    if not pattern.fullmatch(filename):
        raise parameter_error({"filename": problem})
    return host.storages.parse(f"{storage.id}:{kind}/{filename}")


async def _download(cluster: Cluster, host: HostStorages, name: VolumeName, wanted: dict[str, str], task: Task) -> None:
    url, path = wanted["url"], host_path(cluster.storages.get(name.storage), name)
    if (compression := wanted.get("compression")) and name.content != "iso":
        raise failure(f"decompression not supported for {name.content}")
    task.log(f"downloading {url} to {path}")
    if (present := host.find(name.id)) is not None:
        if "checksum" not in wanted:
            raise failure(f"refusing to override existing file '{path}'")
        _check_sum(present.sums or _sums(_content(present)), wanted, task)
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
    sums = _sums(answer.body)
    _check_sum(sums, wanted, task)
    if compression and compression not in DECOMPRESSORS:
        raise failure(f"decompressing {compression} is not built in this lab")
    body = DECOMPRESSORS[compression](answer.body) if compression else answer.body
    _keep(host, name, body, len(body), _sums(body))
    task.log(f"download of '{url}' to '{path}' finished")


def _keep(host: HostStorages, name: VolumeName, body: bytes, size: int, sums: Mapping[str, str]) -> None:
    """Put a file on a storage. A disk image must be one; nobody looks into an ISO."""
    try:
        found: DiskImage | None = disk_image.read(body)
    except NoDiskImageError:
        found = None
    if name.content == "import" and name.format == "qcow2" and (found is None or found.format != "qcow2"):
        path = host_path(host.storages.get(name.storage), name)
        raise failure(f"qemu-img: Could not open '{path}': Image is not in qcow2 format")
    disk_bytes = found.disk_bytes if found and name.content == "import" else size
    host.add_file(name.id, disk_bytes, found.image if found else None, size, sums)


def _sums(body: bytes) -> dict[str, str]:
    return {algorithm: hashlib.new(algorithm, body).hexdigest() for algorithm in CHECKSUMS}


def _check_sum(sums: Mapping[str, str], wanted: Mapping[str, str], task: Task) -> None:
    if (expected := wanted.get("checksum")) is None:
        return
    if (got := sums[wanted["checksum-algorithm"]]) != expected.lower():
        raise failure(f"checksum mismatch: got '{got}' != expect '{expected}', aborting")
    task.log("calculating checksum...OK, checksum verified")


def _content(volume: Volume) -> bytes:
    if volume.image is None:
        return b""
    return DiskImage(format=volume.name.format, image=volume.image, disk_bytes=volume.size).to_bytes()
