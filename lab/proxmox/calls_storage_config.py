"""The calls under /storage: which storages the cluster has."""

from __future__ import annotations

from typing import Any

from lab.proxmox.cluster import Cluster, Request
from lab.proxmox.formats import split_list
from lab.proxmox.registry import call

READERS = ["Datastore.Audit", "Datastore.AllocateSpace"]


@call("GET /storage")
async def configured(cluster: Cluster, request: Request) -> Any:
    return [
        _entry(cluster, storage.id)
        for storage in cluster.storages
        if cluster.access.allowed(request.user, f"/storage/{storage.id}", READERS, any_of=True)
        and request.parameters.get("type") in (None, storage.type)
    ]


@call("GET /storage/{storage}")
async def read(cluster: Cluster, request: Request) -> Any:
    return _entry(cluster, request.parameters["storage"])


@call("POST /storage")
async def add(cluster: Cluster, request: Request) -> Any:
    cluster.storages.configuration.add(request.parameters["storage"], request.parameters)
    return {"storage": request.parameters["storage"], "type": request.parameters["type"]}


@call("PUT /storage/{storage}")
async def update(cluster: Cluster, request: Request) -> Any:
    name = request.parameters["storage"]
    deleted = split_list(request.parameters.get("delete", ""))
    cluster.storages.configuration.update(name, request.parameters, deleted)
    return {"storage": name, "type": cluster.storages.get(name).type}


@call("DELETE /storage/{storage}")
async def remove(cluster: Cluster, request: Request) -> Any:
    cluster.storages.configuration.remove(request.parameters["storage"])


def _entry(cluster: Cluster, name: str) -> dict[str, Any]:
    configuration = cluster.storages.configuration
    return {"storage": name, **configuration.options(name), "digest": configuration.digest}
