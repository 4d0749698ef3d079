"""The facts of a cluster that its components read: what cluster.yaml says once, under names of their own.

They reach the components through one ConfigMap; Flux puts them where a manifest says ``${CLUSTER_NAME}``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from cluster_stack.config import ClusterConfig
from cluster_stack.config.rules.network import pod_subnets, service_subnets
from cluster_stack.plan.gitops.components import Component


@dataclass(frozen=True)
class Fact:
    about: str
    key: str
    """The key of cluster.yaml that says it."""
    read: Callable[[ClusterConfig], object]
    """None where the file does not say it."""

    def value(self, config: ClusterConfig) -> str | None:
        found = self.read(config)
        match found:
            case None | "":
                return None
            case bool():
                return str(found).lower()
            case list() | tuple():
                return ",".join(map(str, found)) or None
        return str(found)


def _ranges(config: ClusterConfig, role: str) -> object:
    ranges = config.proxmox.network.ip_ranges
    return getattr(ranges, role) if ranges else None


FACTS: Mapping[str, Fact] = {
    "CLUSTER_NAME": Fact("Name of the cluster.", "metadata.name", lambda config: config.metadata.name),
    "CLUSTER_DOMAIN": Fact(
        "DNS domain of services.", "cluster.kubernetes.domain", lambda config: config.cluster.kubernetes.domain
    ),
    "ENVIRONMENT": Fact("What the cluster is for.", "metadata.environment", lambda config: config.metadata.environment),
    "CLUSTER_VIP": Fact(
        "The address that the control planes share.",
        "cluster.kubernetes.vip",
        lambda config: config.cluster.kubernetes.vip,
    ),
    "NODE_NETWORK": Fact(
        "Network of the nodes, where addresses are static.",
        "proxmox.network.cidr",
        lambda config: config.proxmox.network.cidr,
    ),
    "CONTROL_PLANE_RANGE": Fact(
        "Addresses of the control planes: first and last.",
        "proxmox.network.ipRanges.controlPlane",
        lambda config: _ranges(config, "control_plane"),
    ),
    "WORKER_RANGE": Fact(
        "Addresses of the workers: first and last.",
        "proxmox.network.ipRanges.workers",
        lambda config: _ranges(config, "workers"),
    ),
    "POD_SUBNETS": Fact(
        "Networks of the pods, with a comma between them.", "cluster.kubernetes.podSubnets", lambda c: pod_subnets(c)
    ),
    "SERVICE_SUBNETS": Fact(
        "Networks of the services, with a comma between them.",
        "cluster.kubernetes.serviceSubnets",
        lambda c: service_subnets(c),
    ),
    "PROXMOX_API": Fact(
        "Address of the Proxmox API.",
        "proxmox.endpoint",
        lambda config: f"{config.proxmox.endpoint.rstrip('/')}/api2/json",
    ),
    "PROXMOX_INSECURE": Fact(
        "Whether its certificate is not checked: true or false.",
        "proxmox.insecure",
        lambda config: config.proxmox.insecure,
    ),
    "PROXMOX_REGION": Fact(
        "Name of the Proxmox cluster, the region of the nodes.",
        "proxmox.clusterName",
        lambda config: config.proxmox.cluster_name,
    ),
    "PROXMOX_ZONES": Fact(
        "The Proxmox hosts, the zones of the nodes, with a comma between them.",
        "proxmox.nodes",
        lambda config: [host.name for host in config.hosts],
    ),
    "PROXMOX_DATASTORE": Fact(
        "Proxmox storage of the machines' disks.",
        "proxmox.storage.datastore",
        lambda config: config.proxmox.storage.datastore,
    ),
}


def runtime_info(config: ClusterConfig, components: Iterable[Component]) -> dict[str, str]:
    """Every fact that the file says, and the settings of the components: the file's, else the component's default."""
    found = {name: value for name, fact in FACTS.items() if (value := fact.value(config)) is not None}
    for component in components:
        for name, setting in component.declaration.settings.items():
            value = config.gitops.infrastructure.settings.get(name, setting.default)
            if value is not None:
                found[name] = value
    return dict(sorted(found.items()))
