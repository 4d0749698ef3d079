"""A stand-in for the node binary, speaking the hypervisor's contract and nothing more: for tests of the daemon alone.

It takes its DHCP address, answers the guest agent, and obeys. Commands to it arrive as files in its `run/` folder:
`crash`, `reboot` and `poweroff` make it exit accordingly; `deaf` makes it ignore the power button; `orphan` and
`short-lived-orphan` make it start a process whose parent is gone.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from ipaddress import IPv4Interface
from pathlib import Path
from typing import Any

from pyroute2 import IPRoute


def machine(folder: Path) -> int:
    hardware = json.loads((folder / "machine.json").read_text())
    print(f"boot {hardware['vmid']}", flush=True)
    run = folder / "run"
    signal.signal(signal.SIGTERM, lambda number, frame: None if (run / "deaf").exists() else _power_off(run))
    if hardware["cdrom"] is None:
        while True:
            time.sleep(0.05)
            if (code := _ordered(run)) is not None:
                return code
    channel = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    (run / "agent.sock").unlink(missing_ok=True)
    if hardware["agentChannel"]:
        channel.bind(str(run / "agent.sock"))
        channel.listen()
    channel.settimeout(0.05)
    address: IPv4Interface | None = None
    while True:
        code = _ordered(run)
        if code is not None:
            return code
        if address is None:
            address = _lease(folder)
        if not hardware["agentChannel"]:
            time.sleep(0.05)
            continue
        try:
            connection, _ = channel.accept()
        except TimeoutError:
            continue
        with connection:
            request = json.loads(connection.makefile().readline())
            if request["execute"] == "guest-shutdown":
                _power_off(run)
                continue
            connection.sendall(json.dumps({"return": _answer(request["execute"], hardware, address)}).encode() + b"\n")


def _lease(folder: Path) -> IPv4Interface | None:
    offers: list[dict[str, Any]] = [o for o in json.loads((folder / "dhcp.json").read_text()).values() if o]
    if not offers:
        return None
    address = IPv4Interface(offers[0]["address"])
    with IPRoute() as kernel:
        (card,) = kernel.link_lookup(ifname="eth0")
        kernel.link("set", index=card, state="up")
        kernel.addr("add", index=card, address=str(address.ip), prefixlen=address.network.prefixlen)
    return address


def _answer(command: str, hardware: dict[str, Any], address: IPv4Interface | None) -> object:
    if command != "guest-network-get-interfaces":
        return {}
    interfaces = [_interface("lo", "00:00:00:00:00:00", "127.0.0.1", 8)]
    if address:
        interfaces.append(_interface("eth0", hardware["nics"][0]["mac"].lower(), str(address.ip), 24))
    return interfaces


def _interface(name: str, mac: str, address: str, prefix: int) -> dict[str, object]:
    addresses = [{"ip-address": address, "ip-address-type": "ipv4", "prefix": prefix}]
    return {"name": name, "hardware-address": mac, "ip-addresses": addresses}


def _power_off(run: Path) -> None:
    (run / "poweroff").touch()


def _ordered(run: Path) -> int | None:
    for order, seconds in (("orphan", 1000), ("short-lived-orphan", 0.05)):
        if (run / order).exists():
            subprocess.run(["sh", "-c", f"sleep {seconds} &"], check=True)
            (run / order).unlink()
    for order, code in (("poweroff", 0), ("reboot", 64), ("crash", 3)):
        if (run / order).exists():
            (run / order).unlink()
            return code
    return None


if __name__ == "__main__":
    if sys.argv[1] == "discovery":
        host, _, port = sys.argv[2].removeprefix("--listen=").rpartition(":")
        with socket.create_server((host, int(port))):
            signal.pause()
    os._exit(machine(Path(sys.argv[2])))
