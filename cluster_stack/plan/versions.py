"""Which Talos goes with which Kubernetes, as data.

Source: ``DefaultKubernetesVersion`` in ``pkg/machinery/constants`` of the first release of each Talos minor
(read November 2026). The first release's value is used for the whole minor, so that a new patch of Talos never
upgrades Kubernetes by the way.
"""

from __future__ import annotations

DEFAULT_KUBERNETES = {10: "1.33.0", 11: "1.34.0", 12: "1.35.0", 13: "1.36.0"}
"""Talos minor (the 11 of v1.11.5) -> Kubernetes version of a cluster that was made with it."""


def minor(talos_version: str) -> int:
    """The 11 of ``v1.11.5``."""
    return int(talos_version.split(".")[1])


def kubernetes_version(contract: str) -> str:
    """Kubernetes version of a cluster whose version contract (Talos version at its creation) is ``contract``."""
    return DEFAULT_KUBERNETES[minor(contract)]


def first_apply_mode(contract: str) -> str:
    """Apply mode of ConfigurationApply for a cluster of this version contract.

    ``no_reboot`` fails closed: a change that would need a reboot is refused. The maintenance service of Talos 1.12 and
    older does not know it (it answers Unimplemented), so clusters that began there keep ``auto``.
    """
    return "no_reboot" if minor(contract) >= 13 else "auto"
