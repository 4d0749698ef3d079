"""Schemas as a file whose changes can be read: JSON, one kind or definition on each line."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

from toolchain.schemas.reducing import Schema, reduced

_TEXTS: Schema = {"type": "object", "additionalProperties": {"type": "string"}}
METADATA: dict[str, Schema] = {
    "metadata": {
        "type": "object",
        "required": ["name"],
        "properties": {
            "name": {"type": "string"},
            "namespace": {"type": "string"},
            "labels": _TEXTS,
            "annotations": _TEXTS,
            "finalizers": {"type": "array", "items": {"type": "string"}},
        },
        "additionalProperties": False,
    }
}
"""The definition of `metadata` in a manifest, which CRDs leave to the server."""


def kinds_of(resources: Iterable[Mapping[str, Any]]) -> dict[str, Schema]:
    """`group/version Kind` -> the schema, for each version of a CRD that a server answers to."""
    found = {}
    for resource in resources:
        spec = resource["spec"]
        for version in spec["versions"]:
            if version["served"]:
                name = f"{spec['group']}/{version['name']} {spec['names']['kind']}"
                found[name] = as_kind(reduced(version["schema"]["openAPIV3Schema"]))
                found[name]["x-scope"] = spec["scope"]
    return dict(sorted(found.items()))


def as_kind(schema: Schema) -> Schema:
    """The schema of what a manifest says: without the status, which only the cluster writes."""
    keys = {name: value for name, value in schema.get("properties", {}).items() if name != "status"}
    keys |= {"apiVersion": {"type": "string"}, "kind": {"type": "string"}, "metadata": {"$ref": "#/$defs/metadata"}}
    found = {**schema, "properties": keys}
    if "required" in found:
        found["required"] = [name for name in found["required"] if name != "status"]
    return found


def text(head: Mapping[str, Any], kinds: Mapping[str, Schema], definitions: Mapping[str, Schema]) -> str:
    parts = [f"{json.dumps(key)}: {json.dumps(value, ensure_ascii=False)}" for key, value in head.items()]
    for key, lines in (("x-kinds", kinds), ("$defs", definitions)):
        inside = ",\n".join(f"{json.dumps(name)}:{_line(value)}" for name, value in lines.items())
        parts.append(f'"{key}": {{\n{inside}\n}}' if inside else f'"{key}": {{}}')
    return "{\n" + ",\n".join(parts) + "\n}\n"


def _line(value: object) -> str:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False)
