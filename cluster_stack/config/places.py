"""What the models say of a place in cluster.yaml: the type of its values, their documentation, a right one.

For messages only; imported when there is something to say.
"""

from __future__ import annotations

import types
from dataclasses import dataclass, replace
from functools import cache
from typing import Annotated, Union, get_args, get_origin

from pydantic import BaseModel, StringConstraints
from pydantic.fields import FieldInfo

from cluster_stack.config.document import Path
from cluster_stack.config.documentation import description
from cluster_stack.config.models import ClusterConfig
from cluster_stack.config.reference.example import examples
from cluster_stack.config.reference.keys import ITEM, NAMED, Key, keys
from cluster_stack.config.reference.keys import Path as KeyPath


@dataclass(frozen=True)
class Place:
    """What the models say of a place in the file."""

    key: KeyPath
    """The same for every item of a list."""
    kind: object
    """Type of its values; None where the models know nothing."""
    metadata: tuple[object, ...] = ()
    """What is said of its values."""
    field: tuple[type[BaseModel], str] | None = None
    """The model's field that the place is, or that holds the list or the mapping that it is in."""

    @property
    def model(self) -> type[BaseModel] | None:
        return self.kind if isinstance(self.kind, type) and issubclass(self.kind, BaseModel) else None

    @property
    def keys(self) -> list[str]:
        """The keys that belong in the mapping that is to be here."""
        return [info.alias or name for name, info in self.model.model_fields.items()] if self.model else []

    @property
    def required_keys(self) -> list[str]:
        fields = self.model.model_fields.items() if self.model else ()
        return [info.alias or name for name, info in fields if info.is_required()]

    @property
    def meaning(self) -> str:
        """The key's documentation."""
        return description(*self.field) if self.field else ""

    @property
    def example(self) -> object:
        """A right value."""
        *key, last = self.key
        if last == ITEM:
            return _examples()[tuple(key)][0]
        return next(iter(_examples()[tuple(key)].values())) if last == NAMED else _examples()[self.key]

    @property
    def explained(self) -> str:
        """The documentation, with an example."""
        return self.meaning if "for example" in self.meaning else f"{self.meaning} For example: {self.example}"

    @property
    def unit(self) -> str:
        """``MB``, or nothing."""
        extras = [getattr(said, "json_schema_extra", None) for said in self.metadata]
        return next((str(extra["unit"]) for extra in extras if isinstance(extra, dict) and "unit" in extra), "")

    @property
    def required(self) -> bool:
        return any(isinstance(said, FieldInfo) and said.is_required() for said in self.metadata)

    @property
    def pattern(self) -> str | None:
        patterns = (said.pattern for said in self.metadata if isinstance(said, StringConstraints))
        return next((str(pattern) for pattern in patterns if pattern), None)


def place_at(path: Path) -> Place:
    """What the models say of a path of the file, which may be one that they do not know."""
    place = Place((), ClusterConfig)
    for part in path:
        place = _below(place, part)
    return place


def _below(place: Place, part: int | str) -> Place:
    if model := place.model:
        key = (*place.key, str(part))
        for name, info in model.model_fields.items():
            if info.alias == part:
                return _bare(Place(key, info.annotation, (info, *info.metadata), (model, name)))
        return Place(key, None)
    key = (*place.key, ITEM if isinstance(part, int) else NAMED)
    arguments = get_args(place.kind) if get_origin(place.kind) in {list, dict} else (None,)
    return _bare(Place(key, arguments[-1], (), place.field))


def _bare(place: Place) -> Place:
    """The same place with its type without ``None``, and without what is said of its values."""
    while (origin := get_origin(place.kind)) in {Union, types.UnionType, Annotated}:
        first, *rest = (part for part in get_args(place.kind) if part is not type(None))
        said = rest if origin is Annotated else []
        place = replace(place, kind=first, metadata=(*place.metadata, *said))
    return place


@cache
def every_key() -> tuple[Key, ...]:
    return tuple(keys())


_examples = cache(examples)
