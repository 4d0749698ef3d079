"""What a cluster was installed with and keeps: an edit would leave its machines unable to start, or to talk.

Owns the rules. What there was, a caller knows: an update from the state, `diff` from the file's older version.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from cluster_stack.config import ClusterConfig
from cluster_stack.plan.boot import bios
from cluster_stack.plan.versions import Refusal


@dataclass(frozen=True, kw_only=True)
class Installation:
    """How a cluster is installed."""

    firmware: str
    """``seabios`` or ``ovmf``."""
    secure_boot: bool
    disk_encryption: str
    """``none``, ``tpm`` or ``nodeID``."""
    pod_network: str | None
    """Who makes it: ``flannel``, ``cilium`` or ``none`` of the two; None where an older state does not tell."""


def installation(config: ClusterConfig) -> Installation:
    """What cluster.yaml asks for."""
    return Installation(
        firmware=bios(config),
        secure_boot=config.cluster.talos.secureboot,
        disk_encryption=config.cluster.talos.disk_encryption or "none",
        pod_network=config.cluster.cni.name,
    )


def refusals(before: Installation, config: ClusterConfig) -> Iterator[tuple[str, Refusal]]:
    """What a cluster that is installed as ``before`` cannot become, each with its key in cluster.yaml.

    Sources, Talos v1.13.0: ``volumes/encrypt.go`` and ``format.go`` (a partition is encrypted when it is made, and one
    that is otherwise than configured does not open), ``CleanupBootloader`` (a disk image starts with boot loaders for
    both kinds of firmware and keeps one). No upgrade leads to Secure Boot: docs.siderolabs.com, "SecureBoot".
    """
    after = installation(config)
    if before.disk_encryption != after.disk_encryption:
        what = (
            f"the disks of this cluster have the encryption `{before.disk_encryption}`. With another one, Talos would "
            "not open them at its next start."
        )
        yield (
            "cluster.talos.diskEncryption",
            Refusal(what, _keep("diskEncryption", before.disk_encryption.replace("none", ""))),
        )
    if before.secure_boot != after.secure_boot:
        had = "with" if before.secure_boot else "without"
        what = f"this cluster was installed {had} Secure Boot, and no upgrade of Talos changes that."
        yield "cluster.talos.secureboot", Refusal(what, _keep("secureboot", "true" if before.secure_boot else ""))
    networks = (before.pod_network, after.pod_network)
    if before.pod_network != after.pod_network and not {None, "none"} & set(networks):
        what = (
            f"the pods of this cluster are connected by {before.pod_network}, which nobody would remove: "
            f"{before.pod_network} and {after.pod_network} would both run."
        )
        fix = (
            f"Write `name: {before.pod_network}`. To move a cluster that runs, write `name: none`, follow the guide of "
            f"{after.pod_network} for migrations, and write `name: {after.pod_network}` when it is done."
        )
        yield "cluster.cni.name", Refusal(what, fix)
    follows = (before.disk_encryption, before.secure_boot) != (after.disk_encryption, after.secure_boot)
    if before.firmware != after.firmware and not follows and config.proxmox.storage.iso_path is None:
        what = (
            f"the machines of this cluster have the firmware {before.firmware}, and since their first start their "
            "disks have the boot loader for no other."
        )
        if config.proxmox.vm.bios is None and config.proxmox.vm.tpm:
            yield "proxmox.vm.tpm", Refusal(what, "Remove the key: a TPM needs the firmware ovmf.")
        else:
            yield "proxmox.vm.bios", Refusal(what, f"Write `bios: {before.firmware}`.")


def _keep(key: str, value: str) -> str:
    keep = f"Write `{key}: {value}`" if value else "Remove the key"
    return f"{keep}: only a new cluster can have it otherwise."
