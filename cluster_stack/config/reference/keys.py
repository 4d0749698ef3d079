"""Every key of cluster.yaml, from the models."""

from __future__ import annotations

import types
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, Any, Union, get_args, get_origin, get_type_hints

from cluster_stack.config.documentation import description
from cluster_stack.config.models import ClusterConfig, Model
from cluster_stack.config.models.values import AddressRange

Path = tuple[str, ...]
"""Keys from the top of the file; an item of a list is ``[]``, the value of a name that the user chooses ``<name>``."""

ITEM = "[]"
NAMED = "<name>"


@dataclass(frozen=True)
class Key:
    path: Path
    owner: type[Model]
    """The model that declares the key; keys that several models inherit have one owner."""
    description: str
    required: bool
    below: Path | None
    """Path of the mapping that the value is, or that its items are; None for a value without keys."""

    @property
    def name(self) -> str:
        return self.path[-1]


def keys(model: type[Model] = ClusterConfig, path: Path = ()) -> Iterator[Key]:
    """Yield every key, a mapping before what is below it, a model's own keys before those that it inherits."""
    hints = get_type_hints(model, include_extras=True)
    names = sorted(model.model_fields, key=lambda name: _owner(model, name) is not model)
    for name in names:
        info = model.model_fields[name]
        here = (*path, info.alias or name)
        below = next(_models(hints[name], here), None)
        text = description(model, name)
        yield Key(here, _owner(model, name), text, info.is_required(), below[0] if below else None)
        if below:
            yield from keys(below[1], below[0])


def dotted(path: Path) -> str:
    """``("topology", "nodePools", "[]", "name")`` as ``topology.nodePools[].name``."""
    return ".".join(path).replace(f".{ITEM}", ITEM)


def _owner(model: type[Model], name: str) -> type[Model]:
    line = [base for base in model.__mro__ if issubclass(base, Model) and name in base.model_fields]
    return line[-1]


def _models(annotation: Any, path: Path) -> Iterator[tuple[Path, type[Model]]]:
    """The models that a type holds, and where they stand."""
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        yield from _models(arguments[0], path)
    elif origin in {Union, types.UnionType}:
        for argument in arguments:
            yield from _models(argument, path)
    elif origin is list:
        yield from _models(arguments[0], (*path, ITEM))
    elif origin is dict:
        yield from _models(arguments[1], (*path, NAMED))
    elif isinstance(annotation, type) and issubclass(annotation, Model) and annotation is not AddressRange:
        yield path, annotation  # a range is written as a text
