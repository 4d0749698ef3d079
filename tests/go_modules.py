"""The Go that tests of this project's Go modules run with: the one on PATH, else the one that the toolchain fetched."""

from __future__ import annotations

import functools
import os
from pathlib import Path

from toolchain import golang
from toolchain.store import Store, user_cache

REPOSITORY = Path(__file__).parents[1]
ENVIRONMENT = {**os.environ, "CGO_ENABLED": "0"}


@functools.cache
def go(module: Path) -> str:
    """The path of a Go that is new enough for ``module``, a folder with a go.mod."""
    needed = next(line.split()[1] for line in (module / "go.mod").read_text().splitlines() if line.startswith("go "))
    store = Store(user_cache())
    return str(golang.find_go(needed, store, store.root).program)
