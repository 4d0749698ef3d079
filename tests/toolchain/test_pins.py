"""The versions in toolchain/pins.py are those of the go.mod files, and the builds are of the wheels' versions."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import yaml

from cluster_stack.plan.cilium import HELM_IMAGE
from toolchain.golang import needed_version
from toolchain.installation import REPOSITORY
from toolchain.pins import CILIUM, GO_BINS, HELM, PINS, TALOS_PLUGIN, Pin
from toolchain.processes import version_in
from toolchain.tools import tools

MODULES = REPOSITORY / "toolchain" / "modules"
FOLDERS = sorted({pin.folder for pin in PINS})


def required(go_mod: Path) -> dict[str, str]:
    """The modules that a go.mod requires, after its replacements, with their versions."""
    text = re.sub(r"//.*", "", go_mod.read_text())
    found = dict(re.findall(r"^(?:require)?\s+([\w.~/-]+\.[\w.~/-]+) (v\S+)\s*$", text, re.MULTILINE))
    for old, new, version in re.findall(r"([\w.~/-]+) => ([\w.~/-]+) (v\S+)", text):
        found.pop(old, None)
        found[new] = version
    return found


def tools_of(go_mod: Path) -> set[str]:
    """The packages that a go.mod names as tools, one by one or in a block."""
    text = go_mod.read_text()
    block = re.search(r"^tool \(\n(.*?)^\)", text, re.MULTILINE | re.DOTALL)
    return {*re.findall(r"^tool ([^\s(]\S*)$", text, re.MULTILINE), *(block[1].split() if block else ())}


@pytest.mark.parametrize("pin", PINS, ids=lambda pin: f"{pin.folder}-{pin.module}")
def test_a_pin_is_what_go_mod_says(pin: Pin) -> None:
    assert required(MODULES / pin.folder / "go.mod")[pin.module] == pin.version


@pytest.mark.parametrize("pin", PINS, ids=lambda pin: f"{pin.folder}-{pin.module}")
def test_the_checksum_of_a_pin_is_committed(pin: Pin) -> None:
    lines = (MODULES / pin.folder / "go.sum").read_text().splitlines()
    # A module from which no package is compiled has only the checksum of its go.mod.
    assert any(
        line.startswith((f"{pin.module} {pin.version} h1:", f"{pin.module} {pin.version}/go.mod h1:")) for line in lines
    )


@pytest.mark.parametrize("folder", FOLDERS)
def test_every_replacement_has_its_reason(folder: str) -> None:
    replaced = set(re.findall(r"=> ([\w.~/-]+) v", (MODULES / folder / "go.mod").read_text()))
    assert replaced <= {pin.module for pin in PINS if pin.folder == folder}


def test_what_is_built_by_path_is_a_tool_of_its_go_mod() -> None:
    for part in (part for tool in tools().values() for part in tool.builds if part.package[0] != "."):
        assert part.package in tools_of(REPOSITORY / part.folder / "go.mod")


def test_the_plugins_are_built_in_the_version_of_the_wheels() -> None:
    assert {tool.name: tool.source_version for tool in tools().values()} == {
        tool.name: tool.version for tool in tools().values()
    }


def test_the_talos_plugin_says_that_it_is_what_is_built() -> None:
    assert json.loads((MODULES / "talos" / "schema.json").read_text())["version"] == TALOS_PLUGIN


def test_cilium_is_installed_in_the_lab_as_anywhere() -> None:
    assert f"docker.io/alpine/helm:{HELM}" == HELM_IMAGE
    release = yaml.safe_load((REPOSITORY / "infrastructure/core/base/cilium/helmrelease.yaml").read_text())
    assert release["spec"]["chart"]["spec"]["version"] == CILIUM


def test_the_go_that_pip_brings_is_new_enough() -> None:
    built_here = [
        tool for tool in tools().values() if all((REPOSITORY / p.folder / "go.mod").exists() for p in tool.parts)
    ]
    assert version_in(GO_BINS[-1]) >= version_in(needed_version(built_here, REPOSITORY))
