"""What git knows: which clusters a change touches, and what a cluster's files were.

Which clusters are touched is told by the paths of the changed files alone, and so errs on the side of too many: a path
that is not known to be harmless touches every cluster. Imports no Pulumi.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterable, Sequence
from pathlib import Path, PurePosixPath

from cluster_stack.config.load import FILE_NAME

_HARMLESS_FOLDERS = {".ci", ".github", "docs", "lab", "tests", "toolchain"}
_HARMLESS_FILES = {".gitignore", "LICENSE", "Makefile", "pyproject.toml"}
"""Beside the ``*.md`` files: nothing in the project's folder that decides what `pulumi up` does."""


class GitError(Exception):
    """Git cannot tell what changed. The text says why, and what to do."""


def clusters_touched(files: Iterable[str], names: Sequence[str]) -> list[str]:
    """Those of the clusters ``names`` that a change of ``files`` (paths from the project's folder) may alter."""
    touched: set[str] = set()
    for file in files:
        touched.update(_touched_by(PurePosixPath(file), names))
    return sorted(touched)


def clusters_removed(files: Iterable[str], names: Sequence[str]) -> list[str]:
    """The clusters whose cluster.yaml is among the changed ``files``, and which are not among ``names`` any more."""
    paths = [PurePosixPath(file).parts for file in files]
    return sorted(
        {parts[1] for parts in paths if len(parts) == 3 and (parts[0], parts[2]) == ("clusters", FILE_NAME)}
        - set(names)
    )


def _touched_by(path: PurePosixPath, names: Sequence[str]) -> Iterable[str]:
    top, below = path.parts[0], path.parts[1:]
    if top == "clusters":
        return set(below[:1]) & set(names)
    if top == "stacks":
        return {path.name.removeprefix("Pulumi.").removesuffix(".yaml")} & set(names)
    harmless = top in _HARMLESS_FOLDERS if below else top in _HARMLESS_FILES or path.suffix == ".md"
    return () if harmless else names


def changed_files(root: Path, base: str) -> list[str]:
    """The files of the project in ``root`` that HEAD changed since it left ``base``. Raises GitError."""
    revision = _commit(root, base)
    # A renamed cluster is one that went and one that came: without --no-renames git would name the new one only.
    listed = _git(root, "diff", "--name-only", "--no-renames", "--relative", "-z", f"{revision}...HEAD")
    return [file for file in listed.split("\0") if file]


def cluster_at(root: Path, revision: str, name: str) -> dict[str, bytes]:
    """The files of a cluster as they were at ``revision``: paths from the project's folder in ``root`` -> contents.

    Empty where there was no such cluster. Raises GitError.
    """
    commit, folder = _commit(root, revision), f"clusters/{name}/"
    listed = _git(root, "ls-tree", "-r", "-z", "--name-only", commit, "--", "clusters/")
    files = [file for file in listed.split("\0") if file.startswith(folder)]
    if folder + FILE_NAME not in files:
        return {}
    return {
        file: _git(root, "cat-file", "blob", f"{commit}:./{file}").encode(errors="surrogateescape") for file in files
    }


def _commit(root: Path, revision: str) -> str:
    return _git(root, "rev-parse", "--verify", "--quiet", f"{revision}^{{commit}}").strip()


def _git(root: Path, *arguments: str) -> str:
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
