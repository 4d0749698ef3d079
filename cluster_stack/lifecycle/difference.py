"""What an edit changes, field by field, in the form in which the engine shows it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from pulumi.runtime.proto import provider_pb2

from cluster_stack.lifecycle.resource import Inputs

_PLAIN = re.compile(r"[a-zA-Z_]\w*")
_KIND = provider_pb2.PropertyDiff.Kind
_MISSING = object()


def difference(old: Inputs, new: Inputs, replacing: Iterable[str]) -> provider_pb2.DiffResponse:
    """The answer to a Diff; ``replacing`` are the keys whose change makes the resource another one."""
    replaces = list(replacing)
    fields = {path: _kind(kind, path, replaces) for path, kind in _changes("", old, new)}
    keys = sorted(key for key in {*old, *new} if old.get(key, _MISSING) != new.get(key, _MISSING))
    return provider_pb2.DiffResponse(
        changes=provider_pb2.DiffResponse.DIFF_SOME if keys else provider_pb2.DiffResponse.DIFF_NONE,
        diffs=keys,
        replaces=replaces,
        hasDetailedDiff=True,
        detailedDiff={path: provider_pb2.PropertyDiff(kind=kind, inputDiff=True) for path, kind in fields.items()},
    )


def _changes(path: str, old: Any, new: Any) -> Iterator[tuple[str, str]]:
    """The path of each field that changes, and how."""
    if old is _MISSING or new is _MISSING:
        yield path, "ADD" if old is _MISSING else "DELETE"
    elif isinstance(old, Mapping) and isinstance(new, Mapping):
        for key in sorted({*old, *new}):
            yield from _changes(_below(path, key), old.get(key, _MISSING), new.get(key, _MISSING))
    elif isinstance(old, list) and isinstance(new, list):
        for index in range(max(len(old), len(new))):
            one = old[index] if index < len(old) else _MISSING
            other = new[index] if index < len(new) else _MISSING
            yield from _changes(f"{path}[{index}]", one, other)
    elif old != new:
        yield path, "UPDATE"


def _below(path: str, key: str) -> str:
    if not _PLAIN.fullmatch(key):
        quoted = key.replace('"', '\\"')
        return f'{path}["{quoted}"]'
    return f"{path}.{key}" if path else key


def _kind(kind: str, path: str, replacing: Iterable[str]) -> Any:
    replaced = any(re.match(rf"{key}\b", path) for key in replacing)
    return _KIND.Value(f"{kind}_REPLACE" if replaced else kind)
