"""What happens to the virtual machines themselves.

Source: ``vmUpdate`` and ``CustomizeDiff`` in proxmoxtf/resource/vm/vm.go of github.com/bpg/terraform-provider-proxmox
v0.112.0. Of what it would make a machine anew for, only the VM id can change here.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import NamedTuple

from cluster_stack.config import ClusterConfig
from cluster_stack.plan.boot import firmware
from cluster_stack.plan.changes.differences import Nouns, in_words
from cluster_stack.plan.changes.model import Kind, Reason
from cluster_stack.plan.nodes import NetworkCard, NodePlan, Role
from cluster_stack.plan.quantities import gigabytes, megabytes

_ROLES: Mapping[Role, str] = {"controlplane": "control plane", "worker": "worker"}
_NOBODY: Mapping[int, str] = {}


def created(node: NodePlan, ids: Mapping[int, str] = _NOBODY) -> Iterator[Reason]:
    """A new machine; ``ids`` are the VM ids in use, with the names of the nodes that have them."""
    address = str(node.address.interface.ip) if node.address else "DHCP"
    size = f"{node.cpus} cores, {megabytes(node.memory)} memory, {gigabytes(node.disk)} disk"
    yield Reason("created", f"{_vm(node)}, {size}, {address}")
    yield from _taken(node, ids)


def removed(node: NodePlan) -> Reason:
    return Reason("removed", _vm(node))


def taken_out(node: NodePlan) -> Reason:
    """Removed from a cluster that goes on."""
    leave = f"talosctl etcd leave --nodes {node.name}" if node.role == "controlplane" else f"kubectl drain {node.name}"
    return Reason("removed", f"{_vm(node)}. Before the update: `{leave}`. After it: `kubectl delete node {node.name}`.")


def replaced(before: NodePlan, after: NodePlan, ids: Mapping[int, str]) -> Iterator[Reason]:
    yield Reason("replaced", f"VM id {before.vm_id} to {after.vm_id}")
    yield from _taken(after, ids)


def edited(old: ClusterConfig, before: NodePlan, new: ClusterConfig, after: NodePlan) -> Iterator[Reason]:
    """What happens to a machine that stays."""
    nouns: tuple[tuple[Kind, Nouns, Nouns], ...] = (
        ("restarted", _power_cycled(old, before), _power_cycled(new, after)),
        ("changed", _changed_live(old, before), _changed_live(new, after)),
        ("kept", _decided_at_creation(old), _decided_at_creation(new)),
    )
    for kind, had, has in nouns:
        for text in in_words(had, has):
            yield Reason(kind, text)
    yield from _disks(_disks_of(old, before), _disks_of(new, after))
    yield from _host(new, before, after)


def _vm(node: NodePlan) -> str:
    return f"{_ROLES[node.role]}, VM {node.vm_id} on {node.host}"


def _taken(node: NodePlan, ids: Mapping[int, str]) -> Iterator[Reason]:
    """The checks before an update find the id in use, whatever becomes of the machine that has it."""
    owner = ids.get(node.vm_id, node.name)
    if owner != node.name:
        what = f"VM id {node.vm_id} is {owner}'s when the update begins: first free it, with an update of its own"
        yield Reason("refused", what)


def _power_cycled(config: ClusterConfig, node: NodePlan) -> Nouns:
    """What only a machine that was off has: the provider shuts it down and starts it again."""
    vm, built, address = config.proxmox.vm, firmware(config, node), node.address
    devices = [f"{device.mapping} ({'PCI Express' if device.pcie else 'PCI'})" for device in node.pci_devices]
    return {
        "cores": str(node.cores),
        "sockets": str(node.sockets),
        "memory": megabytes(node.memory),
        "least memory": megabytes(vm.balloon) if vm.balloon else "all of it",
        "CPU type": vm.cpu_type,
        "NUMA": _yes(vm.numa),
        "firmware": built.bios,
        "machine type": built.machine or "Proxmox' own choice",
        "TPM": _yes(built.tpm),
        "guest agent": _yes(node.guest_agent),
        "boots": "its disk, else the ISO" if config.proxmox.storage.iso_path else "its disk",
        "PCI devices": ", ".join(devices) or "none",
        "address": str(address.interface) if address else "DHCP",
        "gateway": str(address.gateway) if address else "DHCP",
        "IPv6 address": str(address.interface6) if address and address.interface6 else "none",
        "IPv6 gateway": str(address.gateway6) if address and address.gateway6 else "none",
        "DNS servers": (", ".join(map(str, address.nameservers)) or "none") if address else "DHCP",
    }


def _changed_live(config: ClusterConfig, node: NodePlan) -> Nouns:
    vm = config.proxmox.vm
    return {
        **{f"network card {number}": _card(card) for number, card in enumerate(node.cards, start=1)},
        "ISO in its drive": config.proxmox.storage.iso_path or "none",
        "tags": ", ".join(node.tags),
        "notes": repr(config.metadata.description),
        "resource pool": vm.pool or "none",
        "started with its host": _yes(vm.on_boot),
        "stopped at once when removed": _yes(vm.force_stop),
        "protected from removal": _yes(vm.protection),
        "high availability": f"group {vm.ha_group}" if vm.ha_group else _yes(vm.ha),
    }


def _decided_at_creation(config: ClusterConfig) -> Nouns:
    talos = config.cluster.talos
    return {
        "architecture": talos.arch,
        "platform": config.platform,
    }


def _yes(value: bool) -> str:
    return "yes" if value else "no"


def _card(card: NetworkCard) -> str:
    parts = (card.bridge, f"VLAN {card.vlan}" if card.vlan else "", f"MTU {card.mtu}" if card.mtu else "", card.mac)
    return " ".join(part for part in parts if part)


class _Disk(NamedTuple):
    size: int
    """GB."""
    datastore: str
    grown_by_talos: bool
    shown_as: str
    """What the machine sees of it after its next start only."""


def _disks_of(config: ClusterConfig, node: NodePlan) -> dict[str, _Disk]:
    found = {"the system disk": _Disk(node.disk, config.proxmox.storage.datastore, True, "")}
    for disk in node.extra_disks:
        shown_as = f"serial number {disk.serial}{', SSD' if disk.ssd else ''}"
        found[f"disk {disk.interface}"] = _Disk(disk.size, disk.datastore, disk.volume is not None, shown_as)
    return found


def _disks(had: Mapping[str, _Disk], has: Mapping[str, _Disk]) -> Iterator[Reason]:
    for name in dict.fromkeys([*had, *has]):
        if name not in had:
            yield Reason("changed", f"{name} is added: {gigabytes(has[name].size)} on {has[name].datastore}")
        elif name not in has:
            size = gigabytes(had[name].size)
            yield Reason("changed", f"{name} ({size}) is detached: Proxmox keeps it as an unused disk of the VM")
        else:
            yield from _disk(name, had[name], has[name])


def _disk(name: str, had: _Disk, has: _Disk) -> Iterator[Reason]:
    size = f"{gigabytes(had.size)} to {gigabytes(has.size)}"
    if has.size < had.size:
        yield Reason("refused", f"{name} would shrink, {size}, and no disk does: write {had.size} or more")
    elif has.size > had.size:
        # Talos grows partitions once, when it finds them while booting (volumes/grow.go of Talos v1.13.9).
        later = "; Talos takes the new space at its next boot" if has.grown_by_talos else ""
        yield Reason("changed", f"{name} grows, {size}, without a restart{later}")
    if has.datastore != had.datastore:
        what = f"{name} moves from {had.datastore} to {has.datastore}, and the machine is off meanwhile"
        yield Reason("restarted", what)
    if has.shown_as != had.shown_as:
        yield Reason("changed", f"{name}: {had.shown_as} to {has.shown_as}, from its next start on")


def _host(config: ClusterConfig, before: NodePlan, after: NodePlan) -> Iterator[Reason]:
    if before.host == after.host:
        return
    way = f"{before.host} to {after.host}"
    if config.proxmox.vm.ha:
        yield Reason("kept", f"host {way}, but Proxmox' HA manager decides where it runs")
    elif after.pci_devices:
        yield Reason("moved", f"{way}, if the mapping of its PCI devices allows live migration")
    else:
        yield Reason("moved", f"{way}, with its local disks")
