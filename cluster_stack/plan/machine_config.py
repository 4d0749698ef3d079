"""What this program adds to the machine configurations that Talos' own library generates.

Owns the patches. Does not generate configurations and holds no secret.
"""

from __future__ import annotations

import json
from typing import Any

from cluster_stack.config import ClusterConfig
from cluster_stack.plan.nodes import NodePlan
from cluster_stack.plan.versions import minor

IMAGE_FACTORY = "factory.talos.dev"


def installer_image(config: ClusterConfig) -> str:
    """The image that installs and upgrades nodes: platform, schematic and version in one reference.

    The platform must be that of the boot image, or the network settings are lost at the next boot (talos#10949).
    """
    talos = config.cluster.talos
    return f"{IMAGE_FACTORY}/{talos.platform}-installer/{talos.factory_schematic}:{talos.version}"


def node_patches(config: ClusterConfig, node: NodePlan, contract: str) -> list[str]:
    """Strategic-merge patches of one node, as JSON texts, for a cluster whose version contract is ``contract``."""
    patch: dict[str, Any] = {
        # The library's default image is that of its own version, whatever version the node is to have.
        "machine": {"install": {"disk": config.cluster.talos.install_disk, "image": installer_image(config)}}
    }
    if node.role == "controlplane" and config.cluster.topology.workers.count == 0:
        patch["cluster"] = {"allowSchedulingOnControlPlanes": True}
    if minor(contract) >= 12:
        # From 1.12 on the generated configuration has a HostnameConfig document; the older key is refused beside it.
        hostname = {"apiVersion": "v1alpha1", "kind": "HostnameConfig", "auto": "off", "hostname": node.name}
        return [_json(patch), _json(hostname)]
    patch["machine"]["network"] = {"hostname": node.name}
    return [_json(patch)]


def _json(value: object) -> str:
    return json.dumps(value, separators=(",", ":"), sort_keys=True)
