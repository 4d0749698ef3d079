"""Asking a Talos node: the machine API, over mutual TLS.

grpclib on the standard library's TLS, because Talos' certificates are Ed25519, which the TLS of grpcio does not know.
"""

from __future__ import annotations

import asyncio
import base64
import ssl
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from grpclib.client import Channel, UnaryUnaryMethod
from grpclib.encoding.base import CodecBase
from grpclib.exceptions import GRPCError, StreamTerminatedError

PORT = 50000


@dataclass(frozen=True)
class ClientConfiguration:
    """The three parts of a talosconfig, base64 of PEM, as the Talos provider has them."""

    ca_certificate: str
    client_certificate: str
    client_key: str = field(repr=False)


class _Bytes(CodecBase):
    """Messages as they are on the wire: the requests made here are empty, and of the answers only arrival counts."""

    __content_subtype__ = "proto"

    def encode(self, message: Any, message_type: Any) -> bytes:  # noqa: ARG002 - grpclib's interface
        return bytes(message)

    def decode(self, data: bytes, message_type: Any) -> bytes:  # noqa: ARG002
        return data


def etcd_is_running(node: str, client: ClientConfiguration, *, timeout: float = 10) -> bool:
    """Does etcd on ``node`` (an IP address) answer? It does from the bootstrap, or the joining, of the node on."""
    try:
        asyncio.run(asyncio.wait_for(_call(node, client, "/machine.MachineService/EtcdMemberList"), timeout))
    except (OSError, GRPCError, StreamTerminatedError, TimeoutError, asyncio.TimeoutError):
        return False
    return True


async def _call(node: str, client: ClientConfiguration, method: str) -> bytes:
    channel = Channel(node, PORT, ssl=_tls(client), codec=_Bytes())
    try:
        answer: bytes = await UnaryUnaryMethod(channel, method, bytes, bytes)(b"")
        return answer
    finally:
        channel.close()


def _tls(client: ClientConfiguration) -> ssl.SSLContext:
    context = ssl.create_default_context(cadata=_pem(client.ca_certificate))
    context.set_alpn_protocols(["h2"])
    # The standard library reads a certificate and its key from a file only.
    with tempfile.TemporaryDirectory(prefix="cluster-stack-") as folder:
        file = Path(folder) / "client.pem"
        file.touch(mode=0o600)
        # OpenSSL does not know Talos' own label of an otherwise ordinary PKCS#8 key.
        key = _pem(client.client_key).replace("ED25519 PRIVATE KEY", "PRIVATE KEY")
        file.write_text(_pem(client.client_certificate) + key)
        context.load_cert_chain(file)
    return context


def _pem(text: str) -> str:
    return base64.b64decode(text).decode()
