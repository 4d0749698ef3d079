"""A copy of the project that may be edited, so that nobody else looks at its cluster.yaml files."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[1]
PROGRAM = ("Pulumi.yaml", "__main__.py", "cluster_stack", "clusters", "infrastructure", "stacks")
"""What a `pulumi up` reads."""


def copy(folder: Path) -> Path:
    """Make a new folder of that name, with the project in it."""
    folder.mkdir()
    for name in PROGRAM:
        source = REPOSITORY / name
        if source.is_dir():
            shutil.copytree(source, folder / name, ignore=shutil.ignore_patterns("__pycache__", "Pulumi.*.yaml"))
        else:
            shutil.copy(source, folder / name)
    # Where Pulumi.yaml says that the virtual environment is.
    (folder / ".venv").symlink_to(sys.prefix)
    return folder
