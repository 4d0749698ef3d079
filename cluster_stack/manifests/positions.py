"""Where in which file of ``infrastructure/`` a key of a built object stands."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path as FilePath
from typing import NamedTuple

import yaml

from cluster_stack.config.document import Path
from cluster_stack.manifests.building import Loader, Object


class Position(NamedTuple):
    file: str
    line: int
    """From 1; 0: nobody can tell."""


def position(root: FilePath, found: Object, path: Path) -> Position:
    """The line of a key, or of the nearest key above it; in an overlay where that changed the key."""
    source = found.source
    text = _read(root / source.origin)
    for document in _documents(text):
        if _scalar(document, "kind") == found.kind and _scalar(document, "metadata", "name") == found.name:
            line, whole = _line(document, path)
            if whole and not _patched(source.changed_in, root, path):
                return Position(source.origin, line)
            return _patched(source.changed_in, root, path) or Position(source.origin, line)
    return Position(source.origin, 0)


def line_of(root: FilePath, file: str, text: str) -> int:
    """The first line of a file that holds a text; 0 if none does."""
    lines = enumerate(_read(root / file).splitlines(), start=1)
    return next((number for number, line in lines if text in line), 0)


def line_at(root: FilePath, file: str, path: Path) -> int:
    """The line of a key of a file with one document, or of the nearest key above it."""
    return next((_line(node, path)[0] for node in _documents(_read(root / file))), 0)


def patch_targets(root: FilePath, file: str) -> list[tuple[Path, Mapping[str, str]]]:
    """The targets of the patches in a kustomization file, each with its place."""
    try:
        data = yaml.load(_read(root / file), Loader=Loader)  # noqa: S506 (a safe loader)
    except yaml.YAMLError:
        return []
    patches = data.get("patches", []) if isinstance(data, dict) else []
    return [
        (("patches", index, "target"), patch["target"])
        for index, patch in enumerate(patches)
        if isinstance(patch, dict) and isinstance(patch.get("target"), dict)
    ]


@cache
def _read(file: FilePath) -> str:
    try:
        return file.read_text(encoding="utf-8")
    except OSError:
        return ""


@cache
def _documents(text: str) -> Sequence[yaml.Node]:
    try:
        return [node for node in yaml.compose_all(text, Loader=Loader) if node is not None]
    except yaml.YAMLError:
        return []


def _scalar(node: yaml.Node, *path: str) -> str:
    for key in path:
        node = next((value for name, value in _entries(node) if name == key), node)
    return str(node.value) if isinstance(node, yaml.ScalarNode) else ""


def _entries(node: yaml.Node) -> Iterator[tuple[str, yaml.Node]]:
    if isinstance(node, yaml.MappingNode):
        yield from ((str(key.value), value) for key, value in node.value)


def _line(node: yaml.Node, path: Path) -> tuple[int, bool]:
    """The line of the deepest part of a path that is there, and whether that is the whole path."""
    line = node.start_mark.line + 1
    for part in path:
        if isinstance(node, yaml.SequenceNode) and isinstance(part, int) and part < len(node.value):
            node = node.value[part]
            line = node.start_mark.line + 1
            continue
        keys = node.value if isinstance(node, yaml.MappingNode) else []
        match = next(((key, value) for key, value in keys if key.value == part), None)
        if match is None:
            return line, False
        line, node = match[0].start_mark.line + 1, match[1]
    return line, True


def _patched(files: Sequence[str], root: FilePath, path: Path) -> Position | None:
    """The line of the last JSON patch that sets a key, or one above it."""
    for file in reversed(files):
        lines = _read(root / file).splitlines()
        for length in range(len(path), 0, -1):
            pointer = "/" + "/".join(str(part).replace("~", "~0").replace("/", "~1") for part in path[:length])
            for number, line in enumerate(lines, start=1):
                if line.strip().removeprefix("- ") == f"path: {pointer}":
                    return Position(file, number)
    return None
