"""The calls about hardware mappings: which devices of which host stand behind one name."""

from __future__ import annotations

import hashlib
from typing import Any

from lab.datacentre import PciMapping
from lab.proxmox.cluster import Cluster, Request
from lab.proxmox.errors import failure
from lab.proxmox.registry import call

USERS = ["Mapping.Modify", "Mapping.Use", "Mapping.Audit"]


@call("GET /cluster/mapping/pci")
async def pci_mappings(cluster: Cluster, request: Request) -> Any:
    """Those that the caller may use; with `check-node`, with what is wrong with them there."""
    node = request.parameters.get("check-node")
    return [
        {
            **_entry(cluster, mapping),
            "id": mapping.id,
            **({"checks": _checks(mapping, cluster.node(node).name)} if node else {}),
        }
        for mapping in cluster.datacentre.proxmox.mappings
        if cluster.access.allowed(request.user, f"/mapping/pci/{mapping.id}", USERS, any_of=True)
    ]


@call("GET /cluster/mapping/pci/{id}")
async def pci_mapping(cluster: Cluster, request: Request) -> Any:
    for mapping in cluster.datacentre.proxmox.mappings:
        if mapping.id == request.parameters["id"]:
            return _entry(cluster, mapping)
    raise failure(f"mapping '{request.parameters['id']}' not found")


def _entry(cluster: Cluster, mapping: PciMapping) -> dict[str, Any]:
    text = repr(cluster.datacentre.proxmox.mappings)
    entry: dict[str, Any] = {
        "type": "pci",
        "map": [
            f"id={device.id},iommugroup={device.iommugroup},node={device.node},path={device.path}"
            for device in mapping.map
        ],
        "digest": hashlib.sha1(text.encode()).hexdigest(),  # noqa: S324 - as Proxmox does, to tell changes
    }
    if mapping.description:
        entry["description"] = mapping.description
    return entry


def _checks(mapping: PciMapping, node: str) -> list[dict[str, str]]:
    if any(device.node == node for device in mapping.map):
        return []
    return [{"severity": "warning", "message": f"No mapping for node {node}."}]
