"""The faults that hold now, each in a sentence.

That something takes another time than usual is said, and breaks nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from lab.control import Faults

DELAYS = {
    "boot_seconds": "a boot",
    "install_seconds": "an installation",
    "service_seconds": "the start of a service",
    "task_seconds": "a task of Proxmox",
}


def broken(faults: Faults) -> list[str]:
    return list(_broken(faults))


def unusual_delays(faults: Faults) -> list[str]:
    return [
        f"Not as usual: {what} takes {seconds:g} s."
        for name, what in DELAYS.items()
        if (seconds := getattr(faults, name)) is not None
    ]


def _broken(faults: Faults) -> Iterator[str]:
    if faults.proxmox_unreachable:
        yield "Proxmox's API is unreachable."
    if faults.revoked_privileges:
        yield f"No role grants {_listed(faults.revoked_privileges)}."
    if faults.dhcp_silent:
        yield "DHCP answers nobody."
    if faults.dhcp_silent_for:
        yield f"DHCP does not answer {_listed(faults.dhcp_silent_for)}."
    if faults.missing_volumes:
        yield f"Gone from storage: {_listed(faults.missing_volumes)}."
    if faults.occupied_vmids:
        yield f"Taken by somebody else: VM id {_listed(faults.occupied_vmids)}."
    network = faults.network
    if network.cut_hosts:
        yield f"Off every network: all VMs on {_listed(network.cut_hosts)}."
    if network.cut_machines:
        yield f"Off every network: VM {_listed(network.cut_machines)}."
    for vmid, nic in sorted(network.cut_nics):
        yield f"Off its network: {nic} of VM {vmid}."
    for slow in network.slow_nics:
        yield f"{slow.nic} of VM {slow.vmid} carries {slow.kilobits_per_second} kbit/s."
    for source, target in sorted(network.one_way):
        yield f"Nothing that VM {source} sends reaches VM {target}."


def _listed(names: Iterable[str | int]) -> str:
    return ", ".join(map(str, sorted(names, key=lambda name: (str(type(name)), name))))
