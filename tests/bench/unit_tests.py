"""How long a person waits for `make unit`."""

from __future__ import annotations

import subprocess
import time

from tests.bench.figure import Figure
from tests.engine.site import REPOSITORY

LIMIT_SECONDS = 10


def measure() -> Figure:
    began = time.monotonic()
    done = subprocess.run(["make", "unit"], cwd=REPOSITORY, check=False, capture_output=True, text=True)
    seconds = time.monotonic() - began
    last = done.stdout.strip().splitlines()[-1:] or done.stderr.strip().splitlines()[-1:]
    return Figure("unit tests, the whole command", seconds, LIMIT_SECONDS, "s", (f"pytest: {last[0].strip('= ')}",))
