"""`show`: one cluster as it is planned, ready to be written down or drawn."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network
from typing import Any

from cluster_stack.config.models.proxmox import Host
from cluster_stack.config.rules.network import pod_subnets, service_subnets
from cluster_stack.plan.endpoint import api_endpoint, first_control_plane
from cluster_stack.plan.nodes import NetworkCard, NodePlan, Role
from cluster_stack.plan.quantities import gigabytes, megabytes
from cluster_stack.plan.upgrades import kubernetes_of
from cluster_stack.project import PlannedCluster
from cluster_stack.report.check import summary

ROLES: Mapping[Role, str] = {"controlplane": "control plane", "worker": "worker"}


@dataclass(frozen=True)
class HostView:
    """A Proxmox host and the machines of this cluster on it. What other clusters have there does not count."""

    host: Host
    nodes: tuple[NodePlan, ...]

    @property
    def memory(self) -> int:
        """MB of all its machines."""
        return sum(node.memory for node in self.nodes)

    @property
    def disk(self) -> int:
        """GB of all its machines."""
        return sum(node.disk + sum(disk.size for disk in node.extra_disks) for node in self.nodes)

    def use(self) -> list[str]:
        """What this cluster uses of the host, ``24 GB of 128 GB memory`` where the file says what there is."""
        cores = sum(node.cpus for node in self.nodes)
        threads = f" on {self.host.cores} threads" if self.host.cores else ""
        memory = f" of {megabytes(self.host.memory)}" if self.host.memory else ""
        disk = f" of {gigabytes(self.host.disk)}" if self.host.disk else ""
        return [
            f"{cores} virtual cores{threads}",
            f"{megabytes(self.memory)}{memory} memory",
            f"{gigabytes(self.disk)}{disk} disk",
        ]


@dataclass(frozen=True)
class ClusterView:
    planned: PlannedCluster

    @property
    def name(self) -> str:
        return self.planned.file.config.metadata.name

    @property
    def nodes(self) -> tuple[NodePlan, ...]:
        return self.planned.nodes

    @property
    def hosts(self) -> list[HostView]:
        """In the order of the file, those without machines too."""
        return [
            HostView(host, tuple(node for node in self.nodes if node.host == host.name))
            for host in self.planned.file.config.hosts
        ]

    @property
    def summary(self) -> str:
        return summary(self.nodes)

    def facts(self) -> list[tuple[str, str]]:
        """What there is to know of the whole cluster: a noun and its value."""
        config = self.planned.file.config
        network, vip = config.proxmox.network, config.cluster.kubernetes.vip
        # The version contract decides, which is in the stack's state alone.
        unless = "" if config.cluster.kubernetes.version else " unless an older Talos made the cluster"
        found = [
            ("Talos", f"{config.cluster.talos.version}, Kubernetes v{kubernetes_of(self.planned.file)}{unless}"),
            ("Kubernetes API", self.endpoint),
        ]
        if vip is not None:
            found.append(("shared address", f"{vip}, which one of the control planes has"))
        addresses: list[object] = ["DHCP"]
        if network.cidr is not None:
            addresses = [network.cidr, f"gateway {network.gateway}"]
            addresses += [network.cidr6] if network.cidr6 else []
            addresses += [f"gateway {network.gateway6}"] if network.gateway6 else []
        addresses += [f"DNS {' '.join(map(str, network.nameservers))}"] if network.nameservers else []
        bridge = card(NetworkCard(bridge=network.bridge, vlan=network.vlan, mtu=network.mtu, mac=None, dhcp=False))
        found.append(("network", ", ".join(map(str, [bridge, *addresses]))))
        further = dict.fromkeys(card(one) for node in self.nodes for one in node.cards[1:])
        if further:
            found.append(("further networks", ", ".join(further)))
        subnets = _joined(pod_subnets(config)), _joined(service_subnets(config))
        found.append(("pods", f"{subnets[0]}, services {subnets[1]}, pod network {config.cluster.cni.name}"))
        return found

    @property
    def endpoint(self) -> str:
        """URL of the Kubernetes API, or what of it is known."""
        url = api_endpoint(self.planned.file.config, self.nodes)
        return url or f"at the address that DHCP gives {first_control_plane(self.nodes).name}"


def _joined(networks: object) -> str:
    assert isinstance(networks, (list, tuple))
    return " ".join(str(network) for network in networks if isinstance(network, (IPv4Network, IPv6Network)))


def card(found: NetworkCard) -> str:
    """``vmbr0 VLAN 20``."""
    parts = (found.bridge, f"VLAN {found.vlan}" if found.vlan else "", f"MTU {found.mtu}" if found.mtu else "")
    return " ".join(part for part in parts if part)


def role(node: NodePlan) -> str:
    """``control plane``, ``worker``, ``worker (gpu)`` for one of the pool gpu."""
    return f"{ROLES[node.role]} ({node.pool})" if node.pool else ROLES[node.role]


def address(node: NodePlan) -> str:
    return str(node.address.interface.ip) if node.address else "DHCP"


def size(node: NodePlan) -> str:
    """``8 cores (2 sockets), 16 GB memory, 100 GB disk``."""
    sockets = f" ({node.sockets} sockets)" if node.sockets > 1 else ""
    return f"{node.cpus} cores{sockets}, {megabytes(node.memory)} memory, {gigabytes(node.disk)} disk"


def extras(node: NodePlan) -> list[str]:
    """Further disks and devices."""
    disks = [
        f"{disk.interface} {gigabytes(disk.size)}{f' ({disk.volume})' if disk.volume else ''}"
        for disk in node.extra_disks
    ]
    return [*disks, *(device.mapping for device in node.pci_devices)]


def as_json(view: ClusterView) -> str:
    """One JSON document::

    {"name": "homelab",
     "talos": "v1.11.5",
     "kubernetes": "1.34.0",                      of a cluster that this Talos makes, where the file names none
     "endpoint": "https://10.0.0.50:6443",        null: only DHCP knows the address
     "vip": "10.0.0.50",                          null: none
     "hosts": [
       {"name": "ms01",
        "cores": 16, "memory": 131072, "disk": 2000,    what it is said to have: threads, MB, GB; null: not said
        "nodes": ["homelab-cp1"]}],
     "nodes": [
       {"name": "homelab-cp1",
        "role": "controlplane",                   or "worker"
        "pool": null,                             name of its pool, where that has one
        "vmId": 800,
        "host": "ms01",
        "address": "10.0.0.51",                   null: DHCP
        "ipv6Address": null,
        "cores": 4,                               of each socket
        "sockets": 1,
        "memory": 8192,                           MB
        "disk": 32,                               GB
        "extraDisks": [{"interface": "scsi1", "size": 200, "datastore": "local", "volume": "data"}],
        "pciDevices": ["gpu"],
        "networks": ["vmbr0 VLAN 20"],            of its network cards, in their order
        "schematic": "ce4c98..."}]}               Image Factory id
    """
    config = view.planned.file.config
    vip = config.cluster.kubernetes.vip
    document = {
        "name": view.name,
        "talos": config.cluster.talos.version,
        "kubernetes": kubernetes_of(view.planned.file),
        "endpoint": api_endpoint(config, view.nodes),
        "vip": str(vip) if vip else None,
        "hosts": [
            {
                "name": found.host.name,
                "cores": found.host.cores,
                "memory": found.host.memory,
                "disk": found.host.disk,
                "nodes": [node.name for node in found.nodes],
            }
            for found in view.hosts
        ],
        "nodes": [_node(node) for node in view.nodes],
    }
    return json.dumps(document, indent=2)


def _node(node: NodePlan) -> dict[str, Any]:
    static = node.address
    return {
        "name": node.name,
        "role": node.role,
        "pool": node.pool,
        "vmId": node.vm_id,
        "host": node.host,
        "address": str(static.interface.ip) if static else None,
        "ipv6Address": str(static.interface6.ip) if static and static.interface6 else None,
        "cores": node.cores,
        "sockets": node.sockets,
        "memory": node.memory,
        "disk": node.disk,
        "extraDisks": [
            {"interface": disk.interface, "size": disk.size, "datastore": disk.datastore, "volume": disk.volume}
            for disk in node.extra_disks
        ],
        "pciDevices": [device.mapping for device in node.pci_devices],
        "networks": [card(found) for found in node.cards],
        "schematic": node.schematic.id,
    }
