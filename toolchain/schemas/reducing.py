"""An OpenAPI schema as Kubernetes and its CRDs have it -> a JSON Schema that refuses unknown keys, without prose."""

from __future__ import annotations

import json
import re
import warnings
from collections import Counter
from collections.abc import Iterator
from typing import Any

Schema = dict[str, Any]

_KEPT = (
    "$ref",
    "enum",
    "pattern",
    "required",
    "minimum",
    "maximum",
    "exclusiveMinimum",
    "exclusiveMaximum",
    "minLength",
    "maxLength",
    "minItems",
    "maxItems",
    "minProperties",
    "maxProperties",
    "uniqueItems",
    "multipleOf",
)
_PROSE = ("description", "default", "title", "examples", "$comment")
_LISTS = ("oneOf", "anyOf", "allOf")
_INT_OR_STRING: Schema = {"type": ["integer", "string"]}
_LEAST_SHARED = 160
"""Characters from which on it is worth to write a schema once that occurs several times."""


def reduced(schema: Schema) -> Schema:
    """The schema without descriptions, defaults and rules in CEL, which only a server can follow."""
    if schema.get("x-kubernetes-int-or-string") or schema.get("format") == "int-or-string":
        return dict(_INT_OR_STRING)
    found: Schema = {key: schema[key] for key in _KEPT if key in schema}
    if "pattern" in found and not _is_pattern(found["pattern"]):
        del found["pattern"]
    if "$ref" in found:
        found["$ref"] = found["$ref"].replace("#/definitions/", "#/$defs/")
    if "type" in schema:
        found["type"] = [schema["type"], "null"] if schema.get("nullable") else schema["type"]
        if schema.get("nullable") and "enum" in found:
            found["enum"] = [*found["enum"], None]
    for key in _LISTS:
        if key in schema:
            found[key] = [_condition(part) for part in schema[key]]
    if "not" in schema:
        found["not"] = _condition(schema["not"])
    if "items" in schema:
        found["items"] = reduced(schema["items"])
    open_ended = schema.get("x-kubernetes-preserve-unknown-fields", False)
    if "properties" in schema:
        found["properties"] = {name: reduced(value) for name, value in schema["properties"].items()}
        if not open_ended:
            found["additionalProperties"] = False
    if isinstance(schema.get("additionalProperties"), dict):
        found["additionalProperties"] = reduced(schema["additionalProperties"])
    return found


def _condition(schema: Schema) -> Schema:
    """A part of oneOf, anyOf, allOf or not: it only repeats some keys, so it must not refuse the others."""
    found = reduced(schema)
    return _opened(found)


def _opened(schema: Schema) -> Schema:
    found = {key: value for key, value in schema.items() if (key, value) != ("additionalProperties", False)}
    if "properties" in found:
        found["properties"] = {name: _opened(value) for name, value in found["properties"].items()}
    return found


def _is_pattern(pattern: str) -> bool:
    """Go's patterns that Python does not know, or reads otherwise, are left out."""
    with warnings.catch_warnings():
        warnings.simplefilter("error", FutureWarning)  # what Python says of [[:alpha:]]
        try:
            re.compile(pattern)
        except (re.error, FutureWarning):
            return False
    return True


def without_prose(schema: Any) -> Any:
    """A JSON Schema as it is, but for what only people read."""
    if isinstance(schema, list):
        return [without_prose(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    kept = {key: value for key, value in schema.items() if key not in _PROSE}
    for key in ("properties", "$defs"):
        if isinstance(kept.get(key), dict):
            kept[key] = {name: without_prose(value) for name, value in kept[key].items()}
    return {key: value if key in ("properties", "$defs") else without_prose(value) for key, value in kept.items()}


def shared(kinds: dict[str, Schema], definitions: dict[str, Schema]) -> dict[str, Schema]:
    """Write what occurs several times once: replaces it in place, and returns the definitions, old and new."""
    counted: Counter[str] = Counter()
    for schema in (*kinds.values(), *definitions.values()):
        counted.update(text for _, text in _parts(schema))
    names: dict[str, str] = {}
    for text, count in counted.items():
        if count > 1 and len(text) >= _LEAST_SHARED:
            names[text] = f"s{len(names) + 1}"
    result = {name: _with_references(schema, names) for name, schema in definitions.items()}
    for name in kinds:
        kinds[name] = _with_references(kinds[name], names)
    for text, name in names.items():
        result[name] = _with_references(json.loads(text), names, itself=True)
    return _reachable(kinds, result)


def _parts(schema: Schema) -> Iterator[tuple[Schema, str]]:
    """Every schema of values inside a schema, with its text."""
    for value in _below(schema):
        yield value, _text(value)
        yield from _parts(value)


def _below(schema: Schema) -> Iterator[Schema]:
    yield from schema.get("properties", {}).values()
    for key in ("items", "additionalProperties"):
        if isinstance(schema.get(key), dict):
            yield schema[key]


def _with_references(schema: Schema, names: dict[str, str], *, itself: bool = False) -> Schema:
    if not itself and (name := names.get(_text(schema))):
        return {"$ref": f"#/$defs/{name}"}
    found = dict(schema)
    if "properties" in found:
        found["properties"] = {key: _with_references(value, names) for key, value in found["properties"].items()}
    for key in ("items", "additionalProperties"):
        if isinstance(found.get(key), dict):
            found[key] = _with_references(found[key], names)
    return found


def _text(schema: Schema) -> str:
    return json.dumps(schema, sort_keys=True, separators=(",", ":"))


def _reachable(kinds: dict[str, Schema], definitions: dict[str, Schema]) -> dict[str, Schema]:
    """The definitions that some kind refers to, in the order of their names."""
    wanted: set[str] = set()
    waiting = [_text(schema) for schema in kinds.values()]
    while waiting:
        for name in re.findall(r'"#/\$defs/([^"]+)"', waiting.pop()):
            if name not in wanted:
                wanted.add(name)
                waiting.append(_text(definitions[name]))
    return {name: definitions[name] for name in sorted(wanted)}
