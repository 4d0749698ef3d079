"""``${NAME}`` in the text of an object, replaced as Flux does it after the build."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

_PART = re.compile(r"\$\$\{|\$\{([^}]*)\}")
_NAME = r"[_A-Za-z][_A-Za-z0-9]*"
_KNOWN = re.compile(rf"({_NAME})(?::?[-=](.*))?", re.DOTALL)
_DISABLED = re.compile(r"^ {4}kustomize\.toolkit\.fluxcd\.io/substitute: [\"']?disabled[\"']?$", re.MULTILINE)


def variables(text: str) -> Iterator[tuple[str, bool]]:
    """The names in a text, and whether each has a default beside it."""
    for match in _parts(text):
        if known := _KNOWN.fullmatch(match[1]):
            yield known[1], known[2] is not None


def unknown_forms(text: str) -> list[str]:
    """``${...}`` that this does not read. Flux knows more forms (functions on texts), which nothing here needs."""
    return [match[0] for match in _parts(text) if not _KNOWN.fullmatch(match[1])]


def _parts(text: str) -> Iterator[re.Match[str]]:
    if not _DISABLED.search(text):
        yield from (match for match in _PART.finditer(text) if match[1] is not None)


def substituted(text: str, values: Mapping[str, str]) -> str:
    """The text with the values in it; what has none is empty, as in Flux."""
    if _DISABLED.search(text):
        return text

    def value(match: re.Match[str]) -> str:
        if match[1] is None:
            return "${"
        known = _KNOWN.fullmatch(match[1])
        if known is None:
            return match[0]
        return values.get(known[1]) or known[2] or ""

    return _PART.sub(value, text)
