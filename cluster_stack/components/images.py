"""The Image Factory's side of a cluster: its schematics, and the disk images that Proxmox fetches.

By an API token, without SSH. Pulumi's machine sends the schematics to the factory; Proxmox itself fetches the images.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pulumi
import pulumi_proxmoxve as proxmox
import pulumiverse_talos as talos

from cluster_stack.config import ClusterConfig
from cluster_stack.plan.boot import BootImage
from cluster_stack.plan.images import DEFAULT_FACTORY
from cluster_stack.plan.nodes import NodePlan
from cluster_stack.plan.schematic import canonical, known_extensions


def register(
    config: ClusterConfig, nodes: Sequence[NodePlan], opts: pulumi.ResourceOptions
) -> dict[str, pulumi.Resource]:
    """Send every schematic of the nodes to the factory, which serves images and installers only of what it was sent.

    Returns them by id. Those of which only the id is known are there already, and in the public factory those that the
    whole world uses.
    """
    factory = config.cluster.talos.image_factory.registry_url
    texts = {node.schematic.id: canonical(found) for node in nodes if (found := node.schematic.schematic) is not None}
    return {
        number: talos.imagefactory.Schematic(
            f"{config.metadata.name}-schematic-{number[:12]}",
            schematic=text,
            # Another factory knows nothing of what this one was sent.
            opts=pulumi.ResourceOptions.merge(opts, pulumi.ResourceOptions(replacement_trigger=factory)),
        )
        for number, text in texts.items()
        if factory != DEFAULT_FACTORY or known_extensions(number) is None
    }


def fetch(
    images: Sequence[BootImage], schematics: Mapping[str, pulumi.Resource], opts: pulumi.ResourceOptions
) -> dict[BootImage, pulumi.Output[str]]:
    """Each image, and the volume id that it has on Proxmox."""
    return {image: _fetch(image, schematics.get(image.schematic), opts).id for image in images}


def _fetch(image: BootImage, schematic: pulumi.Resource | None, opts: pulumi.ResourceOptions) -> proxmox.download.File:
    return proxmox.download.File(
        image.name,
        # `import` is the only content that disks are made of without SSH; it takes qcow2 as it is.
        content_type="import",
        node_name=image.host,
        datastore_id=image.datastore,
        file_name=image.file_name,
        url=image.url,
        # The file's name is ours alone and says what is in it: one that is there already came from an update that was
        # cut off, and it may be half of a file.
        overwrite=False,
        overwrite_unmanaged=True,
        opts=pulumi.ResourceOptions.merge(opts, pulumi.ResourceOptions(depends_on=[schematic] if schematic else [])),
    )
