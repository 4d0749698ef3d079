"""What became of a declaration: its own fields, with what is there now where that is something else.

An API server and its controllers add fields of their own to every object, and write some values otherwise than they
were declared (a CPU limit of 2000m as 2). Neither is drift. So an object is compared with what applying the declaration
would make of it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

_IDENTITY = ("name", "key", "type", "containerPort", "port", "mountPath")
"""Fields by which Kubernetes tells the items of a list from each other, in this order of trust."""


def as_found(declared: Any, live: Any, applied: Any) -> Any:
    """``declared`` with the values of ``live`` where applying it would change them; what is gone is left out.

    ``applied`` is what it would become.
    """
    if live == applied:
        return declared
    if isinstance(declared, Mapping) and isinstance(live, Mapping) and isinstance(applied, Mapping):
        return {
            name: as_found(value, live[name], applied.get(name)) for name, value in declared.items() if name in live
        }
    if isinstance(declared, list) and isinstance(live, list) and isinstance(applied, list):
        return _items(declared, live, applied)
    return live


def _items(declared: Sequence[Any], live: Sequence[Any], applied: Sequence[Any]) -> list[Any]:
    lists = (declared, live, applied)
    key = next((name for name in _IDENTITY if all(_tells_apart(items, name) for items in lists)), None)
    if key is not None:
        there, wanted = ({item[key]: item for item in items} for items in (live, applied))
        return [as_found(item, there[item[key]], wanted.get(item[key])) for item in declared if item[key] in there]
    if len(declared) == len(live) == len(applied):
        return [as_found(*items) for items in zip(declared, live, applied, strict=True)]
    return list(live)


def _tells_apart(items: Sequence[Any], name: str) -> bool:
    values = [item.get(name) if isinstance(item, Mapping) else None for item in items]
    return bool(values) and None not in values and len(set(map(str, values))) == len(values)
