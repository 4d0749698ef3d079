"""The page about all keys of cluster.yaml, for people."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import takewhile
from typing import Any

from cluster_stack.config.models import Model
from cluster_stack.config.reference.keys import ITEM, NAMED, Key, Path, dotted, keys
from cluster_stack.config.reference.kinds import KINDS, described_by
from cluster_stack.config.reference.schema import COMMAND, Schema, at, plain

_BEGINNING = f"""\
# cluster.yaml, key by key

`clusters/<name>/cluster.yaml` describes one cluster. This page has all its keys, and the [example](#example) at the end
uses them. Any other key is refused, with the name of the nearest one that exists.

In the paths, `[]` is each item of a list and `<name>` a name that you choose. A key that is not **required** may be
left out: what happens then stands under Default, or after "Without it" in its meaning; else it is as if it were empty.
Quantities are numbers without a unit: memory in MB (8192 of them are 8 GB), disks in GB.

An editor with [yaml-language-server](https://github.com/redhat-developer/yaml-language-server) (in VS Code, Red Hat's
extension "YAML") completes and explains the keys when this is the first line of the file:

```yaml
# yaml-language-server: $schema=../../schema/cluster.schema.json
```

It sees each value by itself. `python -m cluster_stack check` also knows what several values must be together.

<!-- Made from cluster_stack/config/models by `{COMMAND}`. -->
"""

_EXAMPLE = """\
## Example

It has every key. Some exclude others: those have a `#` right before them.
"""

_KINDS_TITLE = "Kinds of values"
_LONGEST_EXAMPLE = 60


def page(schema: Schema, examples: Mapping[Path, Any], example: str) -> str:
    """The page in Markdown; ``example`` is the text of a whole file."""
    sections = _sections()
    parts = [_BEGINNING]
    parts += [_section(section, sections, schema, examples) for section in sections.values()]
    parts += [_kinds(), f"{_EXAMPLE}\n```yaml\n{example}```\n"]
    return "\n".join(parts)


@dataclass(frozen=True)
class _Section:
    """What one model says, and the places in the file where it says so."""

    meaning: str
    places: list[Path]
    keys: list[Key]
    """At the first of those places."""

    @property
    def title(self) -> str:
        return f"`{_braced(self.places)}`" if self.places[0] else "The file"


def _sections() -> dict[type[Model], _Section]:
    """One section for each model, in the order of the file."""
    sections: dict[type[Model], _Section] = {}
    for key in keys():
        place = key.path[:-1]
        section = sections.setdefault(key.owner, _Section(" ".join((key.owner.__doc__ or "").split()), [], []))
        if place not in section.places:
            section.places.append(place)
        if place == section.places[0]:
            section.keys.append(key)
    return sections


def _braced(places: list[Path]) -> str:
    """Several paths as a shell writes them: ``topology.{controlPlane,workers}.disks[]``."""
    if len(places) == 1:
        return dotted(places[0])
    before = _common(places)
    after = _common([place[len(before) :][::-1] for place in places])[::-1]
    between = [dotted(place[len(before) : len(place) - len(after)]) for place in places]
    return dotted((*before, f"{{{','.join(between)}}}", *after))


def _common(paths: list[Path]) -> Path:
    """The parts with which all of the paths begin."""
    return tuple(parts[0] for parts in takewhile(lambda parts: len(set(parts)) == 1, zip(*paths, strict=False)))


def _section(
    section: _Section, sections: Mapping[type[Model], _Section], schema: Schema, examples: Mapping[Path, Any]
) -> str:
    top = len([part for part in section.places[0] if part not in (ITEM, NAMED)]) < 2
    lines = [f"{'##' if top else '###'} {section.title}", ""]
    if section.meaning:
        lines += [section.meaning, ""]
    lines += _table("Key", "Type", "Default", "Meaning", "Example")
    for key in section.keys:
        node = at(schema, key.path)
        if key.below:
            kind, example = _link(_mapping(key, at(schema, key.below)), _heading(key.below, sections)), ""
        else:
            kind, example = _words(node), f"`{_example(key.name, examples[key.path])}`"
        default = "**required**" if key.required else f"`{plain(node['default'])}`" if "default" in node else ""
        lines.append(_row(f"`{key.name}`", kind, default, key.description, example))
    for other in sections.values():
        if other is not section and set(section.places) <= set(other.places):
            lines += ["", f"And the keys of {_link(other.title, other.title)}."]
    return "\n".join(lines) + "\n"


def _table(*titles: str) -> list[str]:
    return [_row(*titles), f"|{'---|' * len(titles)}"]


def _row(*cells: str) -> str:
    return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"


def _heading(place: Path, sections: Mapping[type[Model], _Section]) -> str:
    """Title of the section about the keys of a place, not about those that it shares with more places than another."""
    return min((section for section in sections.values() if place in section.places), key=lambda s: len(s.places)).title


def _link(text: str, title: str) -> str:
    """A link to a heading of this page, by the anchor that GitHub gives it."""
    anchor = re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-")
    return f"[{text}](#{anchor})"


def _mapping(key: Key, below: Schema) -> str:
    """The type of a value that has keys, or whose items have."""
    mappings = "mappings" if below["type"] == "object" else "names or mappings"
    match key.below[len(key.path) :] if key.below else ():
        case (part,) if part == ITEM:
            return f"list of {mappings}"
        case (part,) if part == NAMED:
            return f"{mappings} by name"
        case _:
            return "mapping"


def _words(node: Schema) -> str:
    """The type of a value that has no keys of its own."""
    kind = described_by(node)
    if kind:
        return _link(kind.name, _KINDS_TITLE)
    choices = node.get("enum", [node["const"]] if "const" in node else [])
    if choices:
        return _either([f"`{plain(choice)}`" for choice in choices])
    match node["type"]:
        case "boolean":
            return "true or false"
        case "integer":
            return f"whole number{_of_unit(node)}{_bounds(node)}"
        case "array":
            return f"list of {_many(_words(node['items']))}"
        case "object" if "propertyNames" in node:
            return f"mapping of {_many(_words(node['propertyNames']))} to {_many(_words(node['additionalProperties']))}"
        case "object":
            return "mapping"
        case _:
            return "text"


def _either(words: list[str]) -> str:
    return f"{', '.join(words[:-1])} or {words[-1]}" if len(words) > 1 else words[0]


def _of_unit(node: Schema) -> str:
    return f" of {node['unit']}" if "unit" in node else ""


def _bounds(node: Schema) -> str:
    low, high = node.get("minimum"), node.get("maximum")
    if low is None:
        return "" if high is None else f", {high} at most"
    return f", {low} or more" if high is None else f", {low} to {high}"


def _many(words: str) -> str:
    """The plural of a type, which may be a link."""
    text, bracket, rest = words.partition("]")
    return f"{text}{'es' if text.endswith(('s', 'ch')) else 's'}{bracket}{rest}"


def _example(name: str, value: Any) -> str:
    """``name: value``; of a long list, as many items as there is room for."""
    while True:
        text = f"{name}: {plain(value)}"
        if len(text) <= _LONGEST_EXAMPLE or not isinstance(value, list) or len(value) < 2:
            return text
        value = value[:-1]


def _kinds() -> str:
    rows = [_row(kind.name, kind.form, f"`{plain(kind.example)}`") for kind in dict.fromkeys(KINDS.values())]
    return "\n".join([f"## {_KINDS_TITLE}", "", *_table("Kind", "What to write", "Example"), *rows]) + "\n"
