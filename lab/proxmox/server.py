"""The HTTPS face of the API: the order of checks, the shape of answers, the request log.

Owns no call. The order is the real daemon's: authentication, does the call exist, the description's permission check,
the host named in the path, the parameters, then the call itself.
"""

from __future__ import annotations

import json
import logging
import time
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, unquote

from aiohttp import web

from lab.proxmox import (
    calls_cluster,
    calls_guests,
    calls_ha,
    calls_mappings,
    calls_pools,
    calls_storage,
    schema,
)
from lab.proxmox.cluster import Cluster, Request
from lab.proxmox.errors import ApiError, failure, not_implemented, not_permitted
from lab.proxmox.registry import CALLS

BUILT = (
    calls_cluster,
    calls_guests,
    calls_ha,
    calls_mappings,
    calls_pools,
    calls_storage,
)  # importing them registers their calls
PREFIX = "/api2/json"
SECRETS = frozenset({"cipassword", "password", "sshkeys"})
LARGEST_BODY = 1 << 20

log = logging.getLogger(__name__)


class Server:
    def __init__(self, cluster: Cluster, request_log: Path) -> None:
        self._cluster = cluster
        self._log_file = request_log.open("a", encoding="utf-8", buffering=1)

    def application(self) -> web.Application:
        application = web.Application(client_max_size=LARGEST_BODY)
        application.router.add_route("*", "/{path:.*}", self._serve)
        application.on_cleanup.append(self._close)
        return application

    async def _close(self, _: web.Application) -> None:
        self._log_file.close()

    async def _serve(self, http: web.Request) -> web.StreamResponse:
        path = http.raw_path.partition("?")[0]
        user, parameters, data = "-", {}, None
        problem: ApiError | None = None
        try:
            if not path.startswith(PREFIX):
                raise failure(f"no such file '{path}'")
            path = "/" + path.removeprefix(PREFIX).strip(
                "/"
            )  # bpg writes a slash before the query, which Proxmox ignores
            parameters = await _parameters(http)
            user = self._cluster.access.authenticate(http.headers)
            data = await self._answer(http.method, path, user, parameters)
        except ApiError as error:
            problem = error
        except Exception:
            log.exception("%s %s", http.method, path)
            problem = failure("the lab itself failed, see its daemon.log")
        status = problem.status if problem else 200
        self._record(http.method, path, user, parameters, status, problem)
        return _response(data, problem)

    async def _answer(self, method: str, path: str, user: str, parameters: dict[str, str]) -> Any:
        found = self._cluster.description.find(method, path)
        if found is None:
            raise not_implemented(method, path)
        call, in_path = found
        values = {**parameters, **{name: unquote(value) for name, value in in_path.items()}}
        if not call.allows_token:
            raise not_permitted(f"URI '{path}' not available with API token, need proper ticket.")
        self._cluster.access.check_call(call.permissions, user, values)
        if call.runs_on_node:
            self._cluster.node(values["node"])
        schema.verify(call.parameters, values)
        handler = CALLS.get(call.key)
        if handler is None:
            raise not_implemented(method, path)
        return await handler(self._cluster, Request(user, values))

    def _record(
        self, method: str, path: str, user: str, parameters: dict[str, str], status: int, problem: ApiError | None
    ) -> None:
        entry: dict[str, Any] = {
            "time": round(time.time(), 3),
            "method": method,
            "path": path,
            "parameters": {name: "***" if name in SECRETS else value for name, value in parameters.items()},
            "status": status,
            "user": user,
        }
        if problem:
            entry |= {"message": problem.message, "errors": problem.errors}
        self._log_file.write(json.dumps(entry) + "\n")


async def _parameters(http: web.Request) -> dict[str, str]:
    """Body and query alike; numbers in a JSON body count as their text."""
    values = dict(parse_qsl(http.raw_path.partition("?")[2], keep_blank_values=True))
    if http.method in ("POST", "PUT"):
        body = await http.text()
        if http.content_type == "application/json" and body:
            decoded = json.loads(body)
            values |= {name: _as_text(value) for name, value in decoded.items()}
        else:
            values |= dict(parse_qsl(body, keep_blank_values=True))
    return values


def _as_text(value: Any) -> str:
    return str(int(value)) if isinstance(value, bool) else str(value)


def _response(data: Any, problem: ApiError | None) -> web.Response:
    if problem is None:
        return web.json_response({"data": data})
    if problem.status == 401:
        return web.Response(status=401, reason=problem.message)  # the real one sends no body either
    body: dict[str, Any] = {"data": None, "message": f"{problem.message}\n"}
    if problem.errors:
        body["errors"] = problem.errors
    reason = problem.message.splitlines()[0] if problem.message else None
    return web.json_response(body, status=problem.status, reason=reason)
