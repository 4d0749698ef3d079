"""The complete example: every key of cluster.yaml with a value.

Some keys exclude others, so a working file cannot have all of them: those that would be one too many are switched off
by a `#` right before the key or item. Prose has a space behind its `#`.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator
from pathlib import Path as FilePath
from typing import Any

from cluster_stack.config.document import parse
from cluster_stack.config.reference.keys import ITEM, NAMED, Path, dotted, keys

TEXT = FilePath(__file__).with_name("example.yaml").read_text()
"""A cluster.yaml that loads, for a cluster called ``example``."""

EVERYTHING = re.sub(r"^( *)#(?=[\w-])", r"\1", TEXT, flags=re.MULTILINE)
"""The same with every key switched on. Each value is right by itself, but not beside all others."""


def examples() -> dict[Path, Any]:
    """A value for every key that is not a mapping of further keys. Raises LookupError if the example lacks one.

    A key that several mappings have (of pools, of disks) is there in one of them at least.
    """
    data = parse(EVERYTHING.encode(), "example.yaml").data
    last = [key for key in keys() if key.below is None]
    found = {key.path: value for key in last for value in itertools.islice(_values(data, key.path), 1)}
    elsewhere = {(key.owner, key.name): found[key.path] for key in last if key.path in found}
    for key in last:
        if (key.owner, key.name) not in elsewhere:
            raise LookupError(f"cluster_stack/config/reference/example.yaml has no {dotted(key.path)}.")
    return {key.path: found.get(key.path, elsewhere[key.owner, key.name]) for key in last}


def _values(data: Any, path: Path) -> Iterator[Any]:
    """Every value that stands at a path."""
    if not path:
        yield data
        return
    part, rest = path[0], path[1:]
    if part == ITEM:
        below = [item for item in data if isinstance(item, dict)]
    elif part == NAMED:
        below = list(data.values())
    else:
        below = [data[part]] if part in data else []
    for value in below:
        yield from _values(value, rest)
