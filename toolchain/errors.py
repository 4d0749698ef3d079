"""The one error of this package: a sentence for a person, which the command line prints without a traceback."""

from __future__ import annotations


class ToolchainError(Exception):
    """What failed, why, and what to do about it."""
