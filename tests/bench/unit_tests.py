"""How long a person waits for `make unit`."""

from __future__ import annotations

import os
import subprocess
import time

from tests.bench.figure import Figure
from tests.project import REPOSITORY

LIMIT_SECONDS = 10


def measure() -> Figure:
    _run()  # fills the caches
    began = time.monotonic()
    done = _run()
    seconds = time.monotonic() - began
    last = done.stdout.strip().splitlines()[-1:] or done.stderr.strip().splitlines()[-1:]
    return Figure("unit tests, the whole command", seconds, LIMIT_SECONDS, "s", (f"pytest: {last[0].strip('= ')}",))


def _run() -> subprocess.CompletedProcess[str]:
    # Without it Python keeps what it has compiled, as on a user's machine.
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    return subprocess.run(
        ["make", "unit"], cwd=REPOSITORY, env=environment, check=False, capture_output=True, text=True
    )
