"""The calls about hardware mappings: which devices or folders of which host stand behind one name."""

from __future__ import annotations

from typing import Any

from lab.proxmox import mappings, schema
from lab.proxmox.cluster import Cluster, Request
from lab.proxmox.formats import split_list
from lab.proxmox.mappings import Kind
from lab.proxmox.registry import call

USERS = ["Mapping.Modify", "Mapping.Use", "Mapping.Audit"]
NOT_OPTIONS = ("id", "digest", "delete")


def _register(kind: Kind) -> None:
    """The same five calls for each kind of mapping."""
    path = f"/cluster/mapping/{kind}"

    @call(f"GET {path}")
    async def listed(cluster: Cluster, request: Request) -> Any:
        """Those that the caller may use; with `check-node`, with what is wrong with them there."""
        node = request.parameters.get("check-node")
        if node:
            cluster.node(node)
        return [
            {
                **_entry(cluster, kind, name),
                "id": name,
                **({"checks": _checks(cluster, kind, name, node)} if node else {}),
            }
            for name in cluster.mappings.names(kind)
            if cluster.access.allowed(request.user, f"/mapping/{kind}/{name}", USERS, any_of=True)
        ]

    @call(f"GET {path}/{{id}}")
    async def read(cluster: Cluster, request: Request) -> Any:
        return _entry(cluster, kind, request.parameters["id"])

    @call(f"POST {path}")
    async def create(cluster: Cluster, request: Request) -> Any:
        cluster.mappings.add(kind, request.parameters["id"], _options(request))

    @call(f"PUT {path}/{{id}}")
    async def update(cluster: Cluster, request: Request) -> Any:
        wanted = request.parameters
        deleted = split_list(wanted.get("delete", ""))
        cluster.mappings.update(kind, wanted["id"], _options(request), deleted, wanted.get("digest"))

    @call(f"DELETE {path}/{{id}}")
    async def remove(cluster: Cluster, request: Request) -> Any:
        cluster.mappings.remove(kind, request.parameters["id"])


for _kind in mappings.KINDS:
    _register(_kind)


def _options(request: Request) -> dict[str, Any]:
    given = {name: text for name, text in request.parameters.items() if name not in NOT_OPTIONS}
    return {
        name: schema.items(text) if name == "map" else int(text) if name in ("mdev", "live-migration-capable") else text
        for name, text in given.items()
    }


def _entry(cluster: Cluster, kind: Kind, name: str) -> dict[str, Any]:
    return {"type": kind, **cluster.mappings.get(kind, name), "digest": cluster.mappings.digest(kind)}


def _checks(cluster: Cluster, kind: Kind, name: str, node: str) -> list[dict[str, str]]:
    if any(device.node == node for device in cluster.mappings.devices(kind, name)):
        return []
    return [{"severity": "warning", "message": f"No mapping for node {node}."}]
