"""Pulumi components: what a planned cluster is made of, in terms of the Proxmox and Talos providers.

Nothing is decided here. The shape of the graph is the plan's; an address or a secret only flows through it.
"""

from cluster_stack.components.cluster import Cluster, ClusterArgs

__all__ = ["Cluster", "ClusterArgs"]
