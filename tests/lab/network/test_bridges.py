"""Where in the site's networks its own addresses are."""

from __future__ import annotations

from ipaddress import IPv4Address

from lab import datacentre
from lab.network.bridges import site_addresses

SITE = datacentre.load()


def test_every_address_of_the_site_is_in_its_network() -> None:
    found = {where: [str(interface) for interface in interfaces] for where, interfaces in site_addresses(SITE).items()}
    assert found == {
        ("vmbr0", None): [
            "10.42.0.1/24",
            "10.42.0.12/24",
            "10.42.0.13/24",
            "10.42.0.2/24",
            "10.42.0.3/24",
            "10.42.0.4/24",
            "10.42.0.5/24",
            "10.42.0.6/24",
            "10.42.0.7/24",
            "10.42.0.8/24",
        ],
        ("vmbr0", 20): ["10.42.20.1/24"],
        ("vmbr1", None): ["10.43.0.1/24", "10.43.0.12/24", "10.43.0.13/24"],
        ("vmbr1", 30): ["10.43.30.1/24"],
    }


def test_what_is_in_none_of_the_networks_is_elsewhere() -> None:
    names = {**SITE.names, "factory.talos.dev": IPv4Address("203.0.113.7"), "ghcr.io": IPv4Address("10.42.20.9")}
    found = site_addresses(SITE.model_copy(update={"names": names}))
    assert [str(interface) for interface in found["", None]] == ["203.0.113.7/32"]
    assert [str(interface) for interface in found["vmbr0", 20]] == ["10.42.20.1/24", "10.42.20.9/24"]
