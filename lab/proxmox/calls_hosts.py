"""The calls about what a host is and how it is set: devices, notes, time; and the options of the whole cluster."""

from __future__ import annotations

import hashlib
import json
import time
from datetime import datetime, timezone
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from lab.proxmox import formats, schema
from lab.proxmox.cluster import Cluster, Request
from lab.proxmox.description import Schema
from lab.proxmox.errors import failure
from lab.proxmox.registry import call

HIDDEN_CLASSES = "05;06;0b"
OPEN_OPTIONS = ("console", "consent-text", "description", "tag-style", "next-id", "registered-tags", "allowed-tags")
"""What of the cluster's options everybody may read."""
NODE_NUMBERS = formats.words("startall-onboot-delay ballooning-target")
CHANGED = "detected modified configuration - file changed by other user? Try again."


@call("GET /nodes/{node}/hardware/pci")
async def pci_devices(cluster: Cluster, request: Request) -> Any:
    hidden = formats.split_list(request.parameters.get("pci-class-blacklist", HIDDEN_CLASSES))
    found = []
    for device in cluster.node(request.node).pci:
        if any(device.kind.removeprefix("0x").startswith(prefix) for prefix in hidden):
            continue
        entry = {"id": device.path, "iommugroup": device.iommugroup, "class": device.kind}
        vendor, _, identifier = device.id.partition(":")
        entry |= {"vendor": f"0x{vendor}", "device": f"0x{identifier}"}
        if request.parameters.get("verbose", "1") == "1":
            names = {"vendor_name": device.vendor_name, "device_name": device.device_name}
            entry |= {name: text for name, text in names.items() if text}
            entry |= _subsystem(device.subsystem)
        found.append(entry)
    return found


@call("GET /nodes/{node}/config")
async def node_config(cluster: Cluster, request: Request) -> Any:
    options = cluster.settings.of_node(request.node)
    wanted = request.parameters.get("property", "all")
    shown = options if wanted == "all" else {name: value for name, value in options.items() if name == wanted}
    return {**shown, "digest": _digest(options)}


@call("PUT /nodes/{node}/config")
async def set_node_config(cluster: Cluster, request: Request) -> Any:
    options, wanted = cluster.settings.of_node(request.node), request.parameters
    if wanted.get("digest", _digest(options)) != _digest(options):
        raise failure(CHANGED)
    given = {
        name: int(text) if name in NODE_NUMBERS else text
        for name, text in wanted.items()
        if name not in ("node", "digest", "delete")
    }
    cluster.settings.set_node(request.node, given, formats.split_list(wanted.get("delete", "")))


@call("GET /nodes/{node}/time")
async def node_time(cluster: Cluster, request: Request) -> Any:
    zone, now = cluster.settings.timezone(request.node), time.time()
    offset = datetime.fromtimestamp(now, timezone.utc).astimezone(ZoneInfo(zone)).utcoffset()
    return {"timezone": zone, "time": int(now), "localtime": int(now + (offset.total_seconds() if offset else 0))}


@call("PUT /nodes/{node}/time")
async def set_timezone(cluster: Cluster, request: Request) -> Any:
    zone = request.parameters["timezone"]
    try:
        ZoneInfo(zone)
    except (ZoneInfoNotFoundError, ValueError):
        raise failure(f"No such timezone: '{zone}'") from None
    cluster.settings.set_timezone(request.node, zone)


@call("GET /cluster/options")
async def cluster_options(cluster: Cluster, request: Request) -> Any:
    """Options that consist of parts are told in their parts."""
    found = cluster.description.find("PUT", "/cluster/options")
    assert found is not None, "the API description has no call that sets the cluster's options"
    described = found[0].parameters["properties"]
    kept = cluster.settings.of_cluster()
    options = {name: text if name == "bwlimit" else _told(described[name], text) for name, text in kept.items()}
    options.setdefault("mac_prefix", "BC:24:11")
    if cluster.access.allowed(request.user, "/", ["Sys.Audit"]):
        return options
    return {name: value for name, value in options.items() if name in OPEN_OPTIONS}


@call("PUT /cluster/options")
async def set_cluster_options(cluster: Cluster, request: Request) -> Any:
    given = {name: text for name, text in request.parameters.items() if name != "delete"}
    cluster.settings.set_cluster(given, formats.split_list(request.parameters.get("delete", "")))


def _told(described: Schema, text: str) -> Any:
    if described.get("type") in ("integer", "boolean"):
        return int(text)
    parts = described.get("format")
    if not isinstance(parts, dict):
        return text
    values = schema.parse_checked(parts, text)
    return {name: _told({"type": parts[name].get("type")}, value) for name, value in values.items()}


def _subsystem(text: str) -> dict[str, str]:
    vendor, _, device = text.partition(":")
    return {"subsystem_vendor": f"0x{vendor}", "subsystem_device": f"0x{device}"} if device else {}


def _digest(options: Any) -> str:
    return hashlib.sha1(json.dumps(options).encode()).hexdigest()  # noqa: S324 - as Proxmox does, to tell changes
