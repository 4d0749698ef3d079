"""DHCP of the site's networks: one address per MAC, kept as long as the pool lasts.

There is no packet here: a machine learns what DHCP would tell it from its hardware file (lab.hypervisor). Owns the
leases and the pool; knows nothing of VMs but their MAC addresses.
"""

from __future__ import annotations

from collections.abc import Collection
from ipaddress import IPv4Address
from pathlib import Path
from typing import TypedDict

from lab.datacentre import Dhcp
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

    def offer(self, pool: Dhcp, mac: str, macs_in_use: Collection[str]) -> Offer:
        """The lease of a MAC in a pool, made when it first asks. Raises PoolExhaustedError."""
        address = self._by_mac.get(mac)
        if address is None or not pool.first <= IPv4Address(address) <= pool.last:
            address = self._allocate(pool, macs_in_use)
            self._by_mac[mac] = address
            write_json(self._path, self._by_mac)
        return Offer(
            address=f"{address}/{pool.network.prefixlen}",
            gateway=str(pool.gateway),
            nameservers=[str(server) for server in pool.nameservers],
            leaseSeconds=pool.lease_seconds,
        )

    def renumber(self, pool: Dhcp, mac: str, macs_in_use: Collection[str]) -> None:
        """Forget the lease of a MAC and give it another address. Raises PoolExhaustedError."""
        address = self._allocate(pool, macs_in_use)
        self._by_mac.pop(mac, None)
        self._by_mac[mac] = address
        write_json(self._path, self._by_mac)

    def _allocate(self, pool: Dhcp, macs_in_use: Collection[str]) -> str:
        taken = set(self._by_mac.values())
        for number in range(int(pool.first), int(pool.last) + 1):
            if str(IPv4Address(number)) not in taken:
                return str(IPv4Address(number))
        for mac, address in self._by_mac.items():
            # Its machine is gone: its lease has run out, oldest first.
            if mac not in macs_in_use and pool.first <= IPv4Address(address) <= pool.last:
                del self._by_mac[mac]
                return address
        raise PoolExhaustedError(f"no free address between {pool.first} and {pool.last}")
