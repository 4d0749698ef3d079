"""Which calls are built: the table from "METHOD /path/{template}" to the function that answers."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from lab.proxmox.cluster import Cluster, Request

Handler = Callable[[Cluster, Request], Awaitable[Any]]

CALLS: dict[str, Handler] = {}


def call(key: str) -> Callable[[Handler], Handler]:
    """Register a function as the answer to one call of the API."""

    def register(handler: Handler) -> Handler:
        CALLS[key] = handler
        return handler

    return register
