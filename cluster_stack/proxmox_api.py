"""Reading from the Proxmox VE API: one small, read-only client.

The Proxmox provider makes and changes things. This only asks, for ``preflight`` before an update and ``recovery`` after
an interrupted one. It uses the standard library's TLS, which trusts what the system trusts, as the provider does.
"""

from __future__ import annotations

import http.client
import json
import re
import ssl
from functools import cache
from types import TracebackType
from typing import Any
from urllib.parse import quote, urlencode, urlsplit

TOKEN_FORM = re.compile(r"\S+@\S+!\S+=[a-zA-Z0-9-]+")
"""``user@realm!name=secret``, the whole text, as the Proxmox provider checks it."""

TIMEOUT_SECONDS = 15


class ProxmoxUnreachableError(Exception):
    """No answer at all: name, network, or certificate."""


class ProxmoxRefusedError(Exception):
    """An answer that is not success. ``status`` is HTTP's; the text is Proxmox's own sentence."""

    def __init__(self, status: int, sentence: str) -> None:
        self.status = status
        super().__init__(sentence)


class ProxmoxApi:
    """One connection to one Proxmox API, as a context manager."""

    def __init__(self, endpoint: str, token: str, *, insecure: bool) -> None:
        url = urlsplit(endpoint)
        self._token = token
        self._connection = http.client.HTTPSConnection(
            url.hostname or "", url.port or 443, timeout=TIMEOUT_SECONDS, context=_tls(insecure=insecure)
        )

    def __enter__(self) -> ProxmoxApi:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._connection.close()

    def get(self, *path: str, **parameters: str) -> Any:
        """The ``data`` of ``GET /api2/json/<path>``. Raises ProxmoxUnreachableError, ProxmoxRefusedError."""
        target = "/api2/json/" + "/".join(quote(part, safe="") for part in path)
        if parameters:
            target += "?" + urlencode(parameters)
        try:
            self._connection.request("GET", target, headers={"Authorization": f"PVEAPIToken={self._token}"})
            response = self._connection.getresponse()
            body = response.read()
        except ssl.SSLCertVerificationError as error:
            raise ProxmoxUnreachableError(f"its certificate is not trusted ({error.verify_message})") from None
        except (OSError, http.client.HTTPException) as error:
            raise ProxmoxUnreachableError(_reason(error)) from None
        if response.status != 200:
            raise ProxmoxRefusedError(response.status, response.reason or f"status {response.status}")
        try:
            return json.loads(body)["data"]
        except (ValueError, KeyError, TypeError):
            raise ProxmoxUnreachableError("what answers there is not a Proxmox API") from None


@cache
def _tls(*, insecure: bool) -> ssl.SSLContext:
    """Reading all authorities that the system trusts takes 20 ms, and an update asks once for each new machine."""
    context = ssl.create_default_context()
    if insecure:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


def _reason(error: Exception) -> str:
    if isinstance(error, TimeoutError):
        return f"no answer within {TIMEOUT_SECONDS} s"
    return (getattr(error, "strerror", None) or str(error) or type(error).__name__).lower()
