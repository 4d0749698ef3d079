"""May a cluster go from what it is, its versions and its installation, to what its cluster.yaml asks for?"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from cluster_stack.config import ClusterFile, Problem
from cluster_stack.plan import installed
from cluster_stack.plan.installed import Installation
from cluster_stack.plan.versions import (
    Product,
    first_apply_mode,
    iso_version,
    kubernetes_version,
    unsupported_pair,
    upgrade_problem,
    withdrawn,
)


@dataclass(frozen=True, kw_only=True)
class Previous:
    """What a cluster had after its last update; nothing before the first."""

    from_state: bool = False
    """Whether the state was looked at, so that nothing in it means a new cluster."""
    talos: str | None = None
    kubernetes: str | None = None
    contract: str | None = None
    """Version contract: the Talos version that the cluster was made with."""
    installation: Installation | None = None
    control_planes: tuple[str, ...] = ()
    """Their names."""
    flux: str | None = None
    """Version of Flux; None where it is not enabled."""


NEW = Previous()


def kubernetes_of(file: ClusterFile, previous: Previous = NEW) -> str:
    """The Kubernetes version that a cluster is to have, without a ``v``: the file's, or its version contract's."""
    config = file.config.cluster
    return config.kubernetes.version or kubernetes_version(previous.contract or config.talos.version)


def check(file: ClusterFile, previous: Previous = NEW) -> Iterator[Problem]:
    """Versions that do not go together, and what cannot be reached from the ``previous`` state of things."""
    talos, kubernetes = file.config.cluster.talos.version, kubernetes_of(file, previous)
    ways: tuple[tuple[Product, str, str | None, str], ...] = (
        ("talos", "cluster.talos.version", previous.talos, talos),
        ("kubernetes", "cluster.kubernetes.version", previous.kubernetes, kubernetes),
    )
    for product, key, old, new in ways:
        if old is not None and (refusal := upgrade_problem(product, old, new)):
            yield file.problem(key, refusal.what, refusal.fix)
    if refusal := withdrawn(talos):
        yield file.problem("cluster.talos.version", refusal.what, refusal.fix)
    key = "cluster.kubernetes.version" if file.config.cluster.kubernetes.version else "cluster.talos.version"
    if refusal := unsupported_pair(talos, kubernetes):
        yield file.problem(key, refusal.what, refusal.fix)
    elif previous.talos and kubernetes != previous.kubernetes and unsupported_pair(previous.talos, kubernetes):
        # An update puts the new Kubernetes on all machines; the new Talos is on each once it was upgraded.
        yield file.problem(
            key,
            f"the machines run Talos {previous.talos} until each of them is upgraded, and that does not run "
            f"Kubernetes {kubernetes}.",
            f"Write Kubernetes {previous.kubernetes} again, run `pulumi up` and upgrade every machine; "
            "then write the new version.",
        )
    contract = previous.contract if previous.talos else talos
    if previous.from_state and contract:
        yield from _iso(file, contract)
    if previous.installation is not None:
        for key, refusal in installed.refusals(previous.installation, file.config):
            yield file.problem(key, refusal.what, refusal.fix)


def _iso(file: ClusterFile, contract: str) -> Iterator[Problem]:
    iso = file.config.proxmox.storage.iso_path
    boots = iso_version(iso) if iso else None
    if boots and first_apply_mode(boots) != first_apply_mode(contract) == "no_reboot":
        yield file.problem(
            "proxmox.storage.isoPath",
            f"the ISO boots Talos {boots}, which does not take the machine configuration of a cluster that began with "
            f"Talos {contract}.",
            "Upload an ISO of Talos v1.13 or newer, and write its name here.",
        )
