"""What Proxmox tells of a VM in lists and in its status."""

from __future__ import annotations

from typing import Any

from lab.proxmox import formats
from lab.proxmox.cluster import Cluster
from lab.proxmox.config_values import memory_mib, processors
from lab.proxmox.drives import is_cdrom, is_drive
from lab.proxmox.guests import Guest

MIB = 1 << 20


def guest_status(cluster: Cluster, guest: Guest) -> dict[str, Any]:
    running = cluster.machines.is_running(guest)
    memory = memory_mib(guest.config) * MIB
    status: dict[str, Any] = {
        "vmid": guest.vmid,
        "name": guest.name,
        "status": "running" if running else "stopped",
        "cpus": processors(guest.config),
        "maxmem": memory,
        "maxdisk": _largest(cluster, guest),
        "mem": memory // 4 if running else 0,
        "disk": 0,
        "cpu": 0.01 if running else 0,
        "uptime": cluster.machines.hypervisor.uptime(guest.vmid) if running else 0,
        "netin": 0,
        "netout": 0,
        "diskread": 0,
        "diskwrite": 0,
    }
    if running:
        status["pid"] = cluster.machines.hypervisor.pid(guest.vmid) or 1
    for key in ("tags", "lock", "template"):
        if key in guest.config:
            status[key] = guest.config[key]
    return status


def _largest(cluster: Cluster, guest: Guest) -> int:
    """The size of the first disk of the boot order, which is what counts as a VM's."""
    for option in formats.split_list(str(guest.config.get("boot", "")).removeprefix("order=")):
        if is_drive(option) and option in guest.config:
            drive = cluster.drives.parse(option, str(guest.config[option]))
            if not is_cdrom(drive):
                return formats.parse_size(drive.get("size", "0")) or 0
    return 0
