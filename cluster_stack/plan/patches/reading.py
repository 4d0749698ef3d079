"""Reading an item of a ``patches`` list: a mapping, a text with one or more YAML documents, or ``@`` and a file."""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path as FilePath
from pathlib import PurePosixPath
from typing import Any

import yaml

from cluster_stack.config import document as yaml_document
from cluster_stack.config.document import Document, Path, dotted
from cluster_stack.config.problems import ConfigError, Problem
from cluster_stack.plan.patches.words import nearest_word

JSON6902 = (
    "a list of operations (JSON 6902) cannot patch a configuration of several documents.",
    "Write the keys as they stand in the configuration, such as `machine: {sysctls: {vm.swappiness: 10}}`; "
    "to remove one, write `$patch: delete` below it.",
)
"""What is wrong and what to write instead."""

LineOf = Callable[[int], int]
"""The line of the file for a line of a text, both counted from 1; 0 is the text as a whole."""


@dataclass(frozen=True)
class Place:
    """Where an item of a ``patches`` list stands: the cluster.yaml, and the item's path in it."""

    document: Document
    path: Path


@dataclass(frozen=True)
class PatchDocument:
    """One YAML document of a patch."""

    data: dict[str, Any]
    text: str | None
    """As the user wrote it. None where Talos gets the values alone: of a mapping of cluster.yaml, and of a document
    with merge keys (``<<``), which Talos knows only in mappings of free keys."""
    document: Document
    """Knows the lines: of the patch's file, or of cluster.yaml."""
    root: Path
    """Where ``data`` stands in ``document``."""

    def problem(self, path: Path, what: str, fix: str) -> Problem:
        """A problem at a path of ``data``."""
        return self.document.problem((*self.root, *path), what, fix)

    def written(self, path: Path, value: object) -> str:
        """How a scalar of ``data`` stands in the file: YAML reads ``off`` as false and 1.10 as 1.1."""
        return value if isinstance(value, str) else self.document.written.get((*self.root, *path), as_json(value))


def as_json(value: object) -> str:
    """The value as Talos gets it, where it does not get the user's own text."""
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False)


def read(item: Mapping[str, Any] | str, *, folder: FilePath, where: Place) -> list[PatchDocument]:
    """Read one item of a ``patches`` list: the YAML documents in it, at least one.

    ``folder`` is that of cluster.yaml; a file of patches is inside it. Raises ConfigError with every problem found.
    """
    if not isinstance(item, str):
        return [PatchDocument(dict(item), None, where.document, where.path)]
    if item.startswith("@"):
        return _file(item[1:], folder, where)
    return _inline(item, folder, where)


def as_patch_texts(documents: Iterable[PatchDocument]) -> list[str]:
    """What the Talos provider takes as ``config_patches``: one text for each document, in the same order.

    A text of the user's is handed on as it is: Talos knows the type of every key, so that it reads ``auto: off`` as the
    word, where a reader of YAML alone sees a boolean.
    """
    return [as_json(document.data) if document.text is None else document.text for document in documents]


def _file(name: str, folder: FilePath, where: Place) -> list[PatchDocument]:
    home = PurePosixPath(where.document.name).parent
    file = str(home / name)
    advice = f"Write @patches/<file> for a file in {home}/patches/."
    try:
        path = (folder / name).resolve()
        if not path.is_relative_to(folder.resolve()):
            raise _refusal(where, f"{file} is outside the cluster's folder.", advice)
        if not path.is_file():
            raise _refusal(where, f"there is no file {file}.", _nearest_file(name, folder) or advice)
        with path.open("rb") as opened:
            raw = opened.read(yaml_document.MAX_BYTES + 1)
    except (OSError, RuntimeError, ValueError) as error:  # no permission; links in a circle; a NUL in the name
        reason = error.strerror if isinstance(error, OSError) else error
        raise _refusal(where, f"{file} cannot be read: {reason}.", advice) from None
    if len(raw) > yaml_document.MAX_BYTES:
        what = f"the file has more than {yaml_document.MAX_BYTES:,} bytes."
        raise ConfigError([Problem(file, 0, "", what, "Is it a patch? Those are small.")])
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw[: error.start].count(b"\n") + 1
        what = f"byte {error.start} is not UTF-8."
        raise ConfigError([Problem(file, line, "", what, "Save the file as UTF-8.")]) from None
    documents = _documents(text, file, (), lambda line: line)
    if not documents:
        raise ConfigError([Problem(file, 0, "", "there is no patch in the file.", "Write one, or remove the item.")])
    return documents


def _nearest_file(name: str, folder: FilePath) -> str:
    found = (path.relative_to(folder).as_posix() for path in folder.rglob("*.y*ml"))
    near = nearest_word(name, sorted(path for path in found if path != "cluster.yaml"))
    return f"Did you mean @{near}?" if near else ""


def _inline(text: str, folder: FilePath, where: Place) -> list[PatchDocument]:
    first = where.document.line(where.path)
    # In a block (`- |`) every line of the text is one of the file; in quotes it is not, so that of the item has to do.
    block = _is_block(text, first, folder)
    documents = _documents(text, where.document.name, where.path, lambda line: first + line if block else first)
    if not documents:
        raise _refusal(where, "there is no patch in the text.", "Write one, or remove the item.")
    return documents


def _is_block(text: str, line: int, folder: FilePath) -> bool:
    """Whether the lines of the text stand one by one in cluster.yaml, below ``line``."""
    try:
        below = (folder / "cluster.yaml").read_text(encoding="utf-8").split("\n")[line:]
    except (OSError, UnicodeDecodeError):
        return False
    wanted = text.rstrip("\n").split("\n")
    return [found.strip() for found in below[: len(wanted)]] == [found.strip() for found in wanted]


def _refusal(where: Place, what: str, fix: str) -> ConfigError:
    return ConfigError([where.document.problem(where.path, what, fix)])


def _documents(text: str, name: str, root: Path, line_of: LineOf) -> list[PatchDocument]:
    """The YAML documents of a text."""
    found: list[PatchDocument] = []
    problems: list[Problem] = []
    for before, part in _split(text):
        node = _first_node(part)
        line = line_of(before + (node.start_mark.line if node and node.start_mark else 0) + 1)
        if isinstance(node, yaml.StreamEndEvent) or (isinstance(node, yaml.ScalarEvent) and _is_empty(node)):
            continue
        if isinstance(node, yaml.SequenceStartEvent):
            problems.append(Problem(name, line, dotted(root), *JSON6902))
        elif isinstance(node, yaml.ScalarEvent):
            fix = "Start it with `machine:` or `cluster:`, or with `apiVersion: v1alpha1` and a `kind:`."
            problems.append(Problem(name, line, dotted(root), "the patch is not a mapping of keys.", fix))
        else:
            try:
                parsed = yaml_document.parse(("\n" * before + part).encode("utf-8", "surrogatepass"), name)
            except ConfigError as error:
                problems += (_moved(problem, root, line_of) for problem in error.problems)
                continue
            # A line end, because Talos takes a text without white space for the name of a file.
            ended = part if part.endswith("\n") else part + "\n"
            document = _placed(parsed, root, line, line_of)
            found.append(PatchDocument(parsed.data, None if _merges(part) else ended, document, root))
    if problems:
        raise ConfigError(problems)
    return found


_MARKER = re.compile(r"^---(?=\s|$)", re.MULTILINE)


def _split(text: str) -> Iterator[tuple[int, str]]:
    """The documents of a YAML text, each with the number of lines before it."""
    starts = [0, *(match.start() for match in _MARKER.finditer(text))]
    for start, end in zip(starts, [*starts[1:], len(text)], strict=True):
        yield text.count("\n", 0, start), text[start:end]


def _first_node(text: str) -> yaml.Event | None:
    """The event that begins a YAML document, or the end; None where the text stops being YAML before that."""
    try:
        for event in yaml.parse(text, Loader=yaml.CSafeLoader):
            if isinstance(event, (yaml.NodeEvent, yaml.StreamEndEvent)):
                return event
    except yaml.YAMLError:
        pass
    return None


def _is_empty(node: yaml.ScalarEvent) -> bool:
    return not node.style and node.value in {"", "~", "null"}


def _merges(text: str) -> bool:
    """Whether there is a merge key in a YAML text."""
    return "<<" in text and any(
        isinstance(event, yaml.ScalarEvent) and event.value == "<<" and not event.style
        for event in yaml.parse(text, Loader=yaml.CSafeLoader)
    )


def _placed(parsed: Document, root: Path, line: int, line_of: LineOf) -> Document:
    """A document of a text as a part of the file that the text stands in."""
    lines = {(*root, *path): line_of(number) for path, number in parsed.lines.items()} | {root: line}
    written = {(*root, *path): text for path, text in parsed.written.items()}
    return Document(parsed.name, parsed.data, lines, written)


def _moved(problem: Problem, root: Path, line_of: LineOf) -> Problem:
    """A problem of a text as one of the file that the text stands in."""
    key = ".".join(part for part in (dotted(root), problem.key) if part)
    return dataclasses.replace(problem, line=line_of(problem.line), key=key)
