"""One schema for several versions: a key that not all of them have says since, or until, which one it is there."""

from __future__ import annotations

from collections.abc import Mapping

from toolchain.schemas.reducing import Schema


def merged(versions: Mapping[int, Schema]) -> Schema:
    """The schemas of one thing in several versions as one. What they say of a value is the newest one's word."""
    newest = versions[max(versions)]
    found = dict(newest)
    with_keys = {number: schema["properties"] for number, schema in versions.items() if "properties" in schema}
    if "properties" in newest:
        names = sorted({name for keys in with_keys.values() for name in keys})
        found["properties"] = {name: _key(name, with_keys) for name in names}
    for key in ("items", "additionalProperties"):
        parts = {number: schema[key] for number, schema in versions.items() if isinstance(schema.get(key), dict)}
        if isinstance(newest.get(key), dict):
            found[key] = merged(parts)
    return found


def _key(name: str, versions: Mapping[int, Mapping[str, Schema]]) -> Schema:
    having = {number: keys[name] for number, keys in versions.items() if name in keys}
    return marked(merged(having), having, versions)


def marked(schema: Schema, having: Mapping[int, object], versions: Mapping[int, object]) -> Schema:
    """The schema with the first and the last version that have it, where others do not."""
    found = dict(schema)
    if min(having) > min(versions):
        found["x-since"] = min(having)
    if max(having) < max(versions):
        found["x-until"] = max(having)
    return found
