"""What the classes of a generated Pulumi SDK say of a plugin's types: names on the wire, types, what must be there."""

from __future__ import annotations

import collections.abc
import inspect
import sys
import types
import typing
from typing import Any

import pulumi

PRIMITIVES: dict[type, str] = {str: "string", bool: "boolean", int: "integer", float: "number"}

# A type is a primitive's name, ["list", type] or {property: (required, type)}.
Shape = Any


def hints_of(function: Any) -> dict[str, Any]:
    # The alias pulumi.Input names pulumi.Output as a string, to be found in its own module.
    module = sys.modules[inspect.unwrap(function).__module__]
    return typing.get_type_hints(function, globalns={**vars(pulumi.output), **vars(module)})


def alternatives(hint: Any) -> list[Any]:
    """The plain types that a hint allows: without outputs, awaitables and the dictionaries that stand for classes."""
    if typing.get_origin(hint) is pulumi.Output:
        return alternatives(typing.get_args(hint)[0])
    if typing.get_origin(hint) not in (typing.Union, types.UnionType):
        return [hint]
    plain: list[Any] = []
    for argument in typing.get_args(hint):
        if typing.get_origin(argument) in (pulumi.Output, collections.abc.Awaitable) or hasattr(argument, "__total__"):
            continue
        plain += [found for found in alternatives(argument) if found not in plain]
    return plain


def shape_of_hint(hint: Any) -> tuple[bool, Shape]:
    """Whether a value must be there, and its type."""
    found = alternatives(hint)
    required = type(None) not in found
    (found_type,) = [plain for plain in found if plain is not type(None)]
    if found_type in PRIMITIVES:
        return required, PRIMITIVES[found_type]
    if typing.get_origin(found_type) is collections.abc.Sequence:
        return required, ["list", shape_of_hint(typing.get_args(found_type)[0])[1]]
    return required, properties_of_class(found_type)


def properties_of_class(python_class: type) -> Shape:
    """The properties of a generated class by the names that they have on the wire."""
    return {
        getattr(member.fget, "_pulumi_name", None) or name: shape_of_hint(hints_of(member.fget)["return"])
        for name, member in vars(python_class).items()
        if isinstance(member, property)
    }


def wire_name(python_class: type, name: str) -> str:
    return getattr(vars(python_class)[name].fget, "_pulumi_name", None) or name


def args_of(resource: type) -> type:
    return typing.cast(type, getattr(sys.modules[resource.__module__], f"{resource.__name__}Args"))
