"""The page over HTTP: a few files, the document, and the stream of its changes. Read-only.

Whoever can open a connection to this machine's loopback address may look. Web pages from elsewhere may not: a name of
their own that leads to the loopback address is refused, and nothing allows another origin to read along.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

from aiohttp import web
from aiohttp.typedefs import Handler

from lab.page.broadcast import Broadcast

STATIC = Path(__file__).with_name("static")
FILES = {
    "/": ("page.html", "text/html"),
    "/page.css": ("page.css", "text/css"),
    "/page.js": ("page.js", "text/javascript"),
    "/icon.svg": ("icon.svg", "image/svg+xml"),
}
LOOPBACK_NAMES = frozenset({"127.0.0.1", "localhost", "[::1]"})
HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}


def application(document: Callable[[], dict[str, Any]]) -> web.Application:
    """The page of what the function tells."""
    broadcast = Broadcast(document)

    async def whole(_: web.Request) -> web.Response:
        return web.json_response(document())

    async def events(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={**HEADERS, "Content-Type": "text/event-stream"})
        await response.prepare(request)
        with broadcast.watcher() as watcher, contextlib.suppress(ConnectionError):  # it has looked enough
            while (event := await watcher.next()) is not None:
                await response.write(event.encode())
        return response

    made = web.Application(middlewares=[_guarded])
    for path, (name, content_type) in FILES.items():
        made.router.add_get(path, _file(STATIC / name, content_type))
    made.router.add_get("/state.json", whole)
    made.router.add_get("/events", events, allow_head=False)
    return made


@web.middleware
async def _guarded(request: web.Request, handler: Handler) -> web.StreamResponse:
    name = request.host.rpartition(":")[0] if request.host.rpartition(":")[2].isdigit() else request.host
    if name not in LOOPBACK_NAMES:
        refused = web.Response(status=403, text=f"This page is at http://127.0.0.1, not at {name!r}.\n")
        refused.headers.update(HEADERS)
        return refused
    try:
        response = await handler(request)
    except web.HTTPException as problem:
        problem.headers.update(HEADERS)
        raise
    if not response.prepared:
        response.headers.update(HEADERS)
    return response


def _file(path: Path, content_type: str) -> Handler:
    content = path.read_bytes()

    async def serve(_: web.Request) -> web.Response:
        return web.Response(body=content, content_type=content_type, charset="utf-8")

    return serve
