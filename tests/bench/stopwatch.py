"""Times a command inside the lab, so that the way into it does not count.

`python -m tests.bench.stopwatch FILE COMMAND...` writes to FILE when the command began and ended, in seconds of the
wall clock (which the lab's request log and the machines' consoles use too), and ends with the command's exit code.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path


def command(file: Path, *words: str) -> list[str]:
    """The command line that times ``words``."""
    return [sys.executable, "-m", "tests.bench.stopwatch", str(file), *words]


def read(file: Path) -> tuple[float, float]:
    began, ended = json.loads(file.read_text())
    return began, ended


def main() -> int:
    began = time.time()
    code = subprocess.run(sys.argv[2:], check=False).returncode
    Path(sys.argv[1]).write_text(json.dumps([began, time.time()]))
    return code


if __name__ == "__main__":
    sys.exit(main())
