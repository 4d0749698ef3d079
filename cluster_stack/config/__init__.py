"""cluster.yaml as frozen, checked models.

This package is the only reader of cluster.yaml. It imports no Pulumi, so that tools can read a cluster in milliseconds,
and it touches no network: what can only be known by asking Proxmox is asked by ``cluster_stack.preflight``.
"""

from cluster_stack.config.load import ClusterFile, cluster_names, load, load_text
from cluster_stack.config.models import ClusterConfig
from cluster_stack.config.problems import ConfigError, Problem

__all__ = ["ClusterConfig", "ClusterFile", "ConfigError", "Problem", "cluster_names", "load", "load_text"]
