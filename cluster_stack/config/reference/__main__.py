"""`python -m cluster_stack.config.reference [--check]`: write the reference, or say which file of it is stale."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from cluster_stack.config.reference import COMMAND, files

ROOT = Path(__file__).parents[3]


def main(arguments: Sequence[str] | None = None, root: Path = ROOT) -> int:
    """Returns the exit code: 0, or with --check 1 where a file is missing or not what the models say."""
    parser = argparse.ArgumentParser(prog=COMMAND, description="Write the reference of cluster.yaml.")
    parser.add_argument("--check", action="store_true", help="write nothing; name the files that are stale")
    check = parser.parse_args(arguments).check
    code = 0
    for name, text in files().items():
        file = root / name
        if file.is_file() and file.read_text(encoding="utf-8") == text:
            continue
        if check:
            print(f"{name} is stale. Run `{COMMAND}`.", file=sys.stderr)
            code = 1
        else:
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text, encoding="utf-8")
            print(name)
    return code


if __name__ == "__main__":
    sys.exit(main())
