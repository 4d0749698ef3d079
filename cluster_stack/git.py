"""Asking git about the checkout that the project is in. Imports no Pulumi, and asks no server."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Sequence
from pathlib import Path


class GitError(Exception):
    """Git cannot tell. The text says why, and what to do."""


def commit(root: Path, revision: str) -> str:
    """The full id of a commit, by any name that git takes. Raises GitError."""
    return git(root, "rev-parse", "--verify", "--quiet", f"{revision}^{{commit}}").strip()


def git(root: Path, *arguments: str) -> str:
    """What one git command says in the folder ``root``; bytes that are no UTF-8 as surrogates. Raises GitError."""
    try:
        done = subprocess.run(
            ["git", "-C", str(root), *arguments],
            capture_output=True,
            check=False,
            env={**os.environ, "LC_ALL": "C"},  # _reason() reads what git says
        )
    except FileNotFoundError:
        raise GitError("git is not installed, and only git knows what changed. Install it.") from None
    if done.returncode:
        raise GitError(_reason(root, arguments, done.stderr.decode(errors="replace").strip()))
    return done.stdout.decode(errors="surrogateescape")


def _reason(root: Path, arguments: Sequence[str], message: str) -> str:
    if "not a git repository" in message:
        return f"{root} is not a git checkout, so nothing tells what changed. Clone the project with git."
    if "no merge base" in message:
        return (
            "HEAD and the base have no common commit here. "
            "In a shallow clone run `git fetch --unshallow`; in a workflow check out with fetch-depth: 0."
        )
    if arguments[0] == "rev-parse" and not message:
        base = arguments[-1].removesuffix("^{commit}")
        return (
            f"git knows no revision {base!r} here. "
            "Name a commit, branch or tag that `git log` shows, such as origin/main; fetch it first where it is new."
        )
    return f"git {arguments[0]}: {message.removeprefix('fatal: ')}."
