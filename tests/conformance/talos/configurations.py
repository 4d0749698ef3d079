"""Gives machines in maintenance mode their configuration: `python -m tests.conformance.talos.configurations FOLDER`.

The site that Talos' tests know hands a machine its configuration whenever it has none. So a machine that a test wipes
comes back by itself. Here it is this server that does so, with `talosctl apply-config --insecure` and the file in
FOLDER that has the machine's address for a name. It runs inside a lab.
"""

from __future__ import annotations

import socket
import ssl
import subprocess
import sys
import time
from pathlib import Path

READY = "ready"
PORT = 50000
ANSWER_SECONDS = 2.0
PAUSE_SECONDS = 1.0
APPLY_SECONDS = 60.0


def in_maintenance(address: str, port: int = PORT) -> bool:
    """Whether a machine speaks to somebody without a certificate: only one in maintenance mode does."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.set_alpn_protocols(["h2"])
    try:
        with (
            socket.create_connection((address, port), ANSWER_SECONDS) as connection,
            context.wrap_socket(connection) as channel,
        ):
            return bool(channel.recv(1))  # HTTP/2 servers speak first; others have ended the connection by now
    except OSError:
        return False


def apply(address: str, file: Path) -> None:
    command = ["talosctl", "apply-config", "--insecure", "--nodes", address, "--file", str(file)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=APPLY_SECONDS, check=False)
    print(f"{address}: {'configured' if done.returncode == 0 else done.stderr.strip()}", file=sys.stderr, flush=True)


def main() -> None:
    files = {file.stem: file for file in sorted(Path(sys.argv[1]).glob("*.yaml"))}
    print(READY, flush=True)
    while True:
        for address, file in files.items():
            if in_maintenance(address):
                apply(address, file)
        time.sleep(PAUSE_SECONDS)


if __name__ == "__main__":
    main()
