"""Times a command inside the lab, so that the way into it does not count.

`python -m tests.bench.stopwatch FILE COMMAND...` writes to FILE when the command began and ended, in seconds of the
wall clock (which the lab's request log and the machines' consoles use too), and how much memory the largest of its
processes had. It ends with the command's exit code.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import time
from pathlib import Path


def command(file: Path, *words: str) -> list[str]:
    """The command line that times ``words``."""
    return [sys.executable, "-m", "tests.bench.stopwatch", str(file), *words]


def read(file: Path) -> tuple[float, float]:
    began, ended, _ = json.loads(file.read_text())
    return began, ended


def megabytes(file: Path) -> float:
    """Memory of the largest process at its largest."""
    _, _, kilobytes = json.loads(file.read_text())
    return float(kilobytes) * 1024 / 1e6


def main() -> int:
    began = time.time()
    code = subprocess.run(sys.argv[2:], check=False).returncode
    largest = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    Path(sys.argv[1]).write_text(json.dumps([began, time.time(), largest]))
    return code


if __name__ == "__main__":
    sys.exit(main())
