"""Keys of other systems that people paste into a cluster.yaml, and what to write instead.

The systems: talhelper (``pkg/config/config.go`` of github.com/budimanjojo/talhelper, read November 2026), the Terraform
module of the original (github.com/ironicbadger/k8s, ``modules/talos-proxmox``), and Proxmox providers.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from cluster_stack.config.document import Path

RENAMED: Mapping[str, str] = {
    # talhelper
    "talosVersion": "cluster.talos.version",
    "clusterName": "cluster.talos.clusterName",
    "kubernetesVersion": "cluster.kubernetes.version",
    "clusterPodNets": "cluster.kubernetes.podSubnets",
    "clusterSvcNets": "cluster.kubernetes.serviceSubnets",
    "additionalApiServerCertSans": "cluster.kubernetes.certSANs",
    "allowSchedulingOnMasters": "cluster.kubernetes.allowSchedulingOnControlPlanes",
    "cniConfig": "cluster.cni",
    # Terraform
    "cluster_name": "metadata.name",
    "proxmox_endpoint": "proxmox.endpoint",
    "proxmox_insecure": "proxmox.insecure",
    "proxmox_node": "proxmox.node",
    "network_bridge": "proxmox.network.bridge",
    "talos_iso": "proxmox.storage.isoPath",
    "cp_count": "cluster.topology.controlPlane.count",
    "worker_count": "cluster.topology.workers.count",
    "control_plane": "cluster.topology.controlPlane.resources",
    "worker": "cluster.topology.workers",
    "vm_id_base": "proxmox.vm.idBase",
    "vmIdBase": "proxmox.vm.idBase",
}
"""The key -> where its value belongs here."""

_AS_PATCH = "Write it as a patch of the machine configuration: `patches`."
_FROM_ENVIRONMENT = "Remove it, and set the environment variable PROXMOX_VE_API_TOKEN."
_NAMED = "Remove it: nodes are called <metadata.name>-cp1, <metadata.name>-worker1 and so on."

ANSWERED: Mapping[str, tuple[str, str]] = {
    "nodeLabels": ("that is another system's key.", "Write `labels`."),
    "nodeAnnotations": ("that is another system's key.", "Write `annotations`."),
    "nodeTaints": ("that is another system's key.", "Write `taints`, a list: [key=value:NoSchedule]."),
    "userVolumes": (
        "that is another system's key.",
        "Write `disks` with a `volume` each, or `volumes` at the top of the file for disks that are there already.",
    ),
    "machineSpec": ("that is another system's key.", "Write cluster.talos.arch and cluster.talos.secureboot."),
    "snippetsDatastore": ("nothing here needs snippets.", "Remove it."),
    "talosImageURL": (
        "the installer's image follows from the Talos version and the schematic.",
        "Write cluster.talos.version, and cluster.talos.factorySchematic or schematic.",
    ),
    "hostname": ("a node's name is not chosen.", _NAMED),
    "kernelModules": ("there is no such key.", _AS_PATCH),
    "machineFiles": ("there is no such key.", _AS_PATCH),
    "machineDisks": ("there is no such key.", _AS_PATCH),
    "extraManifests": ("there is no such key.", _AS_PATCH),
    "inlineManifests": ("there is no such key.", _AS_PATCH),
    "ingressFirewall": ("there is no such key.", _AS_PATCH),
    "extensionServices": ("there is no such key.", _AS_PATCH),
    "additionalMachineCertSans": ("there is no such key.", _AS_PATCH),
    "disableSearchDomain": ("there is no such key.", _AS_PATCH),
    "inlinePatch": ("there is no such key.", "Write it as an item of `patches`."),
    "configPatches": ("there is no such key.", "Write `patches`."),
    "deviceSelector": (
        "a virtual machine's network cards have their places.",
        "Remove it: the cards are eth1, eth2 and so on, in the order of this list.",
    ),
    "apiToken": ("a cluster.yaml holds no secrets.", _FROM_ENVIRONMENT),
    "token": ("a cluster.yaml holds no secrets.", _FROM_ENVIRONMENT),
    "password": ("a cluster.yaml holds no secrets.", _FROM_ENVIRONMENT),
    "username": ("there is no log-in with a password.", _FROM_ENVIRONMENT),
    "proxmox_api_token": ("a cluster.yaml holds no secrets.", _FROM_ENVIRONMENT),
}
"""The key -> what is wrong, what to do."""


class Answer(NamedTuple):
    what: str
    """What is wrong."""
    fix: str
    """What to write instead."""
    place: Path | None = None
    """The key that it is here."""


def answer(path: Path) -> Answer | None:
    """What to say of an unknown key that another system has; None for any other."""
    key = str(path[-1])
    if key == "controlPlane" and "nodes" in path:
        return Answer(
            "a node's kind follows from its pool.", "Remove it: <metadata.name>-cp1 and so on are control planes."
        )
    if path[-2:] == ("installDiskSelector", "name"):
        return Answer(
            "Talos does not choose a disk by its name any more.", "Write `model` or `serial`, or installDisk: /dev/sda."
        )
    if place := RENAMED.get(key):
        return Answer("that is another system's key.", f"Write {place} instead.", tuple(place.split(".")))
    return Answer(*ANSWERED[key]) if key in ANSWERED else None


def is_talhelper(data: Mapping[str, Any]) -> bool:
    """Is it a whole talconfig.yaml? The original keeps its clusters of physical machines in such files."""
    return isinstance(data.get("nodes"), list) and "clusterName" in data and "proxmox" not in data


TALHELPER = (
    "this is a talhelper configuration, of machines that are there already.",
    "This program makes its machines, as VMs on Proxmox: keep such a cluster with talhelper, outside clusters/.",
)
"""What is wrong with a whole talconfig.yaml, what to do."""
