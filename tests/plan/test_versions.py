"""Which Talos goes with which Kubernetes, and which version follows which.

``talos_compatibility.json`` is what Talos' own code answered: a Go program asked the ``compatibility`` package of the
module version that the file names about every pair (``SupportedWith``, ``UpgradeableFrom``). ``asked`` has the
versions, ``answers`` those of them that each Talos accepts. ``defaults`` are ``constants.DefaultKubernetesVersion`` of
the four first releases.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from cluster_stack.config.rules import images
from cluster_stack.plan.versions import (
    CONFIGURABLE_TALOS,
    NEWEST_PATCH,
    TALOS,
    WITHDRAWN_TALOS,
    Product,
    Refusal,
    Version,
    default_kubernetes,
    first_apply_mode,
    kubernetes_version,
    minor,
    newest,
    unsupported_pair,
    upgrade_problem,
    withdrawn,
)

ORACLE: dict[str, Any] = json.loads(Path(__file__).with_name("talos_compatibility.json").read_text())


def test_versions_are_in_their_order() -> None:
    texts = [
        "v1.9.12",
        "v1.13.0-alpha.2",
        "v1.13.0-beta.0",
        "v1.13.0-rc.1",
        "v1.13.0-rc.10",
        "v1.13.0",
        "v1.13.1-rc.0",
        "v1.13.1",
        "v1.13.10",
        "v1.14.0",
    ]
    assert [str(version) for version in sorted(map(Version.parse, reversed(texts)))] == texts


@pytest.mark.parametrize("text", ["1.34.2", "v1.34.2"])
def test_the_v_may_be_left_out(text: str) -> None:
    assert Version.parse(text) == Version(34, 2)


@pytest.mark.parametrize(
    "text", ["", "v1.11", "v2.0.0", "1.34.2.1", "v1.13.0-dirty", "v1.13.0-rc", "latest", "v1.\u0661.0", "v1.3.4\n"]
)
def test_what_is_no_version_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is not a version"):
        Version.parse(text)


@pytest.mark.parametrize("talos", ORACLE["answers"])
def test_talos_runs_the_kubernetes_that_its_own_code_accepts(talos: str) -> None:
    ours = [kubernetes for kubernetes in ORACLE["asked"]["kubernetes"] if unsupported_pair(talos, kubernetes) is None]
    assert ours == ORACLE["answers"][talos]["kubernetes"]


@pytest.mark.parametrize("talos", ORACLE["answers"])
def test_the_hosts_are_those_of_talos_own_code(talos: str) -> None:
    hosts = TALOS[minor(talos)].hosts
    ours = [host for host in ORACLE["asked"]["hosts"] if minor(host) in hosts]
    assert ours == ORACLE["answers"][talos]["hosts"]


@pytest.mark.parametrize("talos", ORACLE["answers"])
def test_no_upgrade_is_allowed_that_the_installer_refuses(talos: str) -> None:
    allowed = {host for host in ORACLE["asked"]["hosts"] if upgrade_problem("talos", host, talos) is None}
    assert {minor(host) for host in allowed} == {minor(talos) - 1, minor(talos)}
    assert allowed <= set(ORACLE["answers"][talos]["hosts"])


def test_a_cluster_gets_the_kubernetes_of_the_first_release_of_its_talos() -> None:
    assert {talos: default_kubernetes(talos) for talos in ORACLE["defaults"]} == ORACLE["defaults"]
    assert default_kubernetes("v1.13.9") == kubernetes_version("v1.13.9") == default_kubernetes("v1.13.0")


@pytest.mark.parametrize("talos", TALOS)
def test_every_minor_of_talos_moves_its_ranges_by_one(talos: int) -> None:
    row = TALOS[talos]
    assert (row.kubernetes, row.hosts) == (range(talos + 18, talos + 24), range(talos - 2, talos + 2))
    assert Version.parse(row.default_kubernetes) == Version(row.kubernetes[-1], 0)


def test_every_minor_of_the_tables_has_a_newest_patch() -> None:
    assert set(NEWEST_PATCH["talos"]) == set(TALOS)
    assert set(NEWEST_PATCH["kubernetes"]) == {number for row in TALOS.values() for number in row.kubernetes}
    assert not {str(version) for version in WITHDRAWN_TALOS} & {newest("talos", number) for number in TALOS}


def test_the_rules_of_the_configuration_have_the_same_limits() -> None:
    assert range(images.OLDEST_TALOS_MINOR, images.NEWEST_TALOS_MINOR + 1) == CONFIGURABLE_TALOS
    assert set(CONFIGURABLE_TALOS) <= set(TALOS)


@pytest.mark.parametrize(
    ("talos", "kubernetes", "what", "fix"),
    [
        (
            "v1.12.5",
            "1.36.1",
            "Talos v1.12.5 runs Kubernetes v1.30 to v1.35, not v1.36.1.",
            "Write v1.35.10, or Talos v1.13.11.",
        ),
        (
            "v1.10.0",
            "1.35.0",
            "Talos v1.10.0 runs Kubernetes v1.28 to v1.33, not v1.35.0.",
            "Write v1.33.13, or Talos v1.12.12.",
        ),
        (
            "v1.13.0",
            "1.28.3",
            "Talos v1.13.0 runs Kubernetes v1.31 to v1.36, not v1.28.3.",
            "Write v1.31.14, or Talos v1.10.9.",
        ),
        (
            "v1.13.0",
            "1.30.3",
            "Talos v1.13.0 runs Kubernetes v1.31 to v1.36, not v1.30.3.",
            "Write v1.31.14, or Talos v1.12.12.",
        ),
        (
            "v1.13.0",
            "1.37.0",
            "Talos v1.13.0 runs Kubernetes v1.31 to v1.36, not v1.37.0.",
            "Write v1.36.6: Talos v1.14, which runs v1.37, is newer than this program can configure.",
        ),
        ("v1.13.0", "1.27.3", "Talos v1.13.0 runs Kubernetes v1.31 to v1.36, not v1.27.3.", "Write v1.31.14."),
        ("v1.14.0", "1.38.0", "Talos v1.14.0 runs Kubernetes v1.32 to v1.37, not v1.38.0.", "Write v1.37.2."),
        (
            "v1.9.6",
            "1.32.0",
            "nothing is known here of the Kubernetes that Talos v1.9.6 runs.",
            "Write a Talos version from v1.10 to v1.13.",
        ),
    ],
)
def test_a_pair_that_does_not_go_together(talos: str, kubernetes: str, what: str, fix: str) -> None:
    assert unsupported_pair(talos, kubernetes) == Refusal(what, fix)


@pytest.mark.parametrize(
    ("product", "old", "new"),
    [
        ("talos", "v1.11.5", "v1.11.5"),
        ("talos", "v1.11.0", "v1.12.12"),
        ("talos", "v1.10.9", "v1.11.0"),
        ("talos", "v1.10.0", "v1.10.3"),
        ("talos", "v1.13.2", "v1.13.0"),
        ("talos", "v1.13.0-rc.1", "v1.13.0"),
        ("talos", "v1.14.6", "v1.15.0"),
        ("kubernetes", "1.34.0", "1.35.10"),
        ("kubernetes", "1.34.3", "1.34.1"),
        ("kubernetes", "1.10.0", "1.11.0"),
    ],
)
def test_one_minor_at_a_time_and_any_patch(product: Product, old: str, new: str) -> None:
    assert upgrade_problem(product, old, new) is None


@pytest.mark.parametrize(
    ("product", "old", "new", "what", "fix"),
    [
        (
            "talos",
            "v1.11.5",
            "v1.13.0",
            "Talos v1.11.5 to v1.13.0 skips a minor version, and its makers test only the step from one to the next.",
            "Write v1.12.12, then v1.13.0, with a `pulumi up` after each.",
        ),
        (
            "talos",
            "v1.10.9",
            "v1.13.0",
            "the installer of Talos v1.13.0 refuses a machine that runs v1.10.9.",
            "Write v1.11.6, then v1.12.12, then v1.13.0, with a `pulumi up` after each.",
        ),
        (
            "talos",
            "v1.10.5",
            "v1.11.6",
            "the etcd of Talos v1.10.5 is not ready for the etcd 3.6 of v1.11.6.",
            "Write v1.10.9, then v1.11.6, with a `pulumi up` after each.",
        ),
        (
            "talos",
            "v1.10.5",
            "v1.12.0",
            "Talos v1.10.5 to v1.12.0 skips a minor version, and its makers test only the step from one to the next.",
            "Write v1.10.9, then v1.11.6, then v1.12.0, with a `pulumi up` after each.",
        ),
        (
            "talos",
            "v1.14.0",
            "v1.16.0",
            "Talos v1.14.0 to v1.16.0 skips a minor version, and its makers test only the step from one to the next.",
            "Write v1.15.x, then v1.16.0, with a `pulumi up` after each.",
        ),
        (
            "talos",
            "v1.12.0",
            "v1.11.6",
            "Talos cannot go back from v1.12.0 to v1.11.6: "
            "an older minor version may not read what the newer one has stored.",
            "Write v1.12.0 again, or another version of v1.12.",
        ),
        (
            "kubernetes",
            "1.33.0",
            "1.36.1",
            "Kubernetes v1.33.0 to v1.36.1 skips a minor version, and its API servers take one step at a time.",
            "Write v1.34.13, then v1.35.10, then v1.36.1, with a `pulumi up` after each.",
        ),
        (
            "kubernetes",
            "1.35.0",
            "1.34.13",
            "Kubernetes cannot go back from v1.35.0 to v1.34.13: "
            "an older minor version may not read what the newer one has stored.",
            "Write v1.35.0 again, or another version of v1.35.",
        ),
    ],
)
def test_a_way_that_cannot_be_gone(product: Product, old: str, new: str, what: str, fix: str) -> None:
    assert upgrade_problem(product, old, new) == Refusal(what, fix)


def test_a_release_that_was_taken_back() -> None:
    assert withdrawn("v1.13.1") == Refusal(
        "Talos v1.13.1 was broken and has been taken back (https://github.com/siderolabs/talos/issues/13312).",
        "Write v1.13.11.",
    )
    assert withdrawn("v1.13.2") is None


def test_only_a_cluster_that_began_with_talos_1_13_is_configured_without_reboot() -> None:
    assert [first_apply_mode(contract) for contract in ("v1.12.12", "v1.13.0")] == ["auto", "no_reboot"]
