"""The HTTPS face of the API: the order of checks, the shape of answers, the request log.

Owns no call. The order is the real daemon's: authentication, does the call exist, the description's permission check,
the host named in the path, the parameters, then the call itself.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, unquote

from aiohttp import web

from lab.faults import answers
from lab.faults.fault import Fault
from lab.proxmox import (
    calls_access,
    calls_agent,
    calls_clones,
    calls_cloudinit,
    calls_cluster,
    calls_disks,
    calls_guests,
    calls_ha,
    calls_hosts,
    calls_mappings,
    calls_pools,
    calls_power,
    calls_storage,
    calls_storage_config,
    calls_transfers,
    schema,
    uploads,
)
from lab.proxmox.cluster import Cluster, Request
from lab.proxmox.errors import ApiError, failure, not_implemented, not_permitted
from lab.proxmox.registry import CALLS
from lab.proxmox.uploads import Upload

BUILT = (
    calls_access,
    calls_agent,
    calls_cloudinit,
    calls_clones,
    calls_cluster,
    calls_disks,
    calls_guests,
    calls_ha,
    calls_hosts,
    calls_mappings,
    calls_pools,
    calls_power,
    calls_storage,
    calls_storage_config,
    calls_transfers,
)  # importing them registers their calls
PREFIX = "/api2/json"
SECRETS = frozenset(
    {"cipassword", "confirmation-password", "encryption-key", "keyring", "otp", "password", "sshkeys", "tfa-challenge"}
)
LARGEST_BODY = 1 << 20
OPEN_TO_ALL = frozenset({"POST /access/ticket", "GET /access/domains"})
"""What a stranger may ask: how to log in."""

log = logging.getLogger(__name__)


def _nobody_listens(_: Mapping[str, Any]) -> None:
    """The listener of a server that has none."""


class Server:
    def __init__(
        self, cluster: Cluster, request_log: Path, answered: Callable[[Mapping[str, Any]], None] = _nobody_listens
    ) -> None:
        """`answered` is called with each entry of the request log."""
        self._cluster = cluster
        self._answered = answered
        self._log_file = request_log.open("a", encoding="utf-8", buffering=1)

    def application(self) -> web.Application:
        application = web.Application(client_max_size=LARGEST_BODY)
        application.router.add_route("*", "/{path:.*}", self._serve)
        application.on_cleanup.append(self._close)
        return application

    async def _close(self, _: web.Application) -> None:
        self._log_file.close()

    async def _serve(self, http: web.Request) -> web.StreamResponse:
        began = time.monotonic()
        path = http.raw_path.partition("?")[0]
        user, parameters, data = "-", dict[str, str](), None
        upload: Upload | None = None
        problem: ApiError | None = None
        fault: Fault | None = None
        try:
            if not path.startswith(PREFIX):
                raise failure(f"no such file '{path}'")
            path = "/" + path.removeprefix(PREFIX).strip(
                "/"
            )  # bpg writes a slash before the query, which Proxmox ignores
            parameters, upload = await _parameters(http)
            fault = await self._cluster.ledger.request(http.method, path)
            if answers.is_done(fault):
                if f"{http.method} {path}" not in OPEN_TO_ALL:
                    user = self._cluster.access.authenticate(http.method, path, http.headers)
                data = await self._answer(http.method, path, Request(user, parameters, upload))
        except ApiError as error:
            problem = error
        except Exception:
            log.exception("%s %s", http.method, path)
            problem = failure("the lab itself failed, see its daemon.log")
        finally:
            if upload and problem:
                upload.close()
        if fault and (stand_in := answers.error(fault)):
            problem = ApiError(*stand_in)
        status = problem.status if problem else 200
        self._record(http.method, path, user, parameters, status, problem, fault, time.monotonic() - began)
        answer = _response(data, problem)
        return await answers.spoil(fault, self._cluster.ledger, http, answer) if fault else answer

    async def _answer(self, method: str, path: str, request: Request) -> Any:
        found = self._cluster.description.find(method, path)
        if found is None:
            raise not_implemented(method, path)
        call, in_path = found
        user = request.user
        values = {**request.parameters, **{name: unquote(value) for name, value in in_path.items()}}
        if not call.allows_token and "!" in user:
            raise not_permitted(f"URI '{path}' not available with API token, need proper ticket.")
        if call.permissions is None or call.permissions.get("user") != "world":
            self._cluster.access.check_call(call.permissions, user, values)
        if call.runs_on_node:
            node = self._cluster.node(values["node"])
            if node.name in self._cluster.ledger.faults.hosts_down:
                raise ApiError(595, answers.PHRASES[595])
        schema.verify(call.parameters, values)
        handler = CALLS.get(call.key)
        if handler is None:
            raise not_implemented(method, path)
        return await handler(self._cluster, Request(user, values, request.upload))

    def _record(
        self,
        method: str,
        path: str,
        user: str,
        parameters: dict[str, str],
        status: int,
        problem: ApiError | None,
        fault: Fault | None,
        seconds: float,
    ) -> None:
        entry: dict[str, Any] = {
            "time": round(time.time(), 3),
            "method": method,
            "path": path,
            "parameters": {name: "***" if name in SECRETS else value for name, value in parameters.items()},
            "status": status,
            "user": user,
            "seconds": round(seconds, 4),
        }
        if problem:
            entry |= {"message": problem.message, "errors": problem.errors}
        if fault:
            entry["fault"] = fault.id  # the status is that of the answer which the client may never have got
        self._answered(entry)
        self._log_file.write(json.dumps(entry) + "\n")


async def _parameters(http: web.Request) -> tuple[dict[str, str], Upload | None]:
    """Body and query alike; numbers in a JSON body count as their text. A file comes along with a form only."""
    pairs, upload = parse_qsl(http.raw_path.partition("?")[2], keep_blank_values=True), None
    if http.method in ("POST", "PUT"):
        if http.content_type == "multipart/form-data":
            form, upload = await uploads.read(http)
            pairs += form
        elif http.content_type == "application/json" and (body := await http.text()):
            pairs += [(name, _as_text(value)) for name, value in json.loads(body).items()]
        else:
            pairs += parse_qsl(await http.text(), keep_blank_values=True)
    values: dict[str, str] = {}
    for name, value in pairs:
        values[name] = f"{values[name]}\0{value}" if name in values else value
    return values, upload


def _as_text(value: Any) -> str:
    if isinstance(value, list):
        return "\0".join(map(_as_text, value))
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
