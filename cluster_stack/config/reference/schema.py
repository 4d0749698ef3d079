"""The JSON Schema of cluster.yaml, for editors.

It is written in draft-07, which every version of yaml-language-server knows (newer drafts only from 1.20 on).
Everything stands where it is used, without ``$ref``: in draft-07 a reference hides the description beside it.

It differs from the models on purpose in two ways. A key without a value is an unfinished line to an editor, while the
program takes it for a key that is left out. And rules between several values are not in it: the program knows them.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import yaml
from pydantic.json_schema import GenerateJsonSchema
from pydantic_core import core_schema

from cluster_stack.config.models import ClusterConfig, values
from cluster_stack.config.models.proxmox import _host
from cluster_stack.config.models.topology import _odd
from cluster_stack.config.reference.keys import ITEM, NAMED, Key, Path, keys
from cluster_stack.config.reference.kinds import KINDS, Kind, kind_of, mark
from cluster_stack.config.rules.machines import CONTROL_PLANE_IDS

Schema = dict[str, Any]

COMMAND = "python -m cluster_stack.config.reference"


def json_schema(examples: Mapping[Path, Any]) -> Schema:
    """The schema; ``examples`` has a value for every key that is not a mapping of further keys."""
    generated = ClusterConfig.model_json_schema(schema_generator=_Generator)
    definitions = generated.pop("$defs")
    schema = {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "$comment": f"Made from cluster_stack/config/models by `{COMMAND}`.",
        **_inlined(generated, definitions),
    }
    for key in keys():
        _explain(at(schema, key.path), key, examples)
    return schema


def at(schema: Schema, path: Path) -> Schema:
    """The part of the schema that describes the value at ``path``."""
    for part in path:
        if part == ITEM:
            schema = schema["items"]
        elif part == NAMED:
            schema = schema["additionalProperties"]
        else:
            schema = schema["properties"][part]
    return schema


class _Generator(GenerateJsonSchema):
    """What pydantic knows of the models, with the texts that people write instead of what functions make of them."""

    def sort(self, value: Schema, parent_key: str | None = None) -> Schema:  # noqa: ARG002
        return value

    def field_title_should_be_set(self, schema: Any) -> bool:  # noqa: ARG002
        return False

    def model_schema(self, schema: core_schema.ModelSchema) -> Schema:
        found = super().model_schema(schema)
        del found["title"]  # an editor would show it above the description of every key below
        if "description" in found:
            found["description"] = " ".join(found["description"].split())
        return found

    def default_schema(self, schema: core_schema.WithDefaultSchema) -> Schema:
        # Editors write a default when they complete a key: an empty one would have to be deleted first.
        found = super().default_schema(schema)
        return {key: value for key, value in found.items() if key != "default" or value not in (None, "", [], {})}

    def nullable_schema(self, schema: core_schema.NullableSchema) -> Schema:
        return self.generate_inner(schema["schema"])

    def dict_schema(self, schema: core_schema.DictSchema) -> Schema:
        found: Schema = {"type": "object"}
        if "keys_schema" in schema:
            names = {key: value for key, value in self.generate_inner(schema["keys_schema"]).items() if key != "type"}
            found |= {"propertyNames": names} if names else {}
        if "values_schema" in schema:
            found["additionalProperties"] = self.generate_inner(schema["values_schema"]) or True
        return found

    def str_schema(self, schema: core_schema.StringSchema) -> Schema:
        found = super().str_schema(schema)
        kind = kind_of(found.get("pattern"))
        return _readable(kind, found) if kind else found

    def function_before_schema(self, schema: core_schema.BeforeValidatorFunctionSchema) -> Schema:
        function = schema["function"]["function"]
        if function is _host:
            name = {"type": ["string", "object"], "pattern": mark(values.HostName)}
            return {**self.generate_inner(schema["schema"]), **_readable(KINDS[values.HostName], name)}
        kind = kind_of(function)
        if kind is None:
            raise LookupError(f"{function} may read anything: say what in cluster_stack/config/reference/kinds.py.")
        return _readable(kind, kind.schema)

    def function_after_schema(self, schema: core_schema.AfterValidatorFunctionSchema) -> Schema:
        function = schema["function"]["function"]
        if function is _odd:
            return {"type": "integer", "enum": list(range(1, CONTROL_PLANE_IDS + 1, 2))}
        kind = kind_of(function)
        return _readable(kind, kind.schema) if kind else super().function_after_schema(schema)


def _readable(kind: Kind, schema: Schema) -> Schema:
    """With a sentence for an editor that would otherwise show the pattern."""
    sentence = {"patternErrorMessage": f"Write {kind.form}: {kind.example}."}
    return {**schema, **sentence} if "pattern" in schema else {**schema}


def _inlined(node: Any, definitions: Mapping[str, Schema]) -> Any:
    if isinstance(node, list):
        return [_inlined(item, definitions) for item in node]
    if not isinstance(node, dict):
        return node
    reference = node.get("$ref")
    if reference is None:
        return {key: _inlined(value, definitions) for key, value in node.items()}
    beside = {key: value for key, value in node.items() if key != "$ref"}
    definition = definitions[reference.removeprefix("#/$defs/")]
    return _inlined({**definition, **beside}, definitions)


def _explain(node: Schema, key: Key, examples: Mapping[Path, Any]) -> None:
    """Say of a key all that an editor can show."""
    unit = node.get("unit")
    paragraphs = [key.description]
    if "default" in node:
        paragraphs.append(f"Default: `{plain(node['default'])}`{f' {unit}' if unit else ''}.")
    elif unit:
        paragraphs.append(f"Unit: {unit}.")
    node["description"] = key.description
    node["markdownDescription"] = "\n\n".join(paragraphs)
    if unit:
        node["errorMessage"] = f"Write the number of {unit}, without a unit or quotes."
    for part in (node, node.get("items", {})):
        if "pattern" in part:
            part.setdefault("patternErrorMessage", f"This does not have the right form. {key.description}")
    if key.below is None and node["type"] != "boolean" and not {"enum", "const"} & set(node):
        example = examples[key.path]
        if example != node.get("default"):
            node["examples"] = [example]


def plain(value: object) -> str:
    """A value as one line of YAML."""
    text = yaml.safe_dump(value, default_flow_style=True, width=math.inf, allow_unicode=True)
    return text.removesuffix("...\n").strip()
