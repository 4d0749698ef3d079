"""Where in which file of ``infrastructure/`` a key of a built object stands."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path as FilePath
from typing import NamedTuple

import yaml

from cluster_stack.config.document import Path
from cluster_stack.manifests.building import Loader, Object


class Position(NamedTuple):
    file: str
    line: int
    """From 1; 0: nobody can tell."""


class Files:
    """The files of one project (named from its folder). Each is read once, so this lasts as long as one check."""

    def __init__(self, root: FilePath) -> None:
        self._root = root
        self._texts: dict[str, str] = {}
        self._read_documents: dict[str, Sequence[yaml.Node]] = {}

    def position(self, found: Object, path: Path) -> Position:
        """The line of a key, or of the nearest key above it; in an overlay where that changed the key."""
        source = found.source
        for document in self._documents(source.origin):
            if _scalar(document, "kind") == found.kind and _scalar(document, "metadata", "name") == found.name:
                return self._patched(source.changed_in, path) or Position(source.origin, _line(document, path))
        return Position(source.origin, 0)

    def line_of(self, file: str, text: str) -> int:
        """The first line of a file that holds a text; 0 if none does."""
        lines = enumerate(self._text(file).splitlines(), start=1)
        return next((number for number, line in lines if text in line), 0)

    def line_at(self, file: str, path: Path) -> int:
        """The line of a key of a file with one document, or of the nearest key above it."""
        return next((_line(node, path) for node in self._documents(file)), 0)

    def patch_targets(self, file: str) -> list[tuple[Path, Mapping[str, str]]]:
        """The targets of the patches in a kustomization file, each with its place."""
        try:
            data = yaml.load(self._text(file), Loader=Loader)  # noqa: S506 (a safe loader)
        except yaml.YAMLError:
            return []
        patches = data.get("patches", []) if isinstance(data, dict) else []
        return [
            (("patches", index, "target"), patch["target"])
            for index, patch in enumerate(patches)
            if isinstance(patch, dict) and isinstance(patch.get("target"), dict)
        ]

    def _text(self, file: str) -> str:
        if file not in self._texts:
            try:
                self._texts[file] = (self._root / file).read_text(encoding="utf-8")
            except OSError:
                self._texts[file] = ""
        return self._texts[file]

    def _documents(self, file: str) -> Sequence[yaml.Node]:
        if file not in self._read_documents:
            try:
                nodes = [node for node in yaml.compose_all(self._text(file), Loader=Loader) if node is not None]
            except yaml.YAMLError:
                nodes = []
            self._read_documents[file] = nodes
        return self._read_documents[file]

    def _patched(self, files: Sequence[str], path: Path) -> Position | None:
        """The line of the last JSON patch that sets a key, or one above it."""
        for file in reversed(files):
            lines = self._text(file).splitlines()
            for length in range(len(path), 0, -1):
                pointer = "/" + "/".join(str(part).replace("~", "~0").replace("/", "~1") for part in path[:length])
                for number, line in enumerate(lines, start=1):
                    if line.strip().removeprefix("- ") == f"path: {pointer}":
                        return Position(file, number)
        return None


def _scalar(node: yaml.Node, *path: str) -> str:
    for key in path:
        node = next((value for name, value in _entries(node) if name == key), node)
    return str(node.value) if isinstance(node, yaml.ScalarNode) else ""


def _entries(node: yaml.Node) -> Iterator[tuple[str, yaml.Node]]:
    if isinstance(node, yaml.MappingNode):
        yield from ((str(key.value), value) for key, value in node.value)


def _line(node: yaml.Node, path: Path) -> int:
    """The line of the deepest part of a path that is there."""
    line = node.start_mark.line + 1
    for part in path:
        if isinstance(node, yaml.SequenceNode) and isinstance(part, int) and part < len(node.value):
            node = node.value[part]
            line = node.start_mark.line + 1
            continue
        keys = node.value if isinstance(node, yaml.MappingNode) else []
        match = next(((key, value) for key, value in keys if key.value == part), None)
        if match is None:
            return line
        line, node = match[0].start_mark.line + 1, match[1]
    return line
