"""The namespace's only interface, its loopback, and the addresses on it, told to the kernel through rtnetlink.

Every address is alone in its network on `lo`, so one that nobody holds is unreachable. Owns no address: the daemon and
the nodes do.
"""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import struct
from ipaddress import IPv4Address, IPv6Address, ip_address

RTM_NEWLINK, RTM_NEWADDR, RTM_DELADDR, RTM_GETADDR = 16, 20, 21, 22
NLM_F_REQUEST, NLM_F_ACK, NLM_F_DUMP, NLM_F_CREATE = 0x1, 0x4, 0x300, 0x400
NLMSG_ERROR, NLMSG_DONE = 2, 3
IFA_ADDRESS, IFA_LOCAL = 1, 2
Address = IPv4Address | IPv6Address

LOOPBACK = 1  # `lo` is interface 1 of every network namespace
IFF_UP = 1


def bring_up_loopback() -> None:
    _request(RTM_NEWLINK, NLM_F_ACK, struct.pack("=BxHiII", socket.AF_UNSPEC, 0, LOOPBACK, IFF_UP, IFF_UP))


def add_address(address: Address) -> None:
    with contextlib.suppress(FileExistsError):
        _request(RTM_NEWADDR, NLM_F_ACK | NLM_F_CREATE, _address_message(address))


def remove_address(address: Address) -> None:
    try:
        _request(RTM_DELADDR, NLM_F_ACK, _address_message(address))
    except OSError as error:
        if error.errno != errno.EADDRNOTAVAIL:
            raise


def addresses() -> set[Address]:
    """The addresses of this namespace, those of every loopback aside."""
    found: set[Address] = set()
    for body in _request(RTM_GETADDR, NLM_F_DUMP, struct.pack("=BBBBi", socket.AF_UNSPEC, 0, 0, 0, 0)):
        rest = body[8:]
        while len(rest) >= 4:
            length, kind = struct.unpack_from("=HH", rest)
            if kind in (IFA_LOCAL, IFA_ADDRESS):  # IPv6 has only the latter
                found.add(ip_address(rest[4:length]))
            rest = rest[(length + 3) & ~3 :]
    return {address for address in found if not address.is_loopback}


def _address_message(address: Address) -> bytes:
    family = socket.AF_INET if address.version == 4 else socket.AF_INET6
    header = struct.pack("=BBBBi", family, address.max_prefixlen, 0, 0, LOOPBACK)
    length = 4 + len(address.packed)
    return header + b"".join(struct.pack("=HH", length, kind) + address.packed for kind in (IFA_LOCAL, IFA_ADDRESS))


def _request(kind: int, flags: int, body: bytes) -> list[bytes]:
    """Send one rtnetlink request and return the bodies of its answer."""
    bodies: list[bytes] = []
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE) as netlink:
        netlink.bind((0, 0))
        netlink.send(struct.pack("=IHHII", 16 + len(body), kind, flags | NLM_F_REQUEST, 1, 0) + body)
        while True:
            answer = netlink.recv(65536)
            while answer:
                length, answered, _, _, _ = struct.unpack_from("=IHHII", answer)
                payload, answer = answer[16:length], answer[(length + 3) & ~3 :]
                if answered == NLMSG_DONE:
                    return bodies
                if answered == NLMSG_ERROR:
                    (code,) = struct.unpack_from("=i", payload)
                    if code:
                        raise OSError(-code, os.strerror(-code))
                    return bodies
                bodies.append(payload)
