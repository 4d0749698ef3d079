"""DHCP of the site's bridges: one address per MAC, kept as long as the pool lasts.

There is no packet here: a machine learns what DHCP would tell it from its hardware file (lab.hypervisor). Owns the
leases and the pool; knows nothing of VMs but their MAC addresses.
"""

from __future__ import annotations

from collections.abc import Collection
from ipaddress import IPv4Address
from pathlib import Path
from typing import TypedDict

from lab.datacentre import Bridge
from lab.directory import read_json, write_json


class Offer(TypedDict):
    """What a machine gets told, in the words of the node contract."""

    address: str
    gateway: str
    nameservers: list[str]
    leaseSeconds: int


class PoolExhaustedError(Exception):
    """Every address of the pool belongs to a machine that exists."""


class Leases:
    def __init__(self, path: Path) -> None:
        self._path = path
        self._by_mac: dict[str, str] = read_json(path, {})  # oldest first

    def offer(self, bridge: Bridge, mac: str, macs_in_use: Collection[str]) -> Offer | None:
        """The lease of a MAC on a bridge, made when it first asks; None where the bridge has no DHCP."""
        if bridge.dhcp is None:
            return None
        pool = bridge.dhcp
        address = self._by_mac.get(mac)
        if address is None or not pool.first <= IPv4Address(address) <= pool.last:
            address = self._allocate(bridge, macs_in_use)
            self._by_mac[mac] = address
            write_json(self._path, self._by_mac)
        return Offer(
            address=f"{address}/{pool.network.prefixlen}",
            gateway=str(pool.gateway),
            nameservers=[str(server) for server in pool.nameservers],
            leaseSeconds=pool.lease_seconds,
        )

    def _allocate(self, bridge: Bridge, macs_in_use: Collection[str]) -> str:
        assert bridge.dhcp is not None
        taken = set(self._by_mac.values())
        for number in range(int(bridge.dhcp.first), int(bridge.dhcp.last) + 1):
            if str(IPv4Address(number)) not in taken:
                return str(IPv4Address(number))
        for mac, address in self._by_mac.items():
            if mac not in macs_in_use:  # its machine is gone: its lease has run out, oldest first
                del self._by_mac[mac]
                return address
        raise PoolExhaustedError(f"no free address between {bridge.dhcp.first} and {bridge.dhcp.last} on {bridge.name}")
