"""The stand-in for the talos plugin has the types of the released one: schema.json against the pulumiverse_talos wheel.

Every property of every type that schema.json has is held against the class of the wheel that was generated from the
released plugin's own schema, and the other way round: names on the wire, types down to the leaves, what is required on
the input and on the output side, and what is secret. What a plugin does with them is tested beside its code (`go test`
in toolchain/modules/talos) and in test_talos_plugin_engine.py.
"""

from __future__ import annotations

import inspect
import json
import re
from pathlib import Path
from typing import Any

import pulumiverse_talos as talos
import pulumiverse_talos.client
import pulumiverse_talos.cluster
import pulumiverse_talos.imagefactory
import pulumiverse_talos.machine
import pytest

from tests.toolchain.wheels import Shape, args_of, hints_of, properties_of_class, shape_of_hint, wire_name

SCHEMA = json.loads(
    (Path(__file__).parents[2] / "toolchain" / "modules" / "talos" / "schema.json").read_text(encoding="utf-8")
)

RESOURCES: dict[str, Any] = {
    "talos:cluster/kubeconfig:Kubeconfig": talos.cluster.Kubeconfig,
    "talos:imageFactory/schematic:Schematic": talos.imagefactory.Schematic,
    "talos:machine/bootstrap:Bootstrap": talos.machine.Bootstrap,
    "talos:machine/configurationApply:ConfigurationApply": talos.machine.ConfigurationApply,
    "talos:machine/secrets:Secrets": talos.machine.Secrets,
}
FUNCTIONS: dict[str, tuple[Any, Any, type]] = {
    "talos:client/getConfiguration:getConfiguration": (
        talos.client.get_configuration,
        talos.client.get_configuration_output,
        talos.client.GetConfigurationResult,
    ),
    "talos:machine/getConfiguration:getConfiguration": (
        talos.machine.get_configuration,
        talos.machine.get_configuration_output,
        talos.machine.GetConfigurationResult,
    ),
}


def shape_of_schema(spec: dict[str, Any]) -> Shape:
    if "$ref" in spec:
        referred = SCHEMA["types"][spec["$ref"].removeprefix("#/types/")]
        return properties_of_schema(referred["properties"], referred.get("required", []))
    if spec["type"] == "array":
        return ["list", shape_of_schema(spec["items"])]
    return spec["type"]


def properties_of_schema(properties: dict[str, Any], required: list[str]) -> Shape:
    return {name: (name in required, shape_of_schema(spec)) for name, spec in properties.items()}


def secrets_of(properties: dict[str, Any]) -> list[str]:
    return sorted(name for name, spec in properties.items() if spec.get("secret"))


def test_schema_has_the_used_types_and_the_wheels_version() -> None:
    assert set(SCHEMA["resources"]) == set(RESOURCES)
    assert set(SCHEMA["functions"]) == set(FUNCTIONS)
    assert {token: resource.pulumi_type for token, resource in RESOURCES.items()} == {
        token: token for token in RESOURCES
    }
    wheel = json.loads((Path(talos.__file__).parent / "pulumi-plugin.json").read_text(encoding="utf-8"))
    assert (SCHEMA["name"], SCHEMA["version"]) == (wheel["name"], wheel["version"])


@pytest.mark.parametrize("token", RESOURCES)
def test_inputs_of_a_resource(token: str) -> None:
    spec = SCHEMA["resources"][token]
    assert properties_of_schema(spec["inputProperties"], spec["requiredInputs"]) == properties_of_class(
        args_of(RESOURCES[token])
    )


@pytest.mark.parametrize("token", RESOURCES)
def test_outputs_of_a_resource(token: str) -> None:
    spec = SCHEMA["resources"][token]
    assert properties_of_schema(spec["properties"], spec["required"]) == properties_of_class(RESOURCES[token])


@pytest.mark.parametrize("token", RESOURCES)
def test_secrets_of_a_resource(token: str) -> None:
    resource, spec = RESOURCES[token], SCHEMA["resources"][token]
    source = inspect.getsource(resource._internal_init)
    listed = re.search(r"additional_secret_outputs=\[(.*?)\]", source)
    outputs = json.loads(f"[{listed.group(1)}]") if listed else []
    inputs = [
        wire_name(args_of(resource), name)
        for name in re.findall(r'__dict__\["(\w+)"\] = None if \1 is None else pulumi\.Output\.secret\(\1\)', source)
    ]
    assert secrets_of(spec["properties"]) == sorted(outputs)
    assert secrets_of(spec["inputProperties"]) == sorted(inputs)


@pytest.mark.parametrize("token", FUNCTIONS)
def test_arguments_of_a_function(token: str) -> None:
    plain, output, _ = FUNCTIONS[token]
    assert f"'{token}'" in inspect.getsource(plain)
    hints = hints_of(inspect.unwrap(plain))
    # The wheel makes every argument optional, so that what is required can be held against nothing but the facts.
    wheel = {name: shape_of_hint(hint)[1] for name, hint in hints.items() if name not in ("opts", "return")}
    named = dict(re.findall(r"__args__\['(\w+)'\] = (\w+)", inspect.getsource(plain)))
    arguments = SCHEMA["functions"][token]["inputs"]
    assert {name: shape_of_schema(spec) for name, spec in arguments["properties"].items()} == {
        wire: wheel[python] for wire, python in named.items()
    }
    assert set(inspect.signature(plain).parameters) == set(inspect.signature(output).parameters) == {*wheel, "opts"}


@pytest.mark.parametrize("token", FUNCTIONS)
def test_result_of_a_function(token: str) -> None:
    outputs = SCHEMA["functions"][token]["outputs"]
    assert properties_of_schema(outputs["properties"], outputs["required"]) == properties_of_class(FUNCTIONS[token][2])


def test_configuration_of_the_provider() -> None:
    expected = properties_of_class(talos.ProviderArgs)
    assert properties_of_schema(SCHEMA["provider"]["inputProperties"], []) == expected
    assert properties_of_schema(SCHEMA["config"]["variables"], []) == expected
    assert properties_of_schema(SCHEMA["provider"]["properties"], []) == properties_of_class(talos.Provider)


def test_every_type_is_referred_to() -> None:
    text = json.dumps(SCHEMA)
    assert [token for token in SCHEMA["types"] if f'"#/types/{token}"' not in text] == []
