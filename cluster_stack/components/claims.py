"""Which machine has which address: told as soon as two of them say that it is theirs."""

from __future__ import annotations

import pulumi

from cluster_stack.plan.nodes import NodePlan


class AddressClaims:
    """The addresses of a cluster's machines, each claimed by its machine once it is known.

    Nobody waits for the others: the second claim of an address fails, before a configuration is applied to whatever
    machine answers there.
    """

    def __init__(self) -> None:
        self._claimed: dict[str, tuple[NodePlan, str | None]] = {}

    def claim(self, node: NodePlan, address: str, mac: str | None) -> str:
        """``address``, which is ``node``'s alone; ``mac`` is its network card's. Raises pulumi.RunError."""
        other, others_mac = self._claimed.setdefault(address, (node, mac))
        if other.name != node.name:
            raise pulumi.RunError(_collision(node, mac, other, others_mac, address))
        return address


def _collision(node: NodePlan, mac: str | None, other: NodePlan, others_mac: str | None, address: str) -> str:
    both = f"{_vm(node)} and {_vm(other)} have the same address, {address}"
    if mac is not None and others_mac is not None and mac.lower() == others_mac.lower():
        return (
            f"{both}, because they have the same MAC address, {mac}: Proxmox chooses one at random. "
            f"In Proxmox, remove the VM that is newer, or both where nothing runs on them yet, and run "
            f"`pulumi up -s {pulumi.get_stack()} --refresh`: what is missing is made anew, with another MAC address. "
            f"cluster.topology.nodes.{node.name}.macAddress in cluster.yaml is for one of your own choice."
        )
    known = f" (MAC addresses {mac} and {others_mac})" if mac and others_mac else ""
    return (
        f"{both}{known}. Look at the DHCP server: it has to give every machine an address of its own, and none that "
        f"cluster.yaml gives to another one. When they differ, run `pulumi up -s {pulumi.get_stack()} --refresh`."
    )


def _vm(node: NodePlan) -> str:
    return f"{node.name} (VM {node.vm_id} on {node.host})"
