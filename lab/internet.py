"""The web as a host of the site sees it: one request, one answer.

Owns the client, its certificates and its words for what fails; knows nothing of what is fetched.
"""

from __future__ import annotations

import ssl
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp

TIMEOUT_SECONDS = 30.0
LARGEST_BODY = 1 << 20


@dataclass(frozen=True)
class Answer:
    status: int
    reason: str
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""

    @property
    def status_line(self) -> str:
        return f"{self.status} {self.reason}"


class UnreachableError(Exception):
    """Nobody answers, or nobody whose certificate is trusted."""


Fetch = Callable[[str, str, bool], Awaitable[Answer]]
"""Method, URL, whether to check certificates; raises UnreachableError."""


def client(authority: Path) -> Fetch:
    """A client that trusts the authority of one lab, and nobody else."""

    async def fetch(method: str, url: str, verify: bool) -> Answer:
        trust: ssl.SSLContext | bool = ssl.create_default_context(cafile=str(authority)) if verify else False
        timeout = aiohttp.ClientTimeout(total=TIMEOUT_SECONDS)
        try:
            async with (
                aiohttp.ClientSession(timeout=timeout, connector=aiohttp.TCPConnector(ssl=trust)) as session,
                session.request(method, url) as response,
            ):
                body = await response.content.read(LARGEST_BODY)
                return Answer(response.status, response.reason or "", dict(response.headers), body)
        except (aiohttp.ClientError, TimeoutError) as error:
            raise UnreachableError(str(error) or type(error).__name__) from None

    return fetch
