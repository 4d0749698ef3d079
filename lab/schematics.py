"""Schematics: what an image of the Image Factory has besides Talos itself, known by the hash of its text.

Owns the canonical text, and which schematics somebody has posted: the factory builds no image from any other.
"""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Iterator, Mapping
from itertools import chain, repeat
from typing import Any

import yaml

from lab.directory import LabDirectory, read_json, write_json

KEYS: Mapping[str, Any] = {
    "owner": str,
    "overlay": {"image": str, "name": str, "options": dict},
    "customization": {
        "embeddedMachineConfiguration": str,
        "extraKernelArgs": list,
        "meta": [{"key": int, "value": str}],
        "systemExtensions": {"officialExtensions": list},
        "bootloader": str,
        "secureboot": {"enrollKeys": str, "includeWellKnownCertificates": bool},
        "diskImage": {"sectorSize": int},
    },
}
NEVER_LEFT_OUT = ("image", "name", "key", "value")


class SchematicError(ValueError):
    """A text that the factory does not take for a schematic."""


class Schematics:
    """The schematics that the factory knows: those of the site file, and those posted in this lab."""

    def __init__(self, directory: LabDirectory, known: Mapping[str, str]) -> None:
        self._directory = directory
        self._known = {**known, **read_json(directory.schematics, {})}

    def __iter__(self) -> Iterator[str]:
        return iter(self._known.values())

    def __contains__(self, identifier: object) -> bool:
        return identifier in self._known

    def get(self, identifier: str) -> str | None:
        return self._known.get(identifier)

    def post(self, text: str) -> str:
        """Take a schematic in; returns its id. Raises SchematicError."""
        canonical = canonical_text(text)
        identifier = post(self._directory, canonical)
        self._known.setdefault(identifier, canonical)
        return identifier


def post(directory: LabDirectory, text: str) -> str:
    """Keep a schematic in a lab's folder, for the factory's next start; returns its id. Raises SchematicError."""
    canonical = canonical_text(text)
    identifier = identifier_of(canonical)
    write_json(directory.schematics, {**read_json(directory.schematics, {}), identifier: canonical})
    return identifier


def canonical_text(text: str) -> str:
    """The canonical text of a schematic, as the factory prints it; its SHA-256 is the schematic's id.

    Keys and their order: siderolabs/image-factory v1.4.0, pkg/schematic. What is empty is left out, lists stay as they
    are. The same to the byte but for text with unusual line ends, leading blanks before line ends, and characters
    beyond the basic plane. Raises SchematicError where the factory refuses the text.
    """
    try:
        document = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise SchematicError(f"yaml: {error}") from None
    canonical = _known(document or {}, KEYS, "Schematic")
    if not canonical.get("customization"):
        canonical["customization"] = {}
    return "".join(f"{line}\n" for line in _printed(canonical, 0))


def identifier_of(schematic: str) -> str:
    return hashlib.sha256(schematic.encode()).hexdigest()


def _known(value: Any, keys: Any, where: str) -> Any:
    """A value with its keys in the factory's order and nothing empty in it."""
    if isinstance(keys, list):
        return [_known(item, keys[0], where) for item in value]
    if not isinstance(keys, dict):
        return dict(sorted(value.items())) if isinstance(value, dict) else value
    if not isinstance(value, dict):
        raise SchematicError(f"yaml: cannot construct {value!r} into schematic.{where}")
    if unknown := [name for name in value if name not in keys]:
        raise SchematicError(f"yaml: field {unknown[0]} not found in type schematic.{where}")
    kept = {
        name: _known(value.get(name, ""), inner, name)
        for name, inner in keys.items()
        if value.get(name) or name in NEVER_LEFT_OUT
    }
    return kept if any(kept.values()) else {}


def _printed(mapping: Mapping[str, Any], indent: int, step: int = 4) -> Iterator[str]:
    """The lines of a mapping in block style as Go's library prints it: lists in mappings are indented."""
    margin = " " * indent
    for name, value in mapping.items():
        if isinstance(value, dict) and value:
            yield f"{margin}{name}:"
            yield from _printed(value, indent + step)
        elif isinstance(value, list) and value:
            yield f"{margin}{name}:"
            for item in value:
                lines = _printed(item, 0, step=2) if isinstance(item, dict) else _scalar(item)
                leaders = chain([f"{margin}    - "], repeat(f"{margin}      "))
                yield from ((leader + line).rstrip(" ") for leader, line in zip(leaders, lines, strict=False))
        else:
            first, *rest = _scalar(value)
            yield f"{margin}{name}: {first}"
            yield from (f"{margin}{' ' * step}{line}".rstrip(" ") for line in rest)


def _scalar(value: Any) -> list[str]:
    """The lines of a value; text that could be taken for something else stands in double quotes."""
    style = None
    if isinstance(value, str):
        if "\n" in value and not value[0].isspace() and not re.search(r" $", value, re.MULTILINE):
            kept = {0: "-", 1: ""}.get(len(value) - len(value.rstrip("\n")), "+")
            return [f"|{kept}", *value.removesuffix("\n").split("\n")]
        if "\n" in value or _means_more(value):
            style = '"'
    text: str = yaml.safe_dump(value, default_style=style, default_flow_style=True, allow_unicode=True, width=math.inf)
    return [text.removesuffix("\n").removesuffix("\n...")]


def _means_more(text: str) -> bool:
    """Whether YAML takes a plain text for a number, a date, a truth value..."""
    if text in ("y", "Y", "n", "N") or re.fullmatch(r"[-+]?[0-9.]+[eE][-+]?\d+", text):
        return True
    found: str = yaml.SafeLoader("").resolve(yaml.ScalarNode, text, (True, False))  # type: ignore[no-untyped-call]
    return found != "tag:yaml.org,2002:str"


def extensions_of(schematic: str) -> list[str]:
    customization = (yaml.safe_load(schematic) or {}).get("customization") or {}
    names: list[str] = (customization.get("systemExtensions") or {}).get("officialExtensions") or []
    return names
