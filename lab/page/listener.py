"""Where the page is: a port of this machine's own loopback address.

The daemon lives in a network of its own, in which no browser is. Its listening socket is therefore made before the
daemon enters that network: a socket stays in the network in which it was made.
"""

from __future__ import annotations

import socket

LOOPBACK = "127.0.0.1"
USUAL_PORT = 8910


def listen() -> socket.socket:
    """A socket for the page: at the usual port, or at any other where another lab has that."""
    try:
        return bind(USUAL_PORT)
    except OSError:
        return bind(0)


def address(listener: socket.socket) -> str:
    """What a browser is told."""
    host, port = listener.getsockname()
    return f"http://{host}:{port}/"


def bind(port: int) -> socket.socket:
    """A socket that listens on the loopback address; port 0 is any that is free. Raises OSError."""
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((LOOPBACK, port))
        listener.listen()
    except OSError:
        listener.close()
        raise
    return listener
