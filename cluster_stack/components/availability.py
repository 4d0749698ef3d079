"""Proxmox' high availability: which machines it restarts elsewhere, and which it keeps apart."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pulumi
import pulumi_proxmoxve as proxmox

from cluster_stack.components.node import Node
from cluster_stack.config import ClusterConfig


def keep_available(
    config: ClusterConfig, control_planes: Mapping[str, Node], workers: Mapping[str, Node], opts: pulumi.ResourceOptions
) -> None:
    """Put every machine under Proxmox' HA manager, and control planes on different hosts where there are several."""
    resources = {
        name: proxmox.Haresource(
            f"{name}-ha",
            resource_id=node.vm_id.apply(lambda number: f"vm:{number}"),
            state="started",
            group=config.proxmox.vm.ha_group,
            # The provider would send a changed id to the resource of the old one.
            opts=pulumi.ResourceOptions.merge(
                opts, pulumi.ResourceOptions(replace_on_changes=["resourceId"], delete_before_replace=True)
            ),
        )
        for name, node in {**control_planes, **workers}.items()
    }
    # Before Proxmox VE 9 there are groups and no rules; who names a group has such a site.
    if len(control_planes) > 1 and len(config.hosts) > 1 and config.proxmox.vm.ha_group is None:
        _keep_apart(config.metadata.name, [resources[name] for name in control_planes], opts)


def _keep_apart(cluster: str, control_planes: Sequence[proxmox.Haresource], opts: pulumi.ResourceOptions) -> None:
    proxmox.Harule(
        f"{cluster}-control-planes-apart",
        rule=f"{cluster}-control-planes-apart",
        type="resource-affinity",
        affinity="negative",
        resources=[resource.resource_id for resource in control_planes],
        opts=pulumi.ResourceOptions.merge(opts, pulumi.ResourceOptions(depends_on=list(control_planes))),
    )
