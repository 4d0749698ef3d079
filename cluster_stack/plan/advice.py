"""What does not stop anything, but a person should know."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from cluster_stack.config import ClusterConfig, ClusterFile, Problem
from cluster_stack.config.document import Path
from cluster_stack.plan.collisions import Member
from cluster_stack.plan.extensions import unknown_extension
from cluster_stack.plan.versions import first_apply_mode, iso_version

_NOT_YET: tuple[tuple[str, Callable[[ClusterConfig], bool], str, str], ...] = (
    (
        "secrets.provider",
        lambda config: config.secrets.provider == "sops",
        "secrets are not imported from SOPS yet: Pulumi makes new ones.",
        "Do not use it for a cluster that exists.",
    ),
    (
        "lifecycle",
        lambda config: bool(config.lifecycle.model_fields_set - {"health_timeout"}),
        "only healthTimeout has an effect yet; the other keys are checked, and nothing acts on them.",
        "Upgrade and drain by hand.",
    ),
    (
        "backups",
        lambda config: bool(config.backups.model_fields_set),
        "it is checked, but nothing acts on it yet.",
        "Take snapshots with `talosctl etcd snapshot`.",
    ),
)
"""Key, is it used?, what does not happen, what to do."""


def advice(cluster: Member) -> Iterator[Problem]:
    file = cluster.file
    for key, used, what, fix in _NOT_YET:
        if used(file.config):
            yield file.problem(key, what, fix)
    yield from _extensions(file)
    yield from _old_iso(file)


def _extensions(file: ClusterFile) -> Iterator[Problem]:
    schematic = file.config.cluster.talos.schematic
    places: list[tuple[Path, list[str]]] = [
        (
            ("cluster", "talos", "schematic", "customization", "systemExtensions", "officialExtensions"),
            schematic.customization.system_extensions.official_extensions if schematic else [],
        )
    ]
    places += [((*path, "extensions"), group.extensions) for path, group in file.config.groups()]
    for path, names in places:
        for index, name in enumerate(names):
            if what := unknown_extension(name):
                fix = "The Image Factory refuses an image with an extension that does not exist."
                yield file.problem((*path, index), f"{name} {what}.", fix)


def _old_iso(file: ClusterFile) -> Iterator[Problem]:
    iso, version = file.config.proxmox.storage.iso_path, file.config.cluster.talos.version
    boots = iso_version(iso) if iso else None
    if boots and boots != version:
        what = f"the ISO boots Talos {boots}, the machines are to have {version}."
        fix = "They install that version at once; an ISO of the same version saves them the difference."
        if first_apply_mode(boots) != first_apply_mode(version) == "no_reboot":
            fix = "A cluster that begins with that version needs an ISO of v1.13 or newer, an upgraded one does not."
        yield file.problem("proxmox.storage.isoPath", what, fix)
