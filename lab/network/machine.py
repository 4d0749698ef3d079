"""One machine's network namespace, and a virtual cable from each of its NICs to a bridge.

It lives from power-on to power-off. Inside, the machine is alone with its loopback device and its NICs; outside, a
NIC's other end is called as Proxmox calls it (`tap800i0`).
"""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Collection, Iterator, Mapping, Sequence, Set
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Any

from pyroute2 import IPRoute, NetlinkError

from lab import namespace
from lab.hardware import Nic
from lab.network.bridges import LOOPBACK, Bridges

Address = IPv4Address | IPv6Address

FAMILIES = {4: socket.AF_INET, 6: socket.AF_INET6}
LOCAL_TABLE = 255
# The kernel looks its own addresses up by the very first rule. That one moves behind those that refuse a source.
REFUSING, LOCAL = 10, 100
BURST_BYTES = 16 << 10  # what a slow NIC sends at once: no frame is longer
ROOT = 0xFFFFFFFF  # where a device's one queue hangs
LATENCY = "400ms"  # what a slow NIC holds before it drops
RTMGRP_IPV4_IFADDR, RTMGRP_IPV6_IFADDR = 0x10, 0x100


class MachineNetwork:
    """Its calls change the network namespace of the thread for a moment: all are for one thread that does nothing else.

    What faults do to it, it remembers, and touches the kernel only where that changes.
    """

    def __init__(self, vmid: int, nics: Sequence[Nic], bridges: Bridges, kernel: Any) -> None:
        """`kernel` is an open connection (pyroute2's IPRoute) to the main namespace."""
        self._kernel = kernel
        self._bridges = bridges
        self._vmid = vmid
        self._nics: dict[str, Nic] = {}
        self._ports: dict[str, str] = {}
        self._detached: set[str] = set()
        self._limits: dict[str, int] = {}
        self._refused: set[Address] = set()
        self._can_refuse = False
        self.namespace = namespace.new_network()
        try:
            for nic in nics:
                self._plug(nic)
        except BaseException:
            self.remove()
            raise

    @property
    def nics(self) -> Collection[str]:
        return self._nics.keys()

    def _plug(self, nic: Nic) -> None:
        name = nic["name"]
        self._nics[name] = nic
        self._ports[name] = f"tap{self._vmid}i{name.removeprefix('eth')}"
        port: dict[str, Any] = {"ifname": self._ports[name], "kind": "veth"}
        port["state"] = "up" if nic["connected"] else "down"
        if nic["bridge"]:
            port |= {"master": self._bridges.index(nic["bridge"], nic["tag"]), "mtu": self._bridges.mtu(nic["bridge"])}
        inside = {"ifname": name, "address": nic["mac"], "mtu": nic["mtu"], "net_ns_fd": self.namespace}
        self._kernel.link("add", **port, peer=inside)

    def _unplug(self, name: str) -> None:
        del self._nics[name]
        self._detached.discard(name)
        self._limits.pop(name, None)
        with contextlib.suppress(NetlinkError):
            self._kernel.link("del", ifname=self._ports.pop(name))

    def remove(self) -> None:
        """The cables go at once, the namespace with the last process in it."""
        for name in list(self._nics):
            self._unplug(name)
        os.close(self.namespace)

    def reset(self, nics: Sequence[Nic]) -> None:
        """What a reboot leaves of the network: NICs without any address, down, with the MTU of the hardware.

        Those that have come, gone or changed since the last boot get cables of their own.
        """
        now = {nic["name"]: nic for nic in nics}
        for name in [name for name, nic in self._nics.items() if _cable(now.get(name)) != _cable(nic)]:
            self._unplug(name)
        for nic in nics:
            if nic["name"] not in self._nics:
                self._plug(nic)
        with self._kernel_inside() as kernel:
            for name, nic in self._nics.items():
                index = _index(kernel, name)
                kernel.link("set", index=index, state="down", mtu=nic["mtu"])
                kernel.flush_addr(index=index)

    def addresses(self) -> set[Address]:
        """What the machine has given itself, link-local addresses included."""
        with self._kernel_inside() as kernel:
            return {
                ip_address(message.get("local") or message.get("address"))
                for message in kernel.get_addr()
                if message["index"] != LOOPBACK
            }

    def watch_addresses(self) -> socket.socket:
        """A socket that has something to read whenever the machine's addresses have changed."""
        with namespace.inside(self.namespace):
            watch = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_NONBLOCK, socket.NETLINK_ROUTE)
            watch.bind((0, RTMGRP_IPV4_IFADDR | RTMGRP_IPV6_IFADDR))
        return watch

    def attach(self, name: str, attached: bool) -> None:
        """Put a NIC's other end on its bridge, or take it away: the machine sees no difference in its cable."""
        nic = self._nics[name]
        if attached == (name not in self._detached) or not nic["bridge"]:
            return
        master = self._bridges.index(nic["bridge"], nic["tag"]) if attached else 0
        self._kernel.link("set", index=_index(self._kernel, self._ports[name]), master=master)
        self._detached ^= {name}

    def limit(self, name: str, kilobits: int | None) -> None:
        """Let a NIC carry so many kbit/s in each direction, or as much as it can."""
        if self._limits.get(name) == kilobits:
            return
        _limit(self._kernel, self._ports[name], kilobits)
        with self._kernel_inside() as kernel:
            _limit(kernel, name, kilobits)
        self._limits.pop(name, None)
        if kilobits is not None:
            self._limits[name] = kilobits

    def refuse(self, sources: Set[Address]) -> None:
        """Drop what comes from these addresses, and from no others. What goes to them goes on as before."""
        if sources == self._refused:
            return
        with self._kernel_inside() as kernel:
            if not self._can_refuse:
                _make_room(kernel)
                self._can_refuse = True
            for address in sources - self._refused:
                kernel.rule("add", action="blackhole", **_rule(address))
            for address in self._refused - sources:
                kernel.rule("del", action="blackhole", **_rule(address))
        self._refused = set(sources)

    @contextlib.contextmanager
    def _kernel_inside(self) -> Iterator[Any]:
        with namespace.inside(self.namespace), IPRoute() as kernel:
            yield kernel


def _cable(nic: Nic | None) -> Nic | None:
    """What a NIC is without its lease: where that is another, the cable stays."""
    return nic and {**nic, "dhcp": None}


def _index(kernel: Any, name: str) -> int:
    (index,) = kernel.link_lookup(ifname=name)
    return int(index)


def _limit(kernel: Any, name: str, kilobits: int | None) -> None:
    index = _index(kernel, name)
    if kilobits is None:
        kernel.tc("del", index=index, parent=ROOT)
    else:
        kernel.tc("replace", "tbf", index=index, rate=f"{kilobits}kbit", burst=BURST_BYTES, latency=LATENCY)


def _rule(address: Address) -> Mapping[str, Any]:
    return {
        "family": FAMILIES[address.version],
        "priority": REFUSING,
        "src": str(address),
        "src_len": address.max_prefixlen,
    }


def _make_room(kernel: Any) -> None:
    for family in FAMILIES.values():
        kernel.rule("add", family=family, priority=LOCAL, table=LOCAL_TABLE)
        kernel.rule("del", family=family, priority=0, table=LOCAL_TABLE)
