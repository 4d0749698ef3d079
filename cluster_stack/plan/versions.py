"""Which Talos runs which Kubernetes, and which version may follow which.

Owns the tables and the rules. Does not know what a machine runs, nor where in cluster.yaml a version stands: a refusal
says what is wrong and what to write instead, the caller adds the place. Versions are texts, ``v1.11.5`` or ``1.34.2``.

Sources, read in November 2026:

* ``compatibility/talos1xx`` and ``constants.DefaultKubernetesVersion`` of github.com/siderolabs/talos/pkg/machinery,
  v1.10.0 to v1.13.9. Talos' installer checks an upgrade by them. Talos 1.14: ``talos114.go`` on the main branch of
  github.com/siderolabs/talos; its default Kubernetes is what users report of v1.14.1.
* https://docs.siderolabs.com, "Upgrading Talos Linux": an upgrade "is only tested between adjacent minor releases".
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, NamedTuple

Product = Literal["talos", "kubernetes"]


@dataclass(frozen=True)
class Refusal:
    """What is wrong and what to write instead: the two sentences of a ``Problem`` of the configuration."""

    what: str
    fix: str


class Version(NamedTuple):
    """A version of Talos or Kubernetes, in their order: ``v1.13.0-rc.1`` comes before ``v1.13.0``."""

    minor: int
    patch: int
    stage: str = "release"
    """alpha, beta, rc or release: the alphabet has them in the order in which they appear."""
    number: int = 0

    @classmethod
    def parse(cls, text: str) -> Version:
        """Read ``v1.11.5``, ``1.34.2`` or ``v1.13.0-rc.1``. Raises ValueError for anything else, 2.0.0 too."""
        match = re.fullmatch(r"v?1\.(\d+)\.(\d+)(?:-(alpha|beta|rc)\.(\d+))?", text, re.ASCII)
        if match is None:
            raise ValueError(f"{text!r} is not a version like v1.11.5 or v1.13.0-rc.1")
        minor, patch, stage, number = match.groups()
        return cls(int(minor), int(patch), stage or "release", int(number or 0))

    def __str__(self) -> str:
        stage = "" if self.stage == "release" else f"-{self.stage}.{self.number}"
        return f"v1.{self.minor}.{self.patch}{stage}"


class TalosMinor(NamedTuple):
    """What one minor version of Talos says of itself. Ranges are of minor versions."""

    kubernetes: range
    """The Kubernetes that it runs."""
    default_kubernetes: str
    """``DefaultKubernetesVersion`` of its first release."""
    hosts: range
    """The Talos, older and newer, that its installer replaces: more than the documentation calls tested."""


def _through(oldest: int, newest: int) -> range:
    return range(oldest, newest + 1)


TALOS: Mapping[int, TalosMinor] = {
    10: TalosMinor(kubernetes=_through(28, 33), default_kubernetes="1.33.0", hosts=_through(8, 11)),
    11: TalosMinor(kubernetes=_through(29, 34), default_kubernetes="1.34.0", hosts=_through(9, 12)),
    12: TalosMinor(kubernetes=_through(30, 35), default_kubernetes="1.35.0", hosts=_through(10, 13)),
    13: TalosMinor(kubernetes=_through(31, 36), default_kubernetes="1.36.0", hosts=_through(11, 14)),
    14: TalosMinor(kubernetes=_through(32, 37), default_kubernetes="1.37.0", hosts=_through(12, 15)),
}
"""Talos minor (the 11 of v1.11.5) -> what it goes with."""

CONFIGURABLE_TALOS = _through(10, 13)
"""The Talos minors whose machine configurations pulumiverse-talos 0.8 can write: its machinery is 1.13."""

NEWEST_PATCH: Mapping[Product, Mapping[int, int]] = {
    "talos": {10: 9, 11: 6, 12: 12, 13: 11, 14: 6},
    "kubernetes": {28: 15, 29: 15, 30: 14, 31: 14, 32: 13, 33: 13, 34: 13, 35: 10, 36: 6, 37: 2},
}
"""Minor -> newest patch that was seen in November 2026, for hints only: a newer one is as good.

Talos: its release announcements and endoflife.date/talos-linux. Kubernetes: the tags of k8s.io/api, v0.36.6 for 1.36.6.
"""

WITHDRAWN_TALOS: Mapping[Version, str] = {Version(13, 1): "https://github.com/siderolabs/talos/issues/13312"}
"""Releases that were taken back because they were broken -> where their makers say so."""

_READY_FOR_ETCD_3_6 = Version(10, 9)
"""Brings etcd 3.5.26, which mends what can break a cluster on its way to etcd 3.6, that of Talos 1.11.

https://github.com/siderolabs/talos/issues/12467 and https://etcd.io/docs/latest/upgrades/upgrade_3_6
"""

DEFAULT_KUBERNETES: Mapping[int, str] = {number: talos.default_kubernetes for number, talos in TALOS.items()}
"""Talos minor (the 11 of v1.11.5) -> Kubernetes version of a cluster that was made with it."""


def minor(talos_version: str) -> int:
    """The 11 of ``v1.11.5``."""
    return int(talos_version.split(".")[1])


def default_kubernetes(talos_version: str) -> str:
    """The Kubernetes version, ``1.34.0``, of a cluster that is made with this Talos and says nothing else.

    The whole minor has that of its first release, so that a new patch of Talos never upgrades Kubernetes by the way.
    Raises KeyError for a Talos that is not in the table.
    """
    return DEFAULT_KUBERNETES[minor(talos_version)]


def kubernetes_version(contract: str) -> str:
    """Kubernetes version of a cluster whose version contract (Talos version at its creation) is ``contract``."""
    return default_kubernetes(contract)


def newest(product: Product, minor_version: int) -> str:
    """The newest known version of a minor, to name it in a hint: ``v1.13.11``, or ``v1.38.x`` of an unknown one."""
    return f"v1.{minor_version}.{NEWEST_PATCH[product].get(minor_version, 'x')}"


def withdrawn(talos: str) -> Refusal | None:
    """What to say of a Talos release that was taken back; None for every other."""
    version = Version.parse(talos)
    reference = WITHDRAWN_TALOS.get(version)
    if reference is None:
        return None
    return Refusal(
        f"Talos {version} was broken and has been taken back ({reference}).",
        f"Write {newest('talos', version.minor)}.",
    )


def unsupported_pair(talos: str, kubernetes: str) -> Refusal | None:
    """What to say of a Kubernetes that this Talos does not run; None for a pair that goes together.

    The fix is for the key of the Kubernetes version. Raises ValueError for what is not a version.
    """
    system, cluster = Version.parse(talos), Version.parse(kubernetes)
    if system.minor not in TALOS:
        return Refusal(
            f"nothing is known here of the Kubernetes that Talos {system} runs.",
            f"Write a Talos version from v1.{CONFIGURABLE_TALOS[0]} to v1.{CONFIGURABLE_TALOS[-1]}.",
        )
    runs = TALOS[system.minor].kubernetes
    if cluster.minor in runs:
        return None
    too_new = cluster.minor > runs[-1]
    fix = f"Write {newest('kubernetes', runs[-1] if too_new else runs[0])}"
    others = [number for number in TALOS if cluster.minor in TALOS[number].kubernetes]
    within_reach = [number for number in others if number in CONFIGURABLE_TALOS]
    if within_reach:
        fix += f", or Talos {newest('talos', within_reach[0] if too_new else within_reach[-1])}."
    elif others:
        fix += f": Talos v1.{others[0]}, which runs v1.{cluster.minor}, is newer than this program can configure."
    else:
        fix += "."
    return Refusal(
        f"Talos {system} runs Kubernetes v1.{runs[0]} to v1.{runs[-1]}, not {cluster}.",
        fix,
    )


def upgrade_problem(product: Product, old: str, new: str) -> Refusal | None:
    """What to say of a running cluster's way from ``old`` to ``new``; None for a way that can be gone.

    One minor at a time and never back to an older one; within a minor to any patch, an older one too, which is the way
    out of a bad release. So do the products' own tools: Omni takes Talos back by patches only (siderolabs/omni#46), and
    `talosctl upgrade-k8s` compares the minors alone (``IsSupported`` in kubernetes/upgrade/path.go of
    siderolabs/go-kubernetes). Talos' installer itself would also skip a minor or go back one; that is untested, and
    went wrong with the etcd of 1.11 (siderolabs/omni#1568).

    Whether the new versions go together, ``unsupported_pair`` tells. Raises ValueError for what is not a version.
    """
    before, after = Version.parse(old), Version.parse(new)
    if after.minor < before.minor:
        return Refusal(
            f"{product.capitalize()} cannot go back from {before} to {after}: "
            "an older minor version may not read what the newer one has stored.",
            f"Write {before} again, or another version of v1.{before.minor}.",
        )
    if after.minor == before.minor:
        return None
    steps = [newest(product, between) for between in range(before.minor + 1, after.minor)]
    if product == "talos" and before < _READY_FOR_ETCD_3_6 and before.minor == _READY_FOR_ETCD_3_6.minor:
        steps.insert(0, str(_READY_FOR_ETCD_3_6))
    if not steps:
        return None
    way = ", then ".join([*steps, str(after)])
    return Refusal(_why_not_at_once(product, before, after), f"Write {way}, with a `pulumi up` after each.")


def _why_not_at_once(product: Product, before: Version, after: Version) -> str:
    if product == "kubernetes":
        return f"Kubernetes {before} to {after} skips a minor version, and its API servers take one step at a time."
    if after.minor == before.minor + 1:
        return f"the etcd of Talos {before} is not ready for the etcd 3.6 of {after}."
    if after.minor in TALOS and before.minor not in TALOS[after.minor].hosts:
        return f"the installer of Talos {after} refuses a machine that runs {before}."
    return f"Talos {before} to {after} skips a minor version, and its makers test only the step from one to the next."


_VERSION_IN_ISO = re.compile(r"v?(1\.\d+\.\d+)")


def iso_version(volume: str) -> str | None:
    """The Talos version in an ISO's volume id (``local:iso/talos-1.11.5-amd64.iso``); None where there is none."""
    found = _VERSION_IN_ISO.search(volume.rpartition("/")[2])
    return f"v{found[1]}" if found else None


def first_apply_mode(contract: str) -> str:
    """Apply mode of ConfigurationApply for a cluster of this version contract.

    ``no_reboot`` fails closed: a change that would need a reboot is refused. The maintenance service of Talos 1.12 and
    older does not know it (it answers Unimplemented), so clusters that began there keep ``auto``.
    """
    return "no_reboot" if minor(contract) >= 13 else "auto"
