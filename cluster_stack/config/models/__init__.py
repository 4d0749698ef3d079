"""The models of cluster.yaml: every key, its type, its default, its meaning.

A model says what one value may be; what several values must be together is said in ``cluster_stack.config.rules``.
Nothing here knows Pulumi, Proxmox calls or Talos documents.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

from cluster_stack.config.models.base import Model, section
from cluster_stack.config.models.operations import Backups, Gitops, Lifecycle, Registries, Secrets, UserVolume
from cluster_stack.config.models.proxmox import Host, Proxmox
from cluster_stack.config.models.talos import Cni, Kubernetes, Talos
from cluster_stack.config.models.topology import NodeOverride, Pool, Topology
from cluster_stack.config.models.values import LabelKey, LabelValue, Name, Tag

__all__ = ["Cluster", "ClusterConfig", "Metadata", "Model"]


class Metadata(Model):
    name: Name
    """Name of the cluster, its folder and its Pulumi stack. VMs are called `<name>-cp1`, `<name>-worker1` and so on."""
    environment: Tag | None = None
    """A word for what the cluster is for (`dev`, `production`). Becomes a tag of every VM."""
    description: str = ""
    """What the cluster is, in your words. Stands in the notes of every VM."""
    labels: dict[LabelKey, LabelValue] = {}
    """Labels of every node, in Kubernetes and, as `key-value`, among the VM's tags."""


class Cluster(Model):
    talos: Talos
    """Talos Linux on the nodes: its version, its image, the disk it is on, its configuration."""
    kubernetes: Kubernetes = section()
    """Kubernetes on the nodes: its version, its address, its networks."""
    cni: Cni = section()
    """The pod network: the programs that connect pods across nodes."""
    topology: Topology
    """Which machines there are: control planes, workers, further pools, and what is particular to one node."""


class ClusterConfig(Model):
    """One cluster, as its cluster.yaml describes it."""

    api_version: Literal["v1"] = "v1"
    """Version of this file's format."""
    metadata: Metadata
    """What the cluster is called and what it is for."""
    cluster: Cluster
    """What runs on the machines, and how many machines there are."""
    proxmox: Proxmox
    """Where the machines are made: the Proxmox hosts, their storages and networks, and what all VMs have in common."""
    secrets: Secrets = section()
    """Where the cluster's own keys and certificates come from."""
    volumes: list[UserVolume] = []
    """Talos user volumes of every node, on disks that are there already."""
    registries: Registries = section()
    """Where the nodes fetch container images from."""
    lifecycle: Lifecycle = section()
    """How careful changes are: upgrades, reboots, machines that are made anew."""
    backups: Backups = section()
    """Copies of the cluster's state."""
    gitops: Gitops = section()
    """Flux, which installs into the cluster what a Git repository holds."""

    @property
    def talos_cluster_name(self) -> str:
        return self.cluster.talos.cluster_name or self.metadata.name

    @property
    def static_addresses(self) -> bool:
        return self.proxmox.network.cidr is not None

    @property
    def platform(self) -> str:
        """Platform of the boot image and the installer image."""
        return self.cluster.talos.platform or ("metal" if self.proxmox.storage.iso_path else "nocloud")

    @property
    def hosts(self) -> tuple[Host, ...]:
        """The Proxmox hosts, at least one."""
        proxmox = self.proxmox
        if proxmox.nodes:
            return tuple(proxmox.nodes)
        return (Host.model_construct(name=proxmox.node or "", cores=None, memory=None, disk=None),)

    def groups(self) -> Iterator[tuple[tuple[str | int, ...], Pool | NodeOverride]]:
        """Everything that may say something particular about machines, with its path in the file: pools, then nodes."""
        topology, path = self.cluster.topology, ("cluster", "topology")
        yield (*path, "controlPlane"), topology.control_plane
        yield (*path, "workers"), topology.workers
        for index, pool in enumerate(topology.node_pools):
            yield (*path, "nodePools", index), pool
        for name, node in topology.nodes.items():
            yield (*path, "nodes", name), node
