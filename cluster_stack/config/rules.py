"""What several values of one cluster.yaml must be together. Each rule names the key to change."""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import IPv4Address

from cluster_stack.config.document import Document
from cluster_stack.config.models import AddressRange, ClusterConfig
from cluster_stack.config.problems import Problem

CONTROL_PLANE_IDS = 10
"""Width of the block of VM ids that belongs to the control planes; workers begin behind it (the original's layout)."""

NEWEST_TALOS_MINOR = 13
"""The newest Talos minor whose machine configurations pulumiverse-talos 0.8 can write (its machinery is 1.13)."""
OLDEST_TALOS_MINOR = 10
"""The oldest Talos minor for which a Kubernetes version is known here (``cluster_stack.plan.versions``)."""

_NETWORK = ("proxmox", "network")


def check(config: ClusterConfig, document: Document) -> Iterator[Problem]:
    """Yield every broken rule."""
    yield from _name(config, document)
    yield from _talos_version(config, document)
    yield from _vm_ids(config, document)
    yield from _addresses(config, document)


def _name(config: ClusterConfig, document: Document) -> Iterator[Problem]:
    parts = document.name.split("/")
    folder = parts[-2] if len(parts) > 1 else ""
    if folder and folder != config.metadata.name:
        yield document.problem(
            ("metadata", "name"),
            f"the cluster is called {config.metadata.name!r}, its folder {folder!r}.",
            f"Write `name: {folder}`, or rename the folder: a cluster, its folder and its stack have one name.",
        )


def _talos_version(config: ClusterConfig, document: Document) -> Iterator[Problem]:
    minor = int(config.cluster.talos.version.split(".")[1])
    if not OLDEST_TALOS_MINOR <= minor <= NEWEST_TALOS_MINOR:
        yield document.problem(
            ("cluster", "talos", "version"),
            f"Talos {config.cluster.talos.version} is not supported.",
            f"Write a version from v1.{OLDEST_TALOS_MINOR} to v1.{NEWEST_TALOS_MINOR}.",
        )


def _vm_ids(config: ClusterConfig, document: Document) -> Iterator[Problem]:
    count, base = config.cluster.topology.control_plane.count, config.proxmox.vm.id_base
    if count > CONTROL_PLANE_IDS:
        yield document.problem(
            ("cluster", "topology", "controlPlane", "count"),
            f"{count} control planes do not fit into the VM ids {base} to {base + CONTROL_PLANE_IDS - 1}, "
            f"workers begin at {base + CONTROL_PLANE_IDS}.",
            "Write 9 or less; more than 5 make etcd slower, not safer.",
        )


def _addresses(config: ClusterConfig, document: Document) -> Iterator[Problem]:
    network, topology = config.proxmox.network, config.cluster.topology
    if network.cidr is None:
        for key, value in (
            ("gateway", network.gateway),
            ("nameservers", network.nameservers),
            ("ipRanges", network.ip_ranges),
        ):
            if value:
                yield document.problem(
                    (*_NETWORK, key),
                    "it is only for static addresses.",
                    "Write proxmox.network.cidr beside it, or remove it.",
                )
        return
    if config.cluster.talos.platform != "nocloud":
        yield document.problem(
            (*_NETWORK, "cidr"),
            "static addresses need an image of the nocloud platform; a metal image asks DHCP.",
            "Write `platform: nocloud` under cluster.talos and name a nocloud ISO in proxmox.storage.isoPath.",
        )
    if network.gateway is None:
        yield document.problem(_NETWORK, "gateway is missing.", "Static addresses need it: write the router's address.")
    if network.ip_ranges is None:
        yield document.problem(
            _NETWORK,
            "ipRanges is missing.",
            "Static addresses need it: write ipRanges.controlPlane and ipRanges.workers.",
        )
        return
    yield from _range(config, document, "controlPlane", network.ip_ranges.control_plane, topology.control_plane.count)
    if network.ip_ranges.workers is None:
        if topology.workers.count:
            fix = f"{topology.workers.count} workers need addresses: write a range."
            yield document.problem((*_NETWORK, "ipRanges"), "workers is missing.", fix)
        return
    yield from _range(config, document, "workers", network.ip_ranges.workers, topology.workers.count)
    control_plane, workers = network.ip_ranges.control_plane, network.ip_ranges.workers
    if control_plane.first <= workers.last and workers.first <= control_plane.last:
        yield document.problem(
            (*_NETWORK, "ipRanges", "workers"),
            f"{workers} overlaps the control planes' {control_plane}.",
            "Write two ranges apart.",
        )


def _range(config: ClusterConfig, document: Document, key: str, span: AddressRange, count: int) -> Iterator[Problem]:
    network, path = config.proxmox.network, (*_NETWORK, "ipRanges", key)
    cidr = network.cidr
    assert cidr is not None
    if span.first not in cidr or span.last not in cidr:
        yield document.problem(path, f"{span} is not inside {cidr}.", "Write addresses of proxmox.network.cidr.")
    reserved: list[tuple[str, IPv4Address]] = [
        ("the network's own address", cidr.network_address),
        ("the broadcast address", cidr.broadcast_address),
    ]
    if network.gateway is not None:
        reserved.append(("the gateway", network.gateway))
    for name, address in reserved:
        if address in span:
            yield document.problem(path, f"{span} holds {address}, {name}.", "Write a range without it.")
    if len(span) < count:
        yield document.problem(path, f"{span} holds {len(span)} addresses for {count} nodes.", "Write a longer range.")
