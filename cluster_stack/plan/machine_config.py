"""What this program adds to the machine configurations that Talos' own library generates.

Owns the patches that follow from cluster.yaml. Does not generate configurations, does not read the user's own patches,
and holds no secret. Written in the keys that Talos 1.10 to 1.13 all read; a newer document is used only where the older
key is refused beside it.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from cluster_stack.config import ClusterConfig
from cluster_stack.config.rules.network import service_subnets
from cluster_stack.plan.images import installer_image
from cluster_stack.plan.nodes import ExtraDisk, NodePlan
from cluster_stack.plan.versions import minor

API_PORT = 6443

_LEAST_VOLUME = "1GiB"


def node_patches(config: ClusterConfig, node: NodePlan, contract: str) -> list[str]:
    """Strategic-merge patches of one node, as JSON texts, for a cluster whose version contract is ``contract``."""
    patch: dict[str, Any] = {"machine": _machine(config, node)}
    cluster = _cluster(config, node)
    if cluster:
        patch["cluster"] = cluster
    documents = [patch]
    if minor(contract) >= 12:
        # From 1.12 on the generated configuration has a HostnameConfig document; the older key is refused beside it.
        documents.append({"apiVersion": "v1alpha1", "kind": "HostnameConfig", "auto": "off", "hostname": node.name})
    else:
        patch["machine"].setdefault("network", {})["hostname"] = node.name
    documents += _volumes(config, node)
    if minor(contract) >= 11:
        documents += _encrypted_volumes(config)
    elif config.cluster.talos.disk_encryption:
        patch["machine"]["systemDiskEncryption"] = _system_disk_encryption(config)
    return [_json(document) for document in documents]


def _machine(config: ClusterConfig, node: NodePlan) -> dict[str, Any]:
    machine: dict[str, Any] = {"install": _install(config, node)}
    if node.labels:
        machine["nodeLabels"] = dict(node.labels)
    if node.annotations:
        machine["nodeAnnotations"] = dict(node.annotations)
    if node.taints and node.role == "controlplane":
        machine["nodeTaints"] = dict(map(_taint, node.taints))
    if config.proxmox.network.ntp_servers:
        machine["time"] = {"servers": list(config.proxmox.network.ntp_servers)}
    if network := _network(config, node):
        machine["network"] = network
    if kubelet := _kubelet(config, node):
        machine["kubelet"] = kubelet
    if config.registries.mirrors:
        machine["registries"] = {
            "mirrors": {
                name: {
                    "endpoints": list(mirror.endpoints),
                    **({"overridePath": True} if mirror.override_path else {}),
                    **({"skipFallback": True} if mirror.skip_fallback else {}),
                }
                for name, mirror in config.registries.mirrors.items()
            }
        }
    return machine


def _install(config: ClusterConfig, node: NodePlan) -> dict[str, Any]:
    talos = config.cluster.talos
    # The library's default image is that of its own version, whatever version the node is to have. The platform must be
    # that of the boot image, or the network settings are lost at the next boot (talos#10949).
    image = installer_image(
        talos.image_factory.registry_url,
        node.schematic.id,
        talos.version,
        platform=config.platform,
        secureboot=talos.secureboot,
    )
    if talos.install_disk_selector is not None:
        selector = talos.install_disk_selector.model_dump(by_alias=True, exclude_none=True)
        return {"diskSelector": selector, "image": image}
    return {"disk": talos.install_disk or "/dev/sda", "image": image}


def _taint(text: str) -> tuple[str, str]:
    """``gpu=true:NoSchedule`` as Talos has it: ``gpu`` and ``true:NoSchedule``."""
    key, value, effect = _taint_parts(text)
    return key, f"{value}:{effect}" if value else effect


def _taint_parts(text: str) -> tuple[str, str, str]:
    left, _, effect = text.rpartition(":")
    key, _, value = left.partition("=")
    return key, value, effect


def _kubelet(config: ClusterConfig, node: NodePlan) -> dict[str, Any]:
    kubelet: dict[str, Any] = {}
    if node.taints and node.role == "worker":
        # Kubernetes lets a worker set its taints only as it joins: of nodeTaints it refuses the whole change of the
        # Node, labels and annotations included (see ``config.rules.node_restriction``).
        taints = [_taint_of_kubelet(text) for text in node.taints]
        kubelet["extraConfig"] = {"registerWithTaints": taints}
    if subnets := _node_subnets(config, node):
        kubelet["nodeIP"] = {"validSubnets": subnets}
    return kubelet


def _taint_of_kubelet(text: str) -> dict[str, str]:
    key, value, effect = _taint_parts(text)
    return {"key": key, **({"value": value} if value else {}), "effect": effect}


def _network(config: ClusterConfig, node: NodePlan) -> dict[str, Any]:
    network: dict[str, Any] = {}
    # With static addresses, the DNS servers come with them, from the drive that Proxmox makes.
    if node.address is None and config.proxmox.network.nameservers:
        network["nameservers"] = [str(server) for server in config.proxmox.network.nameservers]
    if interfaces := list(_interfaces(config, node)):
        network["interfaces"] = interfaces
    return network


def _interfaces(config: ClusterConfig, node: NodePlan) -> Iterator[dict[str, Any]]:
    """Only what Talos does not do by itself: it asks DHCP on every card of which nothing is said."""
    vip = config.cluster.kubernetes.vip
    if vip is not None and node.role == "controlplane":
        first = node.cards[0]
        # On metal the card's name follows from its place on the bus; there is only one, so its driver finds it.
        link = {"interface": "eth0"} if config.platform == "nocloud" else {"deviceSelector": {"driver": "virtio_net"}}
        yield {**link, **({"dhcp": True} if first.dhcp else {}), "vip": {"ip": str(vip)}}
    for number, card in enumerate(node.cards[1:], start=1):
        yield {"interface": f"eth{number}", "dhcp": card.dhcp}


def _node_subnets(config: ClusterConfig, node: NodePlan) -> list[str]:
    """Where a node has several addresses: the networks of the one that Kubernetes is to know it by."""
    network = config.proxmox.network
    if network.cidr is None or (len(node.cards) == 1 and network.cidr6 is None):
        return []
    subnets = [str(network.cidr)]
    if network.cidr6 is not None and any(found.version == 6 for found in service_subnets(config)):
        subnets.append(str(network.cidr6))
    return subnets


def _cluster(config: ClusterConfig, node: NodePlan) -> dict[str, Any]:
    kubernetes, cni = config.cluster.kubernetes, config.cluster.cni
    cluster: dict[str, Any] = {}
    network: dict[str, Any] = {}
    if cni.name != "flannel":
        network["cni"] = {"name": "none"}
    if kubernetes.domain != "cluster.local":
        network["dnsDomain"] = kubernetes.domain
    if kubernetes.pod_subnets:
        network["podSubnets"] = [str(found) for found in kubernetes.pod_subnets]
    if kubernetes.service_subnets:
        network["serviceSubnets"] = [str(found) for found in kubernetes.service_subnets]
    if network:
        cluster["network"] = network
    if node.role == "controlplane":
        cluster.update(_control_plane(config, node))
    return cluster


def _control_plane(config: ClusterConfig, node: NodePlan) -> dict[str, Any]:
    kubernetes, topology = config.cluster.kubernetes, config.cluster.topology
    found: dict[str, Any] = {}
    scheduling = kubernetes.allow_scheduling_on_control_planes
    if scheduling is None:
        scheduling = not any(pool.count for pool in topology.pools[1:])
    if scheduling:
        found["allowSchedulingOnControlPlanes"] = True
    if not config.cluster.cni.kube_proxy:
        found["proxy"] = {"disabled": True}
    server: dict[str, Any] = {}
    names = [*kubernetes.cert_sans, *([str(kubernetes.vip)] if kubernetes.vip else [])]
    if names:
        server["certSANs"] = list(dict.fromkeys(names))
    if kubernetes.oidc is not None:
        server["extraArgs"] = {
            "oidc-issuer-url": kubernetes.oidc.issuer_url,
            "oidc-client-id": kubernetes.oidc.client_id,
        }
    if server:
        found["apiServer"] = server
    # A member of etcd on several networks must be told which one the others reach it on.
    if config.proxmox.network.cidr is not None and len(node.cards) > 1:
        found["etcd"] = {"advertisedSubnets": [str(config.proxmox.network.cidr)]}
    return found


def _volumes(config: ClusterConfig, node: NodePlan) -> Iterator[dict[str, Any]]:
    for volume in config.volumes:
        sizes = {"minSize": volume.min_size}
        sizes |= {"maxSize": volume.max_size} if volume.max_size else {}
        yield _user_volume(volume.name, volume.disk_selector, sizes, grow=volume.max_size is None)
    for disk in node.extra_disks:
        if disk.volume:
            yield _user_volume(disk.volume, _finds(disk), {"minSize": _LEAST_VOLUME}, grow=True)


def _finds(disk: ExtraDisk) -> str:
    """QEMU gives SCSI disks no serial number that Talos shows, but a link with it."""
    return f"'/dev/disk/by-id/scsi-0QEMU_QEMU_HARDDISK_{disk.serial}' in disk.symlinks"


def _user_volume(name: str, match: str, sizes: dict[str, str], *, grow: bool) -> dict[str, Any]:
    provisioning = {"diskSelector": {"match": match}, **sizes, **({"grow": True} if grow else {})}
    return {"apiVersion": "v1alpha1", "kind": "UserVolumeConfig", "name": name, "provisioning": provisioning}


def _encryption_key(config: ClusterConfig) -> dict[str, Any]:
    return {"slot": 0, "tpm" if config.cluster.talos.disk_encryption == "tpm" else "nodeID": {}}


def _encrypted_volumes(config: ClusterConfig) -> Iterator[dict[str, Any]]:
    if config.cluster.talos.disk_encryption is None:
        return
    for name in ("STATE", "EPHEMERAL"):
        encryption = {"provider": "luks2", "keys": [_encryption_key(config)]}
        yield {"apiVersion": "v1alpha1", "kind": "VolumeConfig", "name": name, "encryption": encryption}


def _system_disk_encryption(config: ClusterConfig) -> dict[str, Any]:
    """The same for Talos 1.10, whose VolumeConfig has no encryption."""
    return {name: {"provider": "luks2", "keys": [_encryption_key(config)]} for name in ("state", "ephemeral")}


def _json(value: object) -> str:
    return json.dumps(value, separators=(",", ":"), sort_keys=True)
