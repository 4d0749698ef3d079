"""Tickets: what a login with a password brings, in Proxmox's form, signed with a key of this lab.

Owns how they are made and checked. A real Proxmox signs them with RSA; nobody but the site itself reads the signature.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
import time

from lab.proxmox.errors import unauthorized

LIFETIME_SECONDS = 2 * 60 * 60
TICKET = re.compile(r"PVE:(?P<user>\S+):(?P<time>[0-9A-F]{8})::(?P<signature>\S+)")
TOKEN = re.compile(r"(?P<time>[0-9A-F]{8}):(?P<signature>\S+)")


class Tickets:
    def __init__(self, key: bytes) -> None:
        self._key = key

    def ticket(self, user: str) -> str:
        plain = f"PVE:{user}:{_now():08X}"
        return f"{plain}::{self._sign(plain)}"

    def csrf_token(self, user: str) -> str:
        now = f"{_now():08X}"
        return f"{now}:{self._sign(f'{now}:{user}')}"

    def user_of(self, ticket: str) -> str:
        """Whose ticket it is, or 401 in Proxmox's words."""
        match = TICKET.fullmatch(ticket)
        if match is None or not self._holds(match, f"PVE:{match['user']}:{match['time']}"):
            raise unauthorized("permission denied - invalid PVE ticket")
        return match["user"]

    def check_csrf_token(self, user: str, token: str) -> None:
        match = TOKEN.fullmatch(token)
        if match is None or not self._holds(match, f"{match['time']}:{user}"):
            raise unauthorized("Permission denied - invalid csrf token")

    def _holds(self, match: re.Match[str], plain: str) -> bool:
        age = _now() - int(match["time"], 16)
        return hmac.compare_digest(match["signature"], self._sign(plain)) and age < LIFETIME_SECONDS

    def _sign(self, plain: str) -> str:
        return base64.b64encode(hmac.digest(self._key, plain.encode(), hashlib.sha256)).decode()


def _now() -> int:
    return int(time.time())
