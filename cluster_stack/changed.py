"""What a change touches, and what a cluster's files were before it, as git knows.

Which clusters are touched is told by the paths of the changed files alone, and so errs on the side of too many: a path
that is not known to be harmless touches every cluster. Imports no Pulumi.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path, PurePosixPath

from cluster_stack.config.load import FILE_NAME
from cluster_stack.git import commit, git

_HARMLESS_FOLDERS = {".ci", ".github", "docs", "lab", "tests", "toolchain"}
_HARMLESS_FILES = {".gitignore", "LICENSE", "Makefile", "pyproject.toml"}
"""Beside the ``*.md`` files: nothing in the project's folder that decides what `pulumi up` does."""


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
    revision = commit(root, base)
    # A renamed cluster is one that went and one that came: without --no-renames git would name the new one only.
    listed = git(root, "diff", "--name-only", "--no-renames", "--relative", "-z", f"{revision}...HEAD")
    return [file for file in listed.split("\0") if file]


def cluster_at(root: Path, revision: str, name: str) -> dict[str, bytes]:
    """The files of a cluster as they were at ``revision``: paths from the project's folder in ``root`` -> contents.

    Empty where there was no such cluster. Raises GitError.
    """
    found, folder = commit(root, revision), f"clusters/{name}/"
    listed = git(root, "ls-tree", "-r", "-z", "--name-only", found, "--", "clusters/")
    files = [file for file in listed.split("\0") if file.startswith(folder)]
    if folder + FILE_NAME not in files:
        return {}
    return {file: git(root, "cat-file", "blob", f"{found}:./{file}").encode(errors="surrogateescape") for file in files}
