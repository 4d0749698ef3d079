"""The programs that the project runs: the Pulumi CLI, two plugins, talosctl, the lab's node, and tests that judge it.

`python -m toolchain ensure` makes them available, `status` shows them; `environment()` and `tool()` are for the rest of
the project. It knows nothing of clusters, and nothing else in the project knows where these programs come from.
"""

from __future__ import annotations

from pathlib import Path

from toolchain.errors import ToolchainError
from toolchain.installation import Installation

__all__ = ["ToolchainError", "environment", "programs", "tool"]


def environment() -> dict[str, str]:
    """The variables to add to a process's environment so that it uses these tools."""
    return Installation().environment()


def tool(name: str) -> Path:
    """The program of one tool, such as "pulumi" or "talosctl"."""
    return Installation().program(name)


def programs(name: str) -> list[Path]:
    """All programs of one tool."""
    return Installation().programs(name)
