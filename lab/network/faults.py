"""What can be wrong with the site's wires: which faults there are, and what they mean for one machine.

Owns no wire: a fault is a fact about VMs and hosts, whether they run or not, and lab.network.wiring makes it true.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

Nic = tuple[int, str]
"""A NIC of a VM: (800, "eth0")."""


class SlowNic(BaseModel):
    """A NIC that carries no more than this, in each direction."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    vmid: int
    nic: str
    kilobits_per_second: Annotated[int, Field(ge=8)]


class NetworkFaults(BaseModel):
    """The default is: nothing."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    cut_machines: frozenset[int] = frozenset()
    """VMs that are off every network, though their cables are in."""
    cut_nics: frozenset[Nic] = frozenset()
    """NICs that are off their network, though their cable is in."""
    cut_hosts: frozenset[str] = frozenset()
    """Proxmox hosts whose VMs are off every network."""
    slow_nics: tuple[SlowNic, ...] = ()
    one_way: frozenset[tuple[int, int]] = frozenset()
    """Pairs of VMs: nothing that the first one sends reaches the second one. The other way is open."""

    def cuts(self, vmid: int, host: str | None, nic: str) -> bool:
        return vmid in self.cut_machines or (vmid, nic) in self.cut_nics or host in self.cut_hosts

    def limit(self, vmid: int, nic: str) -> int | None:
        """The kbit/s of a NIC; the lowest where it is slow for several reasons."""
        return min(
            (slow.kilobits_per_second for slow in self.slow_nics if (slow.vmid, slow.nic) == (vmid, nic)), default=None
        )

    def unheard_by(self, vmid: int) -> set[int]:
        """The VMs of which nothing reaches this one."""
        return {source for source, target in self.one_way if target == vmid}
