"""What happens to the machine configurations: which keys change, and whether Talos takes them over while it runs.

Source: ``CanApplyImmediate`` in internal/app/machined/pkg/runtime/v1alpha1/v1alpha1_runtime.go of
github.com/siderolabs/talos v1.13.9.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import yaml

from cluster_stack.config.document import Path, dotted
from cluster_stack.plan.changes.differences import Nouns, differing, in_words, listed
from cluster_stack.plan.changes.images import installer
from cluster_stack.plan.changes.model import Reason, Snapshot
from cluster_stack.plan.endpoint import api_endpoint, first_control_plane
from cluster_stack.plan.machine_config import node_patches
from cluster_stack.plan.nodes import NodePlan
from cluster_stack.plan.versions import first_apply_mode

_LIVE = {"cluster", "debug"}
_LIVE_MACHINE = {
    "ca",
    "acceptedCAs",
    "time",
    "certSANs",
    "install",
    "network",
    "sysfs",
    "sysctls",
    "logging",
    "controlPlane",
    "kubelet",
    "kernel",
    "registries",
    "pods",
    "seccompProfiles",
    "nodeAnnotations",
    "nodeLabels",
    "nodeTaints",
}
_LIVE_FEATURES = {"kubernetesTalosAPIAccess", "kubePrism", "hostDNS", "imageCache", "nodeAddressSortAlgorithm"}
"""What Talos takes over without a reboot: of the main document, of its ``machine``, of ``machine.features``; and every
other document."""

_INSTALLER: Path = ("machine", "install", "image")

DocumentName = tuple[str, str]
"""Kind and name of a document of a machine configuration."""

_MAIN: DocumentName = ("", "")
"""The document with ``machine`` and ``cluster``, which has neither kind nor name."""


def edited(old: Snapshot, new: Snapshot, before: NodePlan, after: NodePlan) -> Iterator[Reason]:
    for text in in_words(_from_talos(old, old.contract), _from_talos(new, old.contract)):
        yield Reason("configured", text)
    live: list[str] = []
    reboot: list[str] = []
    had, has = _documents(old, before, old.contract), _documents(new, after, old.contract)
    for name in dict.fromkeys([*had, *has]):
        for path in differing(had.get(name), has.get(name)):
            if name != _MAIN:
                live.append(" ".join([*filter(None, name), *filter(None, [dotted(path)])]))
            elif path != _INSTALLER or _is_only_elsewhere(old, before, new, after):
                (live if _is_live(path) else reboot).append(dotted(path))
    if live:
        yield Reason("configured", listed(live))
    if after.role == "worker" and before.taints != after.taints:
        yield Reason("kept", "taints, which a worker takes only as it joins: `kubectl taint nodes` changes them")
    if reboot:
        yield Reason("restarted", f"{listed(reboot)}: {_reboots(old.contract)}")


def _is_only_elsewhere(old: Snapshot, before: NodePlan, new: Snapshot, after: NodePlan) -> bool:
    """Is the installer the same Talos, fetched from another place? Any other one is an upgrade."""
    same = [installer(snapshot.config, node).rpartition("/")[2] for snapshot, node in ((old, before), (new, after))]
    return same[0] == same[1]


def _from_talos(snapshot: Snapshot, contract: str) -> Nouns:
    """What Talos' own library writes into every configuration."""
    config, nodes = snapshot.config, snapshot.nodes
    unknown = f"the address that DHCP gives {first_control_plane(nodes).name}"
    return {
        "Kubernetes": snapshot.kubernetes(contract),
        "Kubernetes API": api_endpoint(config, nodes) or unknown,
        "cluster name inside Talos": config.talos_cluster_name,
    }


def _documents(snapshot: Snapshot, node: NodePlan, contract: str) -> dict[DocumentName, dict[str, Any]]:
    """All patches of a node's configuration, merged, by the document that they patch."""
    # Every generated configuration has features, so that a patch with one of them adds no others.
    merged: dict[DocumentName, dict[str, Any]] = {_MAIN: {"machine": {"features": {}}}}
    for text in (*node_patches(snapshot.config, node, contract), *snapshot.patches[node.name]):
        for patch in yaml.load_all(text, Loader=yaml.CSafeLoader):
            name = (str(patch.get("kind", "")), str(patch.get("name", "")))
            merged[name] = _merged(merged.get(name, {}), patch)
    return merged


def _merged(first: Any, second: Any) -> Any:
    """Two patches as one: mappings by their keys, of which empty ones say nothing, lists one after the other."""
    if isinstance(first, dict) and isinstance(second, dict):
        said = {key: value for key, value in second.items() if value is not None}
        return {**first, **{key: _merged(first.get(key), value) for key, value in said.items()}}
    if isinstance(first, list) and isinstance(second, list):
        return [*first, *second]
    return second


def _is_live(path: Path) -> bool:
    first, *below = path
    if first != "machine":
        return first in _LIVE
    key, *below = below
    return below[0] in _LIVE_FEATURES if key == "features" else key in _LIVE_MACHINE


def _reboots(contract: str) -> str:
    if first_apply_mode(contract) == "auto":
        return "Talos reboots for it at once, without a drain"
    # The version contract decides, and it may be older than the file's version.
    return (
        "Talos needs a reboot for it. Where the cluster was made with Talos 1.13 or later, it refuses the change; "
        "where it was made with an older one, it reboots at once, without a drain"
    )
