"""What pydantic finds wrong in a cluster.yaml, as sentences for a person: where, what is wrong, what to write instead.

Imported only when there is something to say.
"""

from __future__ import annotations

import re
from difflib import get_close_matches
from typing import Any, get_origin

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from cluster_stack.config import foreign_keys
from cluster_stack.config.document import MAX_PROBLEMS, Document, Path, clipped, foremost, quoted, shown
from cluster_stack.config.places import Place, every_key, place_at
from cluster_stack.config.problems import Problem
from cluster_stack.config.reference.keys import Path as KeyPath
from cluster_stack.config.reference.keys import dotted
from cluster_stack.config.reference.kinds import Kind, kind_of

_KEY = "[key]"
"""What pydantic adds to the place of a key that is wrong itself."""


def problems(document: Document, error: ValidationError) -> list[Problem]:
    """One problem for each mistake, in the order of the file; of very many, the first ones."""
    if foreign_keys.is_talhelper(document.data):
        return [document.problem(("nodes",), *foreign_keys.TALHELPER)]
    mistakes = _without_echoes(error.errors(include_url=False))
    mistakes.sort(key=lambda details: document.line(_path(details, document)))
    return foremost(_problem(document, details) for details in mistakes)


def _without_echoes(errors: list[ErrorDetails]) -> list[ErrorDetails]:
    """The errors, less those that say the same: a key that is misspelt, or in the wrong place, is not also missing."""
    unknown = [details["loc"] for details in errors if details["type"] == "extra_forbidden"][:MAX_PROBLEMS]
    meant = {(*path[:-1], near) for path in unknown if (near := _near(path))}
    for path in unknown:
        foreign = _foreign(path)
        for place in (*_elsewhere(path), foreign.place if foreign and foreign.place else ()):
            meant |= {place[:length] for length in range(1, len(place) + 1)}
    return [details for details in errors if details["type"] != "missing" or details["loc"] not in meant]


def _path(details: ErrorDetails, document: Document) -> Path:
    path = details["loc"]
    return path[:-1] if path[-1:] == (_KEY,) and path not in document.lines else path


def _problem(document: Document, details: ErrorDetails) -> Problem:
    path = _path(details, document)
    what, fix = _explain(document, details, path)
    return document.problem(path, what, fix)


def _explain(document: Document, details: ErrorDetails, path: Path) -> tuple[str, str]:
    """What is wrong, what to write instead."""
    error, value, context = details["type"], details["input"], details.get("ctx", {})
    place = place_at(path)
    if error == "cluster_yaml":
        return context["what"], context["fix"]
    if error == "extra_forbidden":
        return _unknown(path)
    if error == "missing":
        return "the key is missing.", _wanted(place)
    if path != details["loc"]:
        return _wrong_key(str(path[-1]), context)
    if value is None:
        what = "the item has no value." if isinstance(path[-1], int) else "the key has no value."
        return what, f"{'Write one.' if place.required else 'Write one, or remove it.'} {_wanted(place)}".rstrip()
    written = document.written.get(path)
    seen = shown(value) if written is None else clipped(written)
    match error:
        case "int_type" | "int_parsing" | "int_from_float":
            return f"{seen} is not a whole number.", _number_fix(value, place)
        case "bool_type" | "bool_parsing":
            return f"{seen} is neither true nor false.", "Write true or false, without quotes."
        case "string_type":
            return _not_text(seen, value, written, place)
        case "model_type" | "model_attributes_type" | "dict_type":
            return f"{seen} is not a mapping of keys.", _space(value) or _wanted(place)
        case "list_type":
            return f"{seen} is not a list.", "Write [a, b], or one `- item` a line."
        case "literal_error":
            return f"{seen} is not known here.", f"Write {context['expected']}."
        case "string_pattern_mismatch":
            return _wrong_form(seen, kind_of(context["pattern"]), place)
        case "string_too_short":
            return "the text is empty.", place.explained
    if bound := _BOUNDS.get(error):
        return _out_of_bounds(seen, bound, context, place)
    return f"{seen}: {details['msg']}.", place.meaning


_BOUNDS = {
    "greater_than_equal": ("{} is too small.", "ge", "or more"),
    "less_than_equal": ("{} is too large.", "le", "or less"),
    "too_short": ("the list is too short.", "min_length", "or more"),
    "too_long": ("the list is too long.", "max_length", "or less"),
}
"""Pydantic's name -> what is wrong, where pydantic has the bound, on which side of it the right values are."""


def _out_of_bounds(seen: str, bound: tuple[str, str, str], context: dict[str, Any], place: Place) -> tuple[str, str]:
    what, name, side = bound
    items = "item" if context[name] == 1 else "items"
    amount = f"{context[name]} {items if name.endswith('length') else place.unit}".rstrip()
    return what.format(seen), f"Write {amount} {side}. {place.meaning}".rstrip()


def _wrong_key(key: str, context: dict[str, Any]) -> tuple[str, str]:
    """For a name that the user chooses."""
    kind = kind_of(context.get("pattern"))
    if kind:
        return f"{quoted(key)} is not a {kind.name}.", _form(kind)
    return "the name is empty.", "Write one."


def _wrong_form(seen: str, kind: Kind | None, place: Place) -> tuple[str, str]:
    if kind:
        return f"{seen} is not a {kind.name}.", _form(kind)
    return f"{seen} does not have the right form.", place.explained


def _form(kind: Kind) -> str:
    return f"Write {kind.form}: {kind.example}."


def _not_text(seen: str, value: object, written: str | None, place: Place) -> tuple[str, str]:
    if written is None:
        return f"{seen} is not text.", f"Write one text. {place.meaning}".rstrip()
    if place.pattern and not re.fullmatch(place.pattern, written):
        return _wrong_form(seen, kind_of(place.pattern), place)
    reading = f" (YAML reads it as {shown(value)})" if isinstance(value, bool) and written != shown(value) else ""
    return f"{seen} is not text{reading}.", f'Put it in quotes: "{written}".'


_QUANTITY = re.compile(r"\s*(\d{1,9}(?:\.\d{1,9})?)\s*([kKmMgGtT])i?[bB]?\s*", re.ASCII)
_MEGABYTES = {"k": 1 / 1024, "m": 1, "g": 1024, "t": 1024 * 1024}


def _number_fix(value: object, place: Place) -> str:
    text = value if isinstance(value, str) else ""
    match = _QUANTITY.fullmatch(text)
    if place.unit in {"MB", "GB"} and match:
        amount = float(match[1]) * _MEGABYTES[match[2].lower()] / (1 if place.unit == "MB" else 1024)
        return f"Write {round(amount)}: the number of {place.unit}, without a unit."
    if re.fullmatch(r"-?\d{1,18}", text, re.ASCII):
        return f"Write {int(text)}, without quotes."
    if isinstance(value, float) and value.is_integer():
        return f"Write {int(value)}."
    if place.unit:
        return f"Write the number of {place.unit}, without a unit."
    return f"Write a number, for example {place.example}."


def _unknown(path: Path) -> tuple[str, str]:
    if foreign := _foreign(path):
        return foreign.what, foreign.fix
    what, known = "there is no such key.", f"Keys that belong here: {', '.join(place_at(path[:-1]).keys)}."
    if places := _elsewhere(path):
        return what, f"Write it as {' or '.join(dotted(place) for place in places)}. {known}"
    near = _near(path)
    return what, f"Did you mean {near}? {known}" if near else known


def _foreign(path: Path) -> foreign_keys.Answer | None:
    """What another system's key is here, unless it is one of ours in another style: control_plane."""
    return None if _folded(path) in _siblings(path) else foreign_keys.answer(path)


def _near(path: Path) -> str | None:
    """The known key that an unknown one is nearest to, whatever its style of capitals and dashes."""
    if _foreign(path):
        return None
    near = get_close_matches(_folded(path), _siblings(path), n=1, cutoff=0.5)
    return _siblings(path)[near[0]] if near else None


def _elsewhere(path: Path) -> list[KeyPath]:
    """Where else an unknown key is known, if that says more than a key like it in the same place."""
    wanted = _folded(path)
    if _foreign(path) or get_close_matches(wanted, _siblings(path), n=1, cutoff=0.8):
        return []
    found = [key.path for key in every_key() if key.name.lower() == wanted]
    nearer = [place for place in found if place[: len(path) - 1] == path[:-1]]
    return (nearer or found) if len(nearer or found) <= 2 else []


def _siblings(path: Path) -> dict[str, str]:
    """The keys that are known where an unknown one stands, by their folded names."""
    return {key.lower(): key for key in place_at(path[:-1]).keys}


def _folded(path: Path) -> str:
    return str(path[-1])[:60].lower().replace("_", "").replace("-", "")


_NO_SPACE = re.compile(r"([A-Za-z]\w*):([^\s/].*)", re.ASCII | re.DOTALL)


def _space(value: object) -> str:
    """For ``name:homelab``, which is a text to YAML."""
    match = _NO_SPACE.fullmatch(value) if isinstance(value, str) else None
    return f"Write a space behind the colon: `{match[1]}: {clipped(match[2])}`." if match else ""


def _wanted(place: Place) -> str:
    """What to write in a place: its documentation, and the keys that belong there."""
    if not place.model:
        return f"Write `key: value`. {place.meaning}".rstrip() if get_origin(place.kind) is dict else place.meaning
    below = (
        f"It needs {_and(place.required_keys)}."
        if place.required_keys
        else f"Keys that belong here: {', '.join(place.keys)}."
    )
    return f"{place.meaning} {below}".lstrip()


def _and(names: list[str]) -> str:
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)
