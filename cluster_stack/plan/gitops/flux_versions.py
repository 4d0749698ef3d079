"""Which Flux there is to install, and which Kubernetes it runs on.

Sources, read in November 2026:

* ``config/data/flux`` of github.com/controlplaneio-fluxcd/flux-operator v0.59.0: what that operator installs. It knows
  older ones too, which do not have the API versions of ``infrastructure/`` (OCIRepository v1 came with 2.6).
* https://fluxcd.control-plane.io/releases: Kubernetes for Flux 2.7 and 2.8. For 2.9: ``cmd/flux/check.go`` of
  github.com/fluxcd/flux2/v2 v2.9.5 asks for 1.33 at least, and its release notes name 1.36 as the newest.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import NamedTuple

from cluster_stack.plan.versions import Refusal


class FluxMinor(NamedTuple):
    kubernetes: range
    """The minor versions of Kubernetes that it runs on."""
    patches: tuple[int, ...]


FLUX: Mapping[int, FluxMinor] = {
    7: FluxMinor(range(29, 36), (0, 1, 2, 3, 4, 5)),
    8: FluxMinor(range(30, 36), (0, 1, 2, 3, 5, 6, 7, 8)),
    9: FluxMinor(range(33, 37), (0, 1, 2, 3, 4, 5)),
}
"""Flux minor (the 9 of v2.9.5) -> what there is of it."""


def minor(version: str) -> int:
    """The 9 of ``v2.9.5``."""
    return int(version.split(".")[1])


def newest() -> str:
    return f"v2.{max(FLUX)}.{FLUX[max(FLUX)].patches[-1]}"


def default_version(kubernetes: int) -> str | None:
    """The newest Flux that runs on Kubernetes 1.``kubernetes``."""
    fitting = [number for number, flux in FLUX.items() if kubernetes in flux.kubernetes]
    return f"v2.{max(fitting)}.{FLUX[max(fitting)].patches[-1]}" if fitting else None


def problem(version: str, kubernetes: int) -> Refusal | None:
    """Why a version of Flux cannot be installed; None if it can. Without one, the default is asked about."""
    fitting = default_version(kubernetes)
    if fitting is None:
        oldest, newest = FLUX[min(FLUX)].kubernetes[0], FLUX[max(FLUX)].kubernetes[-1]
        what = f"no Flux that this program can install runs on Kubernetes 1.{kubernetes}."
        return Refusal(what, f"Flux runs on Kubernetes 1.{oldest} to 1.{newest}.")
    if not version:
        return None
    number, patch = map(int, re.findall(r"\d+", version)[1:])
    if not version.startswith("v2.") or number not in FLUX or patch not in FLUX[number].patches:
        newest_ones = [f"v2.{minor}.{flux.patches[-1]}" for minor, flux in FLUX.items()]
        what = f"there is no Flux {version} that this program can install."
        return Refusal(
            what, f"Write {fitting}, or remove the key; the newest of each minor are {', '.join(newest_ones)}."
        )
    if kubernetes not in FLUX[number].kubernetes:
        first, last = FLUX[number].kubernetes[0], FLUX[number].kubernetes[-1]
        what = f"Flux {version} runs on Kubernetes 1.{first} to 1.{last}, and the cluster has 1.{kubernetes}."
        return Refusal(what, f"Write {fitting}.")
    return None
