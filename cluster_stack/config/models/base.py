"""What every model of cluster.yaml has in common."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel
from pydantic_core import PydanticCustomError


class Model(BaseModel):
    """A mapping of the file: camelCase keys, no others than those declared, no conversion of types.

    The text under each field is that key's documentation (``cluster_stack.config.documentation``).
    """

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        strict=True,
        alias_generator=to_camel,
        defer_build=True,  # one validator, for the whole file, instead of one for each model: 40 ms of every start
    )


def section() -> Any:
    """A mapping of which every key may be left out.

    Its default is validated with the whole file. An instance as the default would build a validator of its own for each
    such model at every start.
    """
    return Field(default={}, validate_default=True)


def refuse(what: str, fix: str) -> PydanticCustomError:
    """What a validator raises: what is wrong with the value, and what to write instead."""
    return PydanticCustomError("cluster_yaml", "{what} {fix}", {"what": what, "fix": fix})
