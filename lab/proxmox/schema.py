"""Checks parameters against Proxmox's API description, with Proxmox's own words for what is wrong.

Owns the rules of Proxmox's JSON schema dialect: types that arrive as text, named formats, property strings, indexed
parameters, `requires`. Knows no call and no VM.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from lab.proxmox import formats
from lab.proxmox.description import Schema
from lab.proxmox.errors import parameter_error
from lab.proxmox.property_strings import PropertyStringError, parse

NOT_IN_SCHEMA = "property is not defined in schema and the schema does not allow additional properties"
MISSING = "property is missing and it is not optional"
INTEGER = re.compile(r"[+-]?\d+")
NUMBER = re.compile(r"[+-]?(\d+\.\d+|\d+\.|\.\d+|\d+)([eE][+-]?\d+)?")
# How many of an indexed parameter (`net[n]`) there may be; the description does not say, Proxmox's code does.
INDEXED = {
    "scsi": 31, "virtio": 16, "sata": 6, "ide": 4, "net": 32, "unused": 256, "hostpci": 16, "usb": 14, "serial": 4,
    "parallel": 3, "numa": 8, "ipconfig": 32, "virtiofs": 10, "dev": 256, "mp": 256, "link": 8,
}  # fmt: skip


def verify(parameters: Schema, values: Mapping[str, str]) -> None:
    """Raise "400 Parameter verification failed." naming every parameter that a call may not have like this."""
    errors: dict[str, str] = {}
    properties: Mapping[str, Schema] = parameters.get("properties") or {}
    for name, schema in properties.items():
        if not name.endswith("[n]") and name not in values:
            _check_absent(name, schema, errors)
    for name, value in values.items():
        found = schema_of(properties, name)
        if found is None:
            if not parameters.get("additionalProperties", 0):
                _add(errors, name, NOT_IN_SCHEMA)
            continue
        required = found.get("requires")
        if isinstance(required, str) and required not in values:
            _add(errors, required, f"missing property - '{name}' requires this property")
        check_value(name, found, value, errors)
    if errors:
        raise parameter_error(errors)


def items(value: str) -> list[str]:
    """The items of an array: a parameter that came several times, whose values Proxmox joins like this."""
    return value.split("\0")


def check_value(path: str, schema: Schema, value: str, errors: dict[str, str]) -> None:
    """Check one value; adds at most the first thing that is wrong with it, as Proxmox does."""
    if problem := _wrong_form(path, schema, value) or _out_of_bounds(schema, value):
        _add(errors, path, problem)


def _wrong_form(path: str, schema: Schema, value: str) -> str | None:
    kind = schema.get("type")
    if kind == "array":
        return _wrong_items(path, schema.get("items") or {}, items(value))
    if not _has_type(kind, value):
        return f"type check ('{kind}') failed - got '{value}'"
    try:
        if (named := schema.get("format")) is not None:
            check_format(named, value, path)
    except PropertyStringError as error:
        detail = "".join(f"{key}: {text}\n" for key, text in error.errors.items())
        return f"invalid format - {error}\n{detail}"
    except ValueError as error:
        return f"invalid format - {error}\n"
    if (pattern := schema.get("pattern")) and not _matches(pattern, value):
        return "value does not match the regex pattern"
    return None


def _wrong_items(path: str, schema: Schema, values: list[str]) -> str | None:
    for number, value in enumerate(values):
        if problem := _wrong_form(f"{path}[{number}]", schema, value) or _out_of_bounds(schema, value):
            return problem
    return None


def _out_of_bounds(schema: Schema, value: str) -> str | None:
    if (longest := schema.get("maxLength")) is not None and len(value) > int(longest):
        return f"value may only be {longest} characters long"
    if (shortest := schema.get("minLength")) is not None and len(value) < int(shortest):
        return f"value must be at least {shortest} characters long"
    if NUMBER.fullmatch(value):
        if (maximum := schema.get("maximum")) is not None and float(value) > float(maximum):
            return f"value must have a maximum value of {maximum}"
        if (minimum := schema.get("minimum")) is not None and float(value) < float(minimum):
            return f"value must have a minimum value of {minimum}"
    if (allowed := schema.get("enum")) and value not in allowed:
        return f"value '{value}' does not have a value in the enumeration '{', '.join(allowed)}'"
    return None


def check_format(named: str | Schema, value: str, path: str) -> None:
    """Raise ValueError (or PropertyStringError) where a value does not have a format."""
    if isinstance(named, dict):
        parse_checked(named, value, path)
        return
    if (properties := formats.PROPERTY_STRINGS.get(named)) is not None:
        parse_checked(properties, value, path)
        return
    for suffix, checks in (("-list", formats.split_list(value)), ("-opt", [value] if value else [])):
        if named.endswith(suffix) and named not in formats.CHECKS:
            for item in checks:
                check_format(named[: -len(suffix)], item, path)
            return
    check = formats.CHECKS.get(named)
    if check is None:
        raise ValueError(f"undefined format '{named}'")
    check(value)


def parse_checked(properties: Mapping[str, Schema], text: str, path: str = "") -> dict[str, str]:
    """A property string (`scsi0=local:32,format=raw`) as a dictionary, with every value checked."""
    values = parse(properties, text)
    errors: dict[str, str] = {}
    for name, schema in properties.items():
        if name not in values:
            _check_absent(f"{path}.{name}" if path else name, schema, errors)
    for name, value in values.items():
        if (required := properties[name].get("requires")) and required not in values:
            _add(errors, f"{path}.{required}", f"missing property - '{path}.{name}' requires this property")
        check_value(f"{path}.{name}" if path else name, properties[name], value, errors)
    if errors:
        raise PropertyStringError("format error", errors)
    return values


def schema_of(properties: Mapping[str, Schema], name: str) -> Schema | None:
    """The description of one parameter, by its own name or by that of its like (`net0` is one of `net[n]`)."""
    if name in properties:
        return properties[name]
    if match := re.fullmatch(r"([a-z]+)(\d+)", name):
        stem, index = match[1], match[2]
        if f"{stem}[n]" in properties and index == str(int(index)) and int(index) < INDEXED.get(stem, 0):
            return properties[f"{stem}[n]"]
    return None


def _check_absent(path: str, schema: Schema, errors: dict[str, str]) -> None:
    if not schema.get("optional") and not schema.get("alias") and schema.get("type") != "null":
        _add(errors, path, MISSING)


def _has_type(kind: Any, value: str) -> bool:
    if kind == "boolean":
        return value in ("0", "1")
    if kind == "integer":
        return INTEGER.fullmatch(value) is not None
    if kind == "number":
        return NUMBER.fullmatch(value) is not None
    return True


def _matches(pattern: str, value: str) -> bool:
    """Perl's `m/^pattern$/`. The description prints compiled patterns as `(?^:...)`, which Python does not read."""
    python = pattern.replace("(?^i:", "(?i:").replace("(?^:", "(?:").replace("{,", "{0,")
    return re.search(f"^(?:{python})$", value) is not None


def _add(errors: dict[str, str], path: str, message: str) -> None:
    errors[path] = f"{errors[path]}\\n{message}" if path in errors else message
