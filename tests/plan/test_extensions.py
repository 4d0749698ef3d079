"""The list of official extensions, and what is said about a name that is not in it."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from datetime import date
from pathlib import Path

import pytest

from cluster_stack.plan import extensions
from cluster_stack.plan.extensions import GUEST_AGENT, has_guest_agent, unknown_extension

DATA = json.loads((Path(extensions.__file__).parent / "data/extensions.json").read_text(encoding="utf-8"))


def test_the_list_says_where_and_when_it_is_from() -> None:
    assert "github.com/siderolabs/extensions, commit " in DATA["source"]
    assert date.fromisoformat(DATA["date"]).year >= 2026


@pytest.mark.parametrize("group", ["names", "formerNames"])
def test_the_list_has_whole_names_sorted_and_once(group: str) -> None:
    names = DATA[group]
    assert all(re.fullmatch(r"siderolabs/[a-z0-9]+(-[a-z0-9]+)*", name) for name in names)
    assert names == sorted(set(names))


def test_official_names_are_known() -> None:
    assert len(DATA["names"]) > 80
    assert [name for name in DATA["names"] if unknown_extension(name)] == []


def test_names_that_the_factory_still_takes_are_known() -> None:
    assert unknown_extension("siderolabs/i915-ucode") is None


@pytest.mark.parametrize(
    ("name", "nearest"),
    [
        ("siderolabs/iscsi-tool", "siderolabs/iscsi-tools, siderolabs/trident-iscsi-tools"),
        ("siderolabs/nvidia-fabric-manager-lts", "siderolabs/nvidia-fabricmanager-lts, "),
    ],
)
def test_a_wrong_name_gets_the_nearest_right_ones(name: str, nearest: str) -> None:
    what = unknown_extension(name)
    assert what is not None
    assert what.startswith(f"is no official system extension known on {DATA['date']}; nearest: {nearest}")


@pytest.mark.parametrize(
    ("name", "right"),
    [
        ("qemu-guest-agent", "siderolabs/qemu-guest-agent"),
        ("ghcr.io/siderolabs/zfs:2.4.4-v1.13.0", "siderolabs/zfs"),
        ("siderolabs/ZFS", "siderolabs/zfs"),
    ],
)
def test_a_name_in_another_form_gets_the_right_one_alone(name: str, right: str) -> None:
    assert unknown_extension(name) == f"is no official system extension known on {DATA['date']}; nearest: {right}"


def test_a_name_like_no_other_gets_the_place_of_the_list() -> None:
    assert unknown_extension("quux/12345") == (
        f"is no official system extension known on {DATA['date']}; https://github.com/siderolabs/extensions lists them"
    )


def test_the_guest_agent() -> None:
    assert has_guest_agent(["siderolabs/zfs", GUEST_AGENT])
    assert not has_guest_agent(["siderolabs/vmtoolsd-guest-agent"])
    assert GUEST_AGENT in DATA["names"]


def test_a_configuration_without_a_wrong_name_does_not_wait_for_the_search() -> None:
    program = (
        "import sys; from cluster_stack.plan.extensions import unknown_extension; "
        f"assert unknown_extension({GUEST_AGENT!r}) is None; assert 'difflib' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", program], check=True, cwd=Path(__file__).parents[2])
