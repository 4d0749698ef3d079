"""The site's networks, in the lab's main namespace: a Linux bridge per Proxmox bridge and VLAN, and the ways between.

A bridge is a network of all hosts together, as if their uplinks were in one switch. It has the addresses of the site's
services, hosts and gateways, and the main namespace routes from one to the other, as a site's router does.
"""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import IPv4Interface, IPv4Network
from pathlib import Path
from typing import Any

from lab.datacentre import Bridge, Datacentre

SYSCTL = Path("/proc/sys/net")
FORWARDING = ("ipv4/ip_forward", "ipv6/conf/all/forwarding")
USUAL_MTU = 1500
LONGEST_NAME = 15  # of a network device
LOOPBACK = 1  # `lo` is interface 1 of every network namespace


class NetworkError(Exception):
    """The site's networks, or a machine's, cannot be made."""


class Bridges:
    def __init__(self, datacentre: Datacentre, kernel: Any) -> None:
        """`kernel` is an open connection (pyroute2's IPRoute) to the main namespace."""
        self._datacentre = datacentre
        self._kernel = kernel
        self._indexes: dict[tuple[str, int | None], int] = {}

    def build(self) -> None:
        """Make the networks that the datacentre describes, with the site's addresses, and route between them."""
        addresses = site_addresses(self._datacentre)
        for (name, tag), interfaces in addresses.items():
            index = self.index(name, tag) if name else LOOPBACK
            for interface in interfaces:
                self._kernel.addr("add", index=index, address=str(interface.ip), prefixlen=interface.network.prefixlen)
        for path in FORWARDING:
            _forward(SYSCTL / path)

    def index(self, name: str, tag: int | None) -> int:
        """The bridge of a VLAN; one that the datacentre does not describe is made, and nobody is there."""
        known = self._indexes.get((name, tag))
        return self._make(name, tag) if known is None else known

    def mtu(self, name: str) -> int:
        return next((bridge.mtu for bridge in self._datacentre.proxmox.bridges if bridge.name == name), USUAL_MTU)

    def _make(self, name: str, tag: int | None) -> int:
        device = name if tag is None else f"{name}v{tag}"
        if len(device) > LONGEST_NAME:
            raise NetworkError(f"the bridge {device} has too long a name: {LONGEST_NAME} characters is the most")
        self._kernel.link(
            "add",
            ifname=device,
            kind="bridge",
            # Of its own, not its ports': neighbours remember it while machines come and go.
            address=f"02:1a:b0:00:00:{len(self._indexes):02x}",
            br_forward_delay=0,
            br_mcast_snooping=0,
            mtu=self.mtu(name),
            state="up",
        )
        (index,) = self._kernel.link_lookup(ifname=device)
        self._indexes[name, tag] = index
        return int(index)


def site_addresses(datacentre: Datacentre) -> dict[tuple[str, int | None], list[IPv4Interface]]:
    """Whatever of the site answers, by bridge and VLAN. What is in none of its networks is elsewhere: bridge ""."""
    found: dict[tuple[str, int | None], list[IPv4Interface]] = {}
    networks: list[tuple[tuple[str, int | None], IPv4Network]] = []
    for bridge in datacentre.proxmox.bridges:
        for tag, interfaces in _vlans(bridge):
            found[bridge.name, tag] = list(dict.fromkeys(interfaces))
            networks += [((bridge.name, tag), interface.network) for interface in interfaces]
    hosts = [node.address for node in datacentre.proxmox.nodes]
    for address in dict.fromkeys([*datacentre.names.values(), *hosts]):
        where, network = next(
            ((where, network) for where, network in networks if address in network),
            (("", None), IPv4Network(f"{address}/32")),
        )
        interface = IPv4Interface(f"{address}/{network.prefixlen}")
        if interface not in found.setdefault(where, []):
            found[where].append(interface)
    return found


def _vlans(bridge: Bridge) -> Iterator[tuple[int | None, list[IPv4Interface]]]:
    """The networks of a bridge by tag, with the addresses of hosts and gateways in them."""
    for tag in (None, *bridge.vlans):
        dhcp = bridge.dhcp_of(tag)
        interfaces = list(bridge.addresses.values()) if tag is None else []
        if dhcp is not None:
            interfaces.append(IPv4Interface(f"{dhcp.gateway}/{dhcp.network.prefixlen}"))
        yield tag, interfaces


def _forward(setting: Path) -> None:
    if not setting.exists() or setting.read_text().strip() == "1":
        return  # a kernel without IPv6 has nothing to forward
    try:
        setting.write_text("1")
    except OSError as error:
        raise NetworkError(
            f"the lab's network cannot be made to route: {setting}: {error.strerror}. In a container, /proc/sys must "
            "be writable: --privileged"
        ) from None
