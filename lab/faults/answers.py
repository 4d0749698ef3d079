"""How a request to Proxmox goes wrong on its way: an error, no answer, a connection that breaks.

Owns the last metre only: whether the call itself is carried out is the server's business, which asks `is_done`.
"""

from __future__ import annotations

import asyncio
import contextlib
from http import HTTPStatus

from aiohttp import web

from lab.faults.fault import Fault
from lab.faults.ledger import Ledger

PHRASES = {
    401: "permission denied - invalid PVE ticket",
    403: "Permission check failed",
    500: "cluster not ready - no quorum?",
    595: "No route to host",
    596: "Connection timed out",
}
"""What Proxmox itself says with a status; 595 and 596 are its own, for a host that it cannot pass a call on to."""


def is_done(fault: Fault | None) -> bool:
    """Whether a request that a fault strikes is carried out."""
    return fault is None or fault.option("when") != "before"


def error(fault: Fault) -> tuple[int, str] | None:
    """The status and reason phrase that stand in for the answer, where the fault is an answer at all."""
    if fault.kind != "api-error":
        return None
    status = int(fault.option("status"))
    return status, str(fault.option("message") or PHRASES.get(status) or _phrase(status))


async def spoil(fault: Fault, ledger: Ledger, http: web.Request, answer: web.Response) -> web.StreamResponse:
    """Send what the client gets in place of an answer."""
    if fault.kind == "api-error":
        return answer
    if fault.kind == "api-hang":
        with contextlib.suppress(asyncio.TimeoutError):
            await asyncio.wait_for(ledger.until_cleared(fault), float(fault.option("seconds")))
    if fault.option("when") == "midway":
        answer = await _half(http, answer)
    if http.transport is not None:
        http.transport.abort()
    return answer


async def _half(http: web.Request, answer: web.Response) -> web.Response:
    """Announce the whole answer and send one half."""
    body = answer.body if isinstance(answer.body, bytes) else b""
    headers = {"Content-Type": answer.content_type, "Content-Length": str(len(body))}
    begun = web.StreamResponse(status=answer.status, reason=answer.reason, headers=headers)
    await begun.prepare(http)
    await begun.write(body[: len(body) // 2])
    return answer


def _phrase(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return "error"
