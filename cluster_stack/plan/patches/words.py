"""Words for messages."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


def nearest_word(word: str, known: Iterable[str]) -> str | None:
    """The known word that an unknown one is nearest to, whatever its style of capitals and dashes."""
    folded = {name.lower(): name for name in known}
    near = difflib.get_close_matches(word.lower().replace("_", "").replace("-", ""), folded, n=1, cutoff=0.7)
    return folded[near[0]] if near else None


def choice(words: Iterable[str]) -> str:
    """``a, b or c``."""
    *some, last = words
    return f"{', '.join(some)} or {last}" if some else last


def sort(value: object) -> str:
    """What sort of value it is, in words that do not tell the value: it may be a secret."""
    match value:
        case None:
            return "an empty value"
        case bool():
            return "true or false"
        case dict():
            return "a mapping"
        case list():
            return "a list"
        case str():
            return "a text"
    return "a number"
