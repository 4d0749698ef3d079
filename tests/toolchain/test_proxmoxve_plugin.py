"""The plugin that serves pulumi_proxmoxve has the properties of the wheel's classes, for the types that are used.

The plugin tells the schema of its Terraform provider (`-get-provider-info`); the names that the bridge makes of it are
held against the wheel, both ways, down to the leaves of the nested types.
"""

from __future__ import annotations

import json
import re
import subprocess
from typing import Any

import pulumi_proxmoxve as proxmox
import pulumi_proxmoxve.download
import pytest

import toolchain
from tests.toolchain.wheels import Shape, args_of, properties_of_class

pytestmark = pytest.mark.engine

RESOURCES: dict[str, Any] = {
    "proxmox_virtual_environment_vm": proxmox.VmLegacy,
    "proxmox_download_file": proxmox.download.File,
}
PRIMITIVES = {1: "boolean", 2: "integer", 3: "number", 4: "string"}
LIST, MAP, SET = 5, 6, 7


@pytest.fixture(scope="module")
def provider() -> dict[str, Any]:
    answer = subprocess.run([str(toolchain.tool("proxmoxve")), "-get-provider-info"], capture_output=True, check=True)
    told: dict[str, Any] = json.loads(answer.stdout)
    return told


def bridged_name(name: str, spec: dict[str, Any]) -> str:
    camel = re.sub(r"_(\w)", lambda match: match.group(1).upper(), name)
    many = spec["type"] in (LIST, SET) and spec.get("maxItems") != 1
    return f"{camel}s" if many and not camel.endswith("s") else camel


def shape_of_terraform(spec: dict[str, Any]) -> Shape:
    if spec["type"] in PRIMITIVES:
        return PRIMITIVES[spec["type"]]
    element = spec.get("element", {})
    inner = (
        properties_of_terraform(element["resource"]) if "resource" in element else shape_of_terraform(element["schema"])
    )
    return inner if spec["type"] == MAP or spec.get("maxItems") == 1 else ["list", inner]


def properties_of_terraform(schema: dict[str, Any]) -> Shape:
    return {
        bridged_name(name, spec): (bool(spec.get("required")), shape_of_terraform(spec))
        for name, spec in schema.items()
    }


def without_requirement(shape: Shape) -> Shape:
    """A shape for the side of the outputs: what is always there is not in the schema of Terraform."""
    if isinstance(shape, dict):
        return {name: without_requirement(inner) for name, (_, inner) in shape.items()}
    return [without_requirement(inner) for inner in shape] if isinstance(shape, list) else shape


@pytest.mark.parametrize("name", RESOURCES)
def test_inputs_of_a_resource(provider: dict[str, Any], name: str) -> None:
    schema = provider["provider"]["resources"][name]
    inputs = {key: spec for key, spec in schema.items() if spec.get("optional") or spec.get("required")}
    assert properties_of_terraform(inputs) == properties_of_class(args_of(RESOURCES[name]))


@pytest.mark.parametrize("name", RESOURCES)
def test_outputs_of_a_resource(provider: dict[str, Any], name: str) -> None:
    # Pulumi has the id of a resource beside its properties.
    schema = {key: spec for key, spec in provider["provider"]["resources"][name].items() if key != "id"}
    assert without_requirement(properties_of_terraform(schema)) == without_requirement(
        properties_of_class(RESOURCES[name])
    )


@pytest.mark.parametrize("name", RESOURCES)
def test_token_of_a_resource(provider: dict[str, Any], name: str) -> None:
    assert provider["resources"][name]["tok"] == RESOURCES[name].pulumi_type


def test_configuration_of_the_provider(provider: dict[str, Any]) -> None:
    assert without_requirement(properties_of_terraform(provider["provider"]["schema"])) == without_requirement(
        properties_of_class(proxmox.ProviderArgs)
    )
