"""What reading cluster.yaml costs a tool that needs no Pulumi: a fresh process loads and validates it."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path
from statistics import median

from tests.bench.figure import Figure

LIMIT_MILLISECONDS = 150
PAIRS = 15

LIBRARIES = "import yaml; from pydantic import BaseModel"
"""The floor: no reader of this kind can do without. (`import pydantic` alone does little, it waits for a name.)"""
LOAD = "from pathlib import Path; from cluster_stack.config import load; load(Path.cwd(), {!r})"
PULUMI_MODULES = """\
import sys, cluster_stack.config
print(sum(name.partition(".")[0].startswith("pulumi") for name in sys.modules))
"""


def measure(project: Path, cluster: str) -> tuple[Figure, Figure]:
    ours: list[float] = []
    floor: list[float] = []
    for pair in range(PAIRS + 1):
        for code, times in ((LOAD.format(cluster), ours), (LIBRARIES, floor)):
            began = time.perf_counter()
            _python(code, project)
            if pair > 0:  # the first pair only fills the caches
                times.append(1000 * (time.perf_counter() - began))
    # Pair by pair, because what is beside each other is measured on the same, more or less busy, machine.
    beyond = [one - other for one, other in zip(ours, floor, strict=True)]
    details = (
        f"{median(ours):6.1f} ms  a process that loads clusters/{cluster}/cluster.yaml",
        f"{median(floor):6.1f} ms  a process that does `{LIBRARIES}`",
    )
    imported = int(_python(PULUMI_MODULES, project))
    return (
        Figure(
            "load and validate cluster.yaml, beyond its libraries",
            median(beyond),
            LIMIT_MILLISECONDS,
            "ms",
            details,
        ),
        Figure("Pulumi modules that `cluster_stack.config` imports", imported, 0, "modules"),
    )


def _python(code: str, project: Path) -> str:
    command = [sys.executable, "-c", code]
    return subprocess.run(command, cwd=project, check=True, capture_output=True, text=True).stdout
