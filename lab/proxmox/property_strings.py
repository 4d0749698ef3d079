"""Proxmox's property strings: `virtio=BC:24:11:00:00:01,bridge=vmbr0`. Taking them apart and printing them back.

Owns the syntax only; lab.proxmox.schema checks the values.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

Properties = Mapping[str, Mapping[str, Any]]


class PropertyStringError(ValueError):
    def __init__(self, message: str, errors: Mapping[str, str] | None = None) -> None:
        super().__init__(message)
        self.errors = dict(errors or {})


def parse(properties: Properties, text: str) -> dict[str, str]:
    """The parts of a property string under their proper names: aliases resolved, booleans as 0 and 1."""
    values: dict[str, str] = {}
    for part in text.split(","):
        if not part.strip():
            continue
        name, equals, value = part.partition("=")
        if not equals:
            name, value = _default_key(properties), part
        elif not name or not value:
            raise PropertyStringError("missing key in comma-separated list property")
        if name in values:
            raise PropertyStringError(f"duplicate key in comma-separated list property: {name}")
        schema = properties.get(name)
        if schema is not None and "alias" in schema:
            if stands_for := schema.get("keyAlias"):
                if stands_for in values:
                    raise PropertyStringError(f"key alias '{stands_for}' is already defined")
                values[stands_for] = name
            name = schema["alias"]
            schema = properties.get(name)
        if schema is None:
            raise PropertyStringError(f"invalid key in comma-separated list property: {name}")
        values[name] = _boolean(value) if schema.get("type") == "boolean" else value
    return values


def render(properties: Properties, values: Mapping[str, str]) -> str:
    """A property string as Proxmox writes it into a configuration: the default key first and bare, the rest by name."""
    remaining = dict(values)
    parts: list[str] = []
    for name, schema in properties.items():
        stands_for = schema.get("keyAlias")
        if stands_for and remaining.get(stands_for) == name and schema["alias"] in remaining:
            parts.append(f"{name}={remaining.pop(schema['alias'])}")
            del remaining[stands_for]
    for name, schema in properties.items():
        if schema.get("default_key") and name in remaining:
            parts.append(remaining.pop(name))
    parts += [f"{name}={value}" for name, value in sorted(remaining.items())]
    return ",".join(parts)


def _default_key(properties: Properties) -> str:
    for name, schema in properties.items():
        if schema.get("default_key"):
            return name
    raise PropertyStringError("value without key, but schema does not define a default key")


def _boolean(value: str) -> str:
    if value.lower() in ("1", "on", "yes", "true"):
        return "1"
    if value.lower() in ("0", "off", "no", "false"):
        return "0"
    return value
