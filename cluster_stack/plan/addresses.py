"""Which of the addresses that a guest agent reports is the node's own."""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import IPv4Address


def node_address(
    nic_mac: str | None, guest_macs: Sequence[str], guest_addresses: Sequence[Sequence[str]]
) -> str | None:
    """The first usable IPv4 address of the VM's own network card, or None.

    ``guest_macs`` and ``guest_addresses`` run in parallel, one entry per interface that the guest knows: loopback,
    the network card, and later the interfaces of the pod network. A running node reports those too, which is why the
    card is found by its MAC (``nic_mac``, as Proxmox has it) and not by its place. Where no MAC fits (a bond has its
    own), the first usable address of any interface counts, as in the original system.
    """
    reported = list(zip(guest_macs, guest_addresses, strict=False))
    own = [addresses for mac, addresses in reported if nic_mac and mac.lower() == nic_mac.lower()]
    for addresses in (*own, *guest_addresses):
        for address in addresses:
            if _usable(address):
                return address
    return None


def _usable(text: str) -> bool:
    address = IPv4Address(text)
    return not (address.is_loopback or address.is_link_local or address.is_unspecified or address.is_multicast)
