"""A stand-in for the Image Factory: every installer image exists but those of one version."""

from __future__ import annotations

import hashlib
import http.server
import ssl
import sys

NO_SUCH_VERSION = "v1.13.99"
WITH_ISCSI = "cc" * 32
SCHEMATIC = b"customization: {systemExtensions: {officialExtensions: [siderolabs/qemu-guest-agent]}}"
ISCSI_SCHEMATIC = SCHEMATIC.replace(b"[", b"[siderolabs/iscsi-tools, ")


class Factory(http.server.BaseHTTPRequestHandler):
    def answer(self) -> None:
        if self.path.startswith("/schematics/"):
            status, body = 200, ISCSI_SCHEMATIC if self.path.endswith(WITH_ISCSI) else SCHEMATIC
        elif self.path.startswith("/v2/") and not self.path.endswith(f"/{NO_SUCH_VERSION}"):
            status, body = 200, b"{}"
        else:
            status, body = 404, b""
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Docker-Content-Digest", f"sha256:{hashlib.sha256(self.path.encode()).hexdigest()}")
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)

    do_GET = do_HEAD = answer  # noqa: N815 (the names that http.server calls)

    def log_message(self, *arguments: object) -> None:
        pass


def serve(address: str, certificate: str, key: str) -> None:
    server = http.server.ThreadingHTTPServer((address, 443), Factory)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    server.serve_forever()


if __name__ == "__main__":
    serve(*sys.argv[1:])
