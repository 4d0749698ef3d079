"""YAML text to plain data that remembers the line of every key.

Owns what YAML itself allows: encoding, size, depth, duplicate keys, aliases, tags. Knows nothing of clusters.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

import yaml

from cluster_stack.config.problems import ConfigError, Problem

# A cluster.yaml of 500 nodes with an override each is under 200 KB and 6 levels deep. What is far beyond that is a
# mistake or an attack (an alias that refers to aliases grows exponentially), and gets an answer instead of memory.
MAX_BYTES = 1_000_000
MAX_DEPTH = 40
MAX_VALUES = 50_000
MAX_PROBLEMS = 50

Path = tuple[str | int, ...]
Scalar = str | int | float | bool | None

_PLAIN_KEY = re.compile(r"[\w-]{1,60}", re.ASCII)


def dotted(path: Path) -> str:
    """``("topology", "nodePools", 0, "name")`` as ``topology.nodePools[0].name``; what is no plain name in quotes."""
    text = ""
    for part in path:
        if isinstance(part, int):
            text += f"[{part}]"
        elif _PLAIN_KEY.fullmatch(part):
            text += f".{part}" if text else part
        else:
            text += f"[{quoted(part)}]"
    return text


def clipped(text: str) -> str:
    """A text of at most 60 characters."""
    return text if len(text) <= 60 else f"{text[:57]}..."


def quoted(text: str) -> str:
    """A text as a message shows it: in quotes, on one line, not endless."""
    return repr(clipped(text))


def shown(value: object) -> str:
    """A value of the file, as a message shows it."""
    match value:
        case str():
            return quoted(value)
        case None:
            return "nothing"
        case bool():
            return str(value).lower()
        case dict():
            return "a mapping"
        case list():
            return "a list"
    return str(value)


@dataclass(frozen=True)
class Document:
    """Plain data (dict, list, str, int, float, bool, None) and the line on which each path of it stands."""

    name: str
    data: dict[str, Any]
    lines: dict[Path, int] = field(repr=False)
    written: dict[Path, str] = field(default_factory=dict, repr=False)
    """How the values that are not text stand in the file: YAML reads ``yes`` as true and ``0x1f`` as 31."""

    def line(self, path: Path) -> int:
        """The line of a key, or of the nearest key above it that is in the file."""
        while path and path not in self.lines:
            path = path[:-1]
        return self.lines.get(path, 1)

    def problem(self, path: Path, what: str, fix: str) -> Problem:
        return Problem(self.name, self.line(path), dotted(path), what, fix)


def foremost(problems: Iterable[Problem]) -> list[Problem]:
    """The problems, or the first of very many and a line that says so."""
    found = list(islice(problems, MAX_PROBLEMS + 1))
    for further in found[MAX_PROBLEMS:]:
        what = "there are further mistakes from here on."
        found[MAX_PROBLEMS] = Problem(further.file, further.line, "", what, "Mend the others first.")
    return found


def parse(raw: bytes, name: str, *, beginning: str = "") -> Document:
    """Parse the bytes of one YAML file. ``name`` stands in messages, and ``beginning`` in those of a file without keys.

    Raises ConfigError for anything that is not one YAML mapping of reasonable size with unique keys.
    """
    if len(raw) > MAX_BYTES:
        raise _error(name, 0, f"the file has more than {MAX_BYTES:,} bytes.", "Is it a cluster.yaml? Those are small.")
    text = _decoded(raw, name)
    try:
        _refuse_size(text, name)
        root = yaml.compose(text, Loader=yaml.CSafeLoader)
    except yaml.MarkedYAMLError as error:
        raise _error(name, *_explain(error, text)) from None
    if root is None:
        raise _error(name, 0, "the file is empty.", beginning or "Start from clusters/homelab/cluster.yaml.")
    if not isinstance(root, yaml.MappingNode):
        raise _error(name, 1, "the file is not a mapping of keys.", beginning or "Start it with `metadata:`.")
    builder = _Builder(name)
    data = builder.value(root, ())
    if builder.problems:
        raise ConfigError(foremost(builder.problems))
    assert isinstance(data, dict)
    return Document(name, data, builder.lines, builder.written)


_NOT_PRINTABLE = re.compile("[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
"""What no YAML file may hold (YAML 1.2.2, 5.1)."""


def _decoded(raw: bytes, name: str) -> str:
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw[: error.start].count(b"\n") + 1
        raise _error(name, line, f"byte {error.start} is not UTF-8.", "Save the file as UTF-8.") from None
    if found := _NOT_PRINTABLE.search(text):
        line = text.count("\n", 0, found.start()) + 1
        raise _error(name, line, f"there is a control character, {found[0]!r}.", "Remove it.")
    return text


def _error(name: str, line: int, what: str, fix: str) -> ConfigError:
    return ConfigError([Problem(name, line, "", what, fix)])


_LOOK = "Check the indentation, quotes and brackets on this line and the one above."
_YAML_PROBLEMS: tuple[tuple[str, str, str], ...] = (
    (
        "tab character|start any token: '\\\\t'",
        "a tab is used for indentation.",
        "YAML allows only spaces there: write two spaces for each level.",
    ),
    (
        "start any token: '(.)'|scanning an (?:alias|anchor)",
        "a text begins with a character that has a meaning of its own in YAML.",
        "Put the text in quotes.",
    ),
    (
        "undefined alias",
        "there is no `&anchor` above for this `*alias`.",
        "Write the anchor's name as it stands there, or put a text that begins with `*` in quotes.",
    ),
    (
        "mapping values are not allowed",
        "there is a `:` where YAML expects none.",
        "Check the indentation of this line and the one above, and put a text with `: ` in it in quotes.",
    ),
    ("could not find expected ':'", "there is no `:` behind a key.", "Write `key: value`."),
    ("did not find expected key", "there is no key where YAML expects one.", _LOOK),
    (
        "block sequence entries",
        "a list begins in the middle of a line.",
        "Begin each item on a line of its own: `- item`.",
    ),
    ("expected ',' or '\\]'", "the list that begins here lacks a `]` or a `,`.", "Write [a, b]."),
    ("expected ',' or '}'", "the mapping that begins here lacks a `}` or a `,`.", "Write {key: value, key: value}."),
    ("another document", "a second document begins here (`---`).", "Keep one: a file describes one cluster."),
    ("unexpected end of stream", "the quotes that begin here do not end.", "Close them."),
    ("unknown escape", "a backslash has a meaning of its own in double quotes.", "Write 'single quotes' instead."),
)
"""What libyaml says (a regular expression) -> what is wrong, what to write instead."""

_BEGINS = re.compile("end of stream|expected ',' or")
"""Problems that libyaml finds far behind their cause, which is where it began to read the thing."""


def _explain(error: yaml.MarkedYAMLError, text: str) -> tuple[int, str, str]:
    """Line, what is wrong, what to write instead."""
    said = f"{error.problem} ({error.context})" if error.context else f"{error.problem}"
    mark = error.problem_mark or error.context_mark
    if _BEGINS.search(said) and error.context_mark:
        mark = error.context_mark
    if mark and "cannot start any token" in said:
        said = f"cannot start any token: {text.splitlines()[mark.line][mark.column]!r}"
    line = mark.line + 1 if mark else 0
    for pattern, what, fix in _YAML_PROBLEMS:
        if re.search(pattern, said):
            return line, what, fix
    return line, f"not YAML: {said}.", _LOOK


def _refuse_size(text: str, name: str) -> None:
    """PyYAML composes recursively and all at once, so what is too much is refused on its stream of events before."""
    depth = count = 0
    for event in yaml.parse(text, Loader=yaml.CSafeLoader):
        if isinstance(event, yaml.NodeEvent):
            count += 1
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1
        if depth > MAX_DEPTH or count > MAX_VALUES:
            line = event.start_mark.line + 1 if event.start_mark else 0
            raise _too_deep(name, line) if depth > MAX_DEPTH else _too_much(name, line)


def _too_deep(name: str, line: int) -> ConfigError:
    return _error(name, line, f"nested more than {MAX_DEPTH} levels deep.", "No key of cluster.yaml is that deep.")


def _too_much(name: str, line: int) -> ConfigError:
    what = f"there are more than {MAX_VALUES:,} values, aliases counted in full."
    return _error(name, line, what, "Keep to those that the cluster needs.")


_TAG = "tag:yaml.org,2002:"
_SCALARS = {_TAG + kind for kind in ("null", "bool", "int", "float")}
_TEXTS = {_TAG + kind for kind in ("str", "timestamp", "value")}
"""Text, and what other readers of YAML take for text: YAML 1.2 knows neither dates nor ``=``."""
_SEXAGESIMAL = re.compile(r"[-+]?[0-9][0-9_]*(:[0-5]?[0-9])+(\.[0-9_]*)?")
"""A number to YAML 1.1 and PyYAML, text to YAML 1.2: the time 12:30, the MAC address 10:20:30:40:50:11."""
_OCTAL = re.compile(r"[-+]?0[0-9_]+")
_LARGEST = 2**63


class _Builder:
    """The values of composed nodes."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.lines: dict[Path, int] = {}
        self.written: dict[Path, str] = {}
        self.problems: list[Problem] = []
        self._scalars = yaml.constructor.SafeConstructor()
        self._values = 0
        self._open: list[yaml.Node] = []
        """The nodes that are being read, each inside the one before it, aliases followed."""

    def value(self, node: yaml.Node, path: Path) -> object:
        self._enter(node)
        try:
            if isinstance(node, yaml.MappingNode):
                return self._mapping(node, path)
            if isinstance(node, yaml.SequenceNode):
                return self._sequence(node, path)
            return self._scalar(node, path)
        finally:
            self._open.pop()

    def _enter(self, node: yaml.Node) -> None:
        line = node.start_mark.line + 1
        self._count(node)
        if any(node is outer for outer in self._open):
            raise _error(self.name, line, "an alias contains itself.", "Write the values out instead of `*alias`.")
        if len(self._open) > MAX_DEPTH:
            raise _too_deep(self.name, line)
        self._open.append(node)

    def _count(self, node: yaml.Node) -> None:
        self._values += 1
        if self._values > MAX_VALUES:
            raise _too_much(self.name, node.start_mark.line + 1)

    def _mapping(self, node: yaml.MappingNode, path: Path) -> dict[str, Any]:
        self._known_tag(node, path, {_TAG + "map"})
        result: dict[str, Any] = {}
        for key, key_node, value_node in self._entries(node, path):
            line = key_node.start_mark.line + 1
            here = (*path, key)
            if key in result:
                fix = f"It stands on line {self.lines[here]} already: keep one of the two."
                self.problems.append(Problem(self.name, line, dotted(here), "the key is there twice.", fix))
                continue
            self.lines[here] = line
            result[key] = self.value(value_node, here)
        self._merge(node, path, result)
        return result

    def _merge(self, node: yaml.MappingNode, path: Path, into: dict[str, Any]) -> None:
        """Add what the merge keys (`<<`) of a mapping bring; its own keys, and sources further ahead, win."""
        for key_node, value_node in node.value:
            if not _is_merge(key_node):
                continue
            for source in value_node.value if isinstance(value_node, yaml.SequenceNode) else [value_node]:
                if not isinstance(source, yaml.MappingNode):
                    line = key_node.start_mark.line + 1
                    what, fix = "`<<` takes a mapping.", "Write `<<: *anchor` for an `&anchor` at a mapping."
                    self.problems.append(Problem(self.name, line, dotted(path), what, fix))
                    continue
                self._enter(source)
                for key, inner_key, inner_value in self._entries(source, path):
                    self._count(inner_key)
                    here = (*path, key)
                    if key not in into:
                        self.lines[here] = inner_key.start_mark.line + 1
                        into[key] = self.value(inner_value, here)
                self._merge(source, path, into)
                self._open.pop()

    def _entries(self, node: yaml.MappingNode, path: Path) -> Iterator[tuple[str, yaml.Node, yaml.Node]]:
        """The entries of a mapping whose keys are text, without merge keys."""
        for key_node, value_node in node.value:
            if _is_merge(key_node):
                continue
            if isinstance(key_node, yaml.ScalarNode) and key_node.tag in _TEXTS:
                yield key_node.value, key_node, value_node
                continue
            what, fix = "a key is not text.", "Write a plain name."
            if isinstance(key_node, yaml.ScalarNode) and key_node.value:
                what = f"the key {clipped(key_node.value)} is not text."
                fix = f'Put it in quotes: "{clipped(key_node.value)}".'
            self.problems.append(Problem(self.name, key_node.start_mark.line + 1, dotted(path), what, fix))

    def _sequence(self, node: yaml.SequenceNode, path: Path) -> list[Any]:
        self._known_tag(node, path, {_TAG + "seq"})
        items = []
        for index, item in enumerate(node.value):
            here = (*path, index)
            self.lines[here] = item.start_mark.line + 1
            items.append(self.value(item, here))
        return items

    def _scalar(self, node: yaml.Node, path: Path) -> Scalar:
        text = str(node.value)
        self._known_tag(node, path, _SCALARS | _TEXTS)
        if node.tag not in _SCALARS or _SEXAGESIMAL.fullmatch(text):
            return text
        self.written[path] = text
        what, fix = "", "Put it in quotes if it is text."
        if node.tag == _TAG + "int" and _OCTAL.fullmatch(text):
            what = f"{clipped(text)} is octal to some readers of YAML and decimal to others."
            fix = "Write it without the leading 0, or in quotes if it is text."
        try:
            value: Scalar = self._scalars.construct_object(node)
        except (yaml.YAMLError, ValueError):  # an explicit tag on something else; more digits than Python reads
            what, value = f"{clipped(text)} cannot be read as {node.tag.removeprefix(_TAG)}.", None
        if isinstance(value, (int, float)) and not abs(value) < _LARGEST:  # which is said of nan too
            what = f"{clipped(text)} is larger than any number of this file."
        if what:
            self.problems.append(Problem(self.name, node.start_mark.line + 1, dotted(path), what, fix))
            return None
        return value

    def _known_tag(self, node: yaml.Node, path: Path, known: set[str]) -> None:
        if node.tag not in known:
            what = f"the tag {quoted(node.tag.replace(_TAG, '!!'))} means nothing here."
            self.problems.append(Problem(self.name, node.start_mark.line + 1, dotted(path), what, "Remove it."))


def _is_merge(key: yaml.Node) -> bool:
    return bool(key.tag == _TAG + "merge")
