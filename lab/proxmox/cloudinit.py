"""What Proxmox writes onto a VM's cloud-init drive, as text: user data, network and meta data.

Owns the texts (the NoCloud form, which Linux guests get). What a machine in the lab reads from its drive is made by
lab.proxmox.assembly from the same options.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping
from ipaddress import IPv4Interface
from urllib.parse import unquote

from lab.proxmox import schema
from lab.proxmox.description import Schema
from lab.proxmox.formats import PROPERTY_STRINGS, split_list
from lab.proxmox.guests import Config

MASK = "**********"
MARGIN = "    "


def user_data(config: Config, vmid: int, *, mask_password: bool) -> str:
    name = str(config.get("name", f"VM{vmid}"))
    hostname, _, domain = name.partition(".")
    domain = domain or str(config.get("searchdomain", ""))
    lines = ["#cloud-config", f"hostname: {hostname}", "manage_etc_hosts: true"]
    if domain:
        lines.append(f"fqdn: {hostname}.{domain}")
    if "ciuser" in config:
        lines.append(f"user: {config['ciuser']}")
    if "cipassword" in config:
        lines.append(f"password: {MASK if mask_password else config['cipassword']}")
    if "sshkeys" in config:
        lines.append("ssh_authorized_keys:")
        lines += [f"  - {key.strip()}" for key in unquote(str(config["sshkeys"])).splitlines() if key.strip()]
    lines += ["chpasswd:", "  expire: False"]
    if config.get("ciuser") != "root":
        lines += ["users:", "  - default"]
    if config.get("ciupgrade", 1):
        lines.append("package_upgrade: true")
    return "\n".join(lines) + "\n"


def network_data(config: Config, network_format: Mapping[str, Schema]) -> str:
    lines = ["version: 1", "config:"]
    for option in sorted(option for option in config if re.fullmatch(r"net\d+", option)):
        number = option.removeprefix("net")
        if f"ipconfig{number}" not in config:
            continue
        mac = schema.parse_checked(network_format, str(config[option]), option)["macaddr"].lower()
        lines += ["- type: physical", f"  name: eth{number}", f"  mac_address: '{mac}'", "  subnets:"]
        lines += _subnets(str(config[f"ipconfig{number}"]))
    servers, domains = (split_list(str(config.get(name, ""))) for name in ("nameserver", "searchdomain"))
    if servers or domains:
        lines.append("- type: nameserver")
        lines += ["  address:", *(f"  - '{server}'" for server in servers)] if servers else []
        lines += ["  search:", *(f"  - '{domain}'" for domain in domains)] if domains else []
    return "".join(f"{line if line in ('version: 1', 'config:') else MARGIN + line}\n" for line in lines)


def meta_data(user: str, network: str) -> str:
    return f"instance-id: {hashlib.sha1((user + network).encode()).hexdigest()}\n"  # noqa: S324 - as Proxmox does


def _subnets(text: str) -> Iterator[str]:
    ip = schema.parse_checked(PROPERTY_STRINGS["pve-qm-ipconfig"], text)
    if (address := ip.get("ip")) == "dhcp":
        yield "  - type: dhcp4"
    elif address and address != "manual":
        interface = IPv4Interface(address)
        yield from ("  - type: static", f"    address: '{interface.ip}'", f"    netmask: '{interface.netmask}'")
        yield from (f"    gateway: '{ip[key]}'" for key in ("gw",) if key in ip)
    if (address := ip.get("ip6")) == "dhcp":
        yield "  - type: dhcp6"
    elif address == "auto":
        yield "  - type: ipv6_slaac"
    elif address and address != "manual":
        yield from ("  - type: static6", f"    address: '{address}'")
        yield from (f"    gateway: '{ip[key]}'" for key in ("gw6",) if key in ip)
