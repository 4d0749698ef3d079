"""Backups, GitOps, lifecycle: do they go together?"""

from __future__ import annotations

from collections.abc import Iterator

from cluster_stack.config.document import Document
from cluster_stack.config.models import ClusterConfig
from cluster_stack.config.problems import Problem
from cluster_stack.config.rules.repeats import repeats


def check(config: ClusterConfig, document: Document) -> Iterator[Problem]:
    etcd = config.backups.etcd
    if etcd.schedule and etcd.s3 is None:
        what = "scheduled snapshots need a place."
        yield document.problem(("backups", "etcd", "schedule"), what, "Write s3.endpoint and s3.bucket beside it.")
    flux = config.gitops.flux
    if config.gitops.enabled and not flux.repository:
        what = "Flux needs a repository to follow."
        yield document.problem(("gitops", "enabled"), what, "Write gitops.flux.repository, or `enabled: false`.")
    components = config.gitops.infrastructure
    places = [("core", index) for index in range(len(components.core))]
    places += [("optional", index) for index in range(len(components.optional))]
    for place, name in repeats([*components.core, *components.optional]):
        path = ("gitops", "infrastructure", *places[place])
        yield document.problem(path, f"{name} is there already.", "Name each component once.")
    for index, name in repeats(volume.name for volume in config.volumes):
        what = f"there is a volume called {name!r} already."
        yield document.problem(("volumes", index, "name"), what, "Write another name: it is the folder in /var/mnt.")
    for index, volume in enumerate(config.volumes):
        if volume.max_size is not None and _bytes(volume.max_size) < _bytes(volume.min_size):
            what = f"{volume.max_size} is less than the least size, {volume.min_size}."
            yield document.problem(("volumes", index, "maxSize"), what, "Write a larger one, or remove it.")


def _bytes(size: str) -> float:
    """``10GiB`` as a number of bytes."""
    amount, unit = size.rstrip("KMGTiB"), size.lstrip("0123456789.")
    thousand = 1024 if "i" in unit else 1000
    return float(amount) * float(thousand ** " KMGT".index(unit[0] if unit[0] in "KMGT" else " "))
