"""What a type of resource must be able to do, so that ``server`` can offer it to Pulumi's engine."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple, Protocol

from cluster_stack.lifecycle.waiting import Waiting

Inputs = Mapping[str, Any]


class Failure(NamedTuple):
    """Something wrong with the inputs, told in a preview."""

    key: str
    sentence: str


class ResourceType(Protocol):
    """One type. Its methods run in threads; what goes wrong they raise as LifecycleError."""

    def check(self, inputs: Inputs) -> Iterable[Failure]:
        """Asks nobody. Values that are not known yet are ``UNKNOWN``."""

    def replacing(self, old: Inputs, new: Inputs) -> Iterable[str]:
        """The changed keys with which a resource is another one. Asks nobody."""

    def identity(self, inputs: Inputs) -> str: ...

    def create(self, inputs: Inputs, waiting: Waiting) -> None: ...

    def update(self, old: Inputs, new: Inputs, waiting: Waiting) -> None: ...

    def read(self, inputs: Inputs, waiting: Waiting) -> Inputs | None:
        """The inputs as they would be for what is there; None where nothing is."""

    def delete(self, inputs: Inputs, waiting: Waiting) -> None: ...
