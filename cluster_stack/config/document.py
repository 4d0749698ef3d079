"""YAML text to plain data that remembers the line of every key.

Owns what YAML itself allows: encoding, size, depth, duplicate keys, aliases. Knows nothing of clusters.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator
from dataclasses import dataclass, field
from typing import Any

import yaml

from cluster_stack.config.problems import ConfigError, Problem

# A cluster.yaml of 500 nodes with an override each is under 200 KB and 6 levels deep. What is far beyond that is a
# mistake or an attack (an alias that refers to aliases grows exponentially), and gets an answer instead of memory.
MAX_BYTES = 1_000_000
MAX_DEPTH = 40
MAX_VALUES = 100_000

Path = tuple[str | int, ...]


def dotted(path: Path) -> str:
    """``("topology", "nodePools", 0, "name")`` as ``topology.nodePools[0].name``."""
    text = ""
    for part in path:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else str(part)
    return text


@dataclass(frozen=True)
class Document:
    """Plain data (dict, list, str, int, float, bool, None) and the line on which each path of it stands."""

    name: str
    data: dict[str, Any]
    lines: dict[Path, int] = field(repr=False)

    def line(self, path: Path) -> int:
        """The line of a key, or of the nearest key above it that is in the file."""
        while path and path not in self.lines:
            path = path[:-1]
        return self.lines.get(path, 1)

    def problem(self, path: Path, what: str, fix: str) -> Problem:
        return Problem(self.name, self.line(path), dotted(path), what, fix)


def parse(raw: bytes, name: str) -> Document:
    """Parse the bytes of one YAML file. ``name`` stands in messages.

    Raises ConfigError for anything that is not one YAML mapping of reasonable size with unique keys.
    """
    if len(raw) > MAX_BYTES:
        raise _error(name, 0, f"the file has {len(raw):,} bytes.", f"A cluster.yaml has at most {MAX_BYTES:,}.")
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw[: error.start].count(b"\n") + 1
        raise _error(name, line, f"byte {error.start} is not UTF-8.", "Save the file as UTF-8.") from None
    try:
        _refuse_depth(text, name)
        root = yaml.compose(text, Loader=yaml.CSafeLoader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        raise _error(name, mark.line + 1 if mark else 0, *_explain(error)) from None
    except yaml.YAMLError as error:
        raise _error(name, 0, f"not YAML: {error}.", "Remove the character.") from None
    if root is None:
        raise _error(name, 0, "the file is empty.", "Start from clusters/homelab/cluster.yaml.")
    if not isinstance(root, yaml.MappingNode):
        raise _error(name, 1, "the file is not a mapping of keys.", "Start it with `metadata:`.")
    builder = _Builder(name)
    data = builder.value(root, ())
    if builder.problems:
        raise ConfigError(builder.problems)
    assert isinstance(data, dict)
    return Document(name, data, builder.lines)


def _error(name: str, line: int, what: str, fix: str) -> ConfigError:
    return ConfigError([Problem(name, line, "", what, fix)])


def _explain(error: yaml.MarkedYAMLError) -> tuple[str, str]:
    problem = error.problem or "not YAML"
    if "\\t" in problem or "'\t'" in problem or "tab character" in problem:
        return "a tab is used for indentation.", "YAML allows only spaces there: write two spaces for each level."
    context = f" ({error.context})" if error.context else ""
    return (
        f"not YAML: {problem}{context}.",
        "Check the indentation, quotes and brackets on this line and the one above.",
    )


def _refuse_depth(text: str, name: str) -> None:
    """PyYAML composes recursively, so depth is refused on its stream of events, before anything recurses."""
    depth = 0
    for event in yaml.parse(text, Loader=yaml.CSafeLoader):
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
            if depth > MAX_DEPTH:
                line = event.start_mark.line + 1 if event.start_mark else 0
                raise _error(
                    name, line, f"nested more than {MAX_DEPTH} levels deep.", "No key of cluster.yaml is that deep."
                )
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1


class _Builder:
    def __init__(self, name: str) -> None:
        self.name = name
        self.lines: dict[Path, int] = {}
        self.problems: list[Problem] = []
        self._scalars = yaml.constructor.SafeConstructor()
        self._values = 0
        self._open: set[int] = set()

    def value(self, node: yaml.Node, path: Path) -> object:
        self._values += 1
        if self._values > MAX_VALUES or id(node) in self._open:
            what = (
                f"aliases make it more than {MAX_VALUES:,} values."
                if self._values > MAX_VALUES
                else "an alias contains itself."
            )
            raise _error(self.name, node.start_mark.line + 1, what, "Write the values out instead of `*aliases`.")
        self._open.add(id(node))
        try:
            if isinstance(node, yaml.MappingNode):
                return self._mapping(node, path)
            if isinstance(node, yaml.SequenceNode):
                return self._sequence(node, path)
            return self._scalar(node, path)
        finally:
            self._open.discard(id(node))

    def _mapping(self, node: yaml.MappingNode, path: Path) -> dict[str, Any]:
        result: dict[str, Any] = {}
        merged: dict[str, Any] = {}
        for key_node, value_node in node.value:
            line = key_node.start_mark.line + 1
            if key_node.tag == "tag:yaml.org,2002:merge":
                for source in self._merged(value_node):
                    below = self.value(source, path)
                    if isinstance(below, dict):
                        merged = {**below, **merged}
                continue
            key = self._scalar(key_node, path) if isinstance(key_node, yaml.ScalarNode) else None
            if not isinstance(key, str):
                self.problems.append(
                    Problem(self.name, line, dotted(path), "a key is not text.", "Write a plain key name.")
                )
                continue
            here = (*path, key)
            if key in result:
                first = self.lines[here]
                fix = f"It stands on line {first} already: keep one of the two."
                self.problems.append(Problem(self.name, line, dotted((*path, key)), "the key is there twice.", fix))
                continue
            self.lines[here] = line
            result[key] = self.value(value_node, here)
        return {**merged, **result}

    @staticmethod
    def _merged(node: yaml.Node) -> Iterator[yaml.Node]:
        yield from node.value if isinstance(node, yaml.SequenceNode) else [node]

    def _sequence(self, node: yaml.SequenceNode, path: Path) -> list[Any]:
        items = []
        for index, item in enumerate(node.value):
            here = (*path, index)
            self.lines[here] = item.start_mark.line + 1
            items.append(self.value(item, here))
        return items

    def _scalar(self, node: yaml.Node, path: Path) -> Hashable:
        try:
            value: Hashable = self._scalars.construct_object(node)
        except (yaml.YAMLError, ValueError) as error:
            what = f"{getattr(node, 'value', '')!r} cannot be read ({str(error).splitlines()[0]})."
            self.problems.append(Problem(self.name, node.start_mark.line + 1, dotted(path), what, "Put it in quotes."))
            return None
        return value
