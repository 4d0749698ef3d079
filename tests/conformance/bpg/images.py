"""Serves what the tests would fetch from the web: `python -m tests.conformance.bpg.images PORT`, inside a lab.

A cloud image is here what Proxmox looks at before it takes one: the header of a qcow2 file, with the disk's size.
"""

from __future__ import annotations

import struct
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

GIB = 1 << 30
VERSION, CLUSTER_BITS, HEADER_LENGTH = 3, 16, 104
DISK_BYTES = {"/minimal/releases/noble/release/ubuntu-24.04-minimal-cloudimg-amd64.img": 7 * GIB // 2}
READY = "ready"


def qcow2(disk_bytes: int) -> bytes:
    """An empty qcow2 file, as far as its header goes (docs/interop/qcow2.txt in QEMU's sources)."""
    begin = struct.pack(">4sIQIIQ", b"QFI\xfb", VERSION, 0, 0, CLUSTER_BITS, disk_bytes)
    return begin.ljust(HEADER_LENGTH - 4, b"\0") + struct.pack(">I", HEADER_LENGTH)


class Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        if self.path not in DISK_BYTES:
            self.send_error(404)
            return
        body = qcow2(DISK_BYTES[self.path])
        self.send_response(200)
        self.send_header("Content-Type", "application/octet-stream")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)

    do_HEAD = do_GET  # noqa: N815 - the library's name

    def log_message(self, format: str, *arguments: object) -> None:
        """Nobody reads it."""


def main() -> None:
    with ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Handler) as server:
        print(READY, flush=True)
        server.serve_forever()


if __name__ == "__main__":
    main()
