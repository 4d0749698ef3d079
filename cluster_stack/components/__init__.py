"""Pulumi components: what a planned cluster is made of, in terms of the providers for Proxmox and Talos, and our own.

Nothing is decided here. The shape of the graph is the plan's; an address or a secret only flows through it.
"""

from cluster_stack.components.cluster import Cluster, ClusterArgs
from cluster_stack.components.gitops import Gitops, GitopsArgs

__all__ = ["Cluster", "ClusterArgs", "Gitops", "GitopsArgs"]
