"""What the API of the cluster takes: Kubernetes', Flux', and that of the components, each in the cluster's version."""

from __future__ import annotations

import difflib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path as FilePath
from typing import Any

from jsonschema import Draft202012Validator, ValidationError, validators
from jsonschema.protocols import Validator

from cluster_stack.config.document import Path, shown

_DATA = FilePath(__file__).parent / "data"
KUBERNETES = _DATA / "kubernetes.json"
FLUX = _DATA / "flux.json"
FILE_NAME = "schemas.json"


@dataclass(frozen=True)
class Mistake:
    """What is wrong with an object, and where in it."""

    path: Path
    what: str
    fix: str


@dataclass(frozen=True)
class Api:
    """The kinds of one file of schemas, at one minor version of what the file describes."""

    file: FilePath
    name: str
    minor: int = 0
    prefix: str = ""
    """What stands before the minor in its version: the `1.` of Kubernetes 1.34."""

    @property
    def product(self) -> str:
        return f"{self.name} {self.prefix}"

    @cached_property
    def _data(self) -> Mapping[str, Any]:
        return _packaged(self.file) if self.file.parent == _DATA else _read(self.file)

    @property
    def kinds(self) -> Mapping[str, Mapping[str, Any]]:
        """``group/version Kind`` -> its schema."""
        found: Mapping[str, Mapping[str, Any]] = self._data["x-kinds"]
        return found

    @cached_property
    def groups(self) -> set[str]:
        return {kind.partition(" ")[0].rpartition("/")[0] for kind in self.kinds}

    @property
    def source(self) -> str:
        return str(self._data.get("x-source", ""))

    @property
    def chart(self) -> str:
        """The version of the chart whose values are known; empty where none are."""
        return str(self._data.get("x-chart", ""))

    def namespaced(self, kind: str) -> bool:
        return self.kinds[kind].get("x-scope") == "Namespaced"

    def mistakes(self, kind: str, manifest: Mapping[str, Any]) -> list[Mistake]:
        schema = self.kinds[kind]
        if why := _out_of_range(schema, self.minor, self.product):
            near = [other for other in self.kinds if self._same_kind(kind, other)]
            return [Mistake(("apiVersion",), f"{kind}: {why}", f"Write {near[0].partition(' ')[0]}." if near else "")]
        return self._found({**schema, "$defs": self._data["$defs"]}, manifest)

    def _same_kind(self, kind: str, other: str) -> bool:
        group, name = kind.partition(" ")[0].rpartition("/")[0], kind.partition(" ")[2]
        here = other.partition(" ")[0].rpartition("/")[0] == group and other.partition(" ")[2] == name
        return here and other != kind and not _out_of_range(self.kinds[other], self.minor, self.product)

    def nearest(self, kind: str) -> list[str]:
        """Kinds that a wrong one may be meant for: another version first, then another spelling."""
        same = [other for other in self.kinds if self._same_kind(kind, other)]
        return same or difflib.get_close_matches(kind, self.kinds, n=1, cutoff=0.8)

    def value_mistakes(self, values: Mapping[str, Any]) -> list[Mistake]:
        """What is wrong with the values of a HelmRelease, by its chart's own word."""
        schema = self._data.get("x-values")
        return self._found(schema, values) if schema else []

    def _found(self, schema: Mapping[str, Any], instance: Any) -> list[Mistake]:
        validator = _validator(self.minor, self.product)(schema)
        return [mistake for error in validator.iter_errors(instance) for mistake in _told(error)]


@cache
def _packaged(file: FilePath) -> Mapping[str, Any]:
    """A file of this package, which all clusters share and nobody changes."""
    return _read(file)


def _read(file: FilePath) -> Mapping[str, Any]:
    found: Mapping[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    return found


def _out_of_range(schema: Mapping[str, Any], minor: int, product: str) -> str:
    if minor < (since := schema.get("x-since", minor)):
        return f"it comes with {product}{since}, and this is {product}{minor}."
    if minor > (until := schema.get("x-until", minor)):
        return f"the last that had it was {product}{until}, and this is {product}{minor}."
    return ""


@cache
def _validator(minor: int, product: str) -> type[Validator]:
    """JSON Schema with a word for keys that not every version has."""

    def in_range(_: Validator, __: int, ___: object, schema: Mapping[str, Any]) -> Iterator[ValidationError]:
        if why := _out_of_range(schema, minor, product):
            yield ValidationError(why)

    keywords: dict[str, Callable[..., Iterator[ValidationError]]] = {"x-since": in_range, "x-until": in_range}
    extended: type[Validator] = validators.extend(Draft202012Validator, keywords)  # type: ignore[no-untyped-call]
    return extended


def _told(error: ValidationError) -> Iterator[Mistake]:
    path: Path = tuple(error.absolute_path)
    keyword = error.validator
    value: Any = error.instance
    wanted: Any = error.validator_value
    schema: Any = error.schema
    match keyword:
        case "additionalProperties":
            known = list(schema.get("properties", {}))
            for name in value:
                if name not in known:
                    yield Mistake((*path, name), "there is no such key.", _instead(name, known))
        case "required":
            for name in wanted:
                if name not in value:
                    yield Mistake(path, f"the key {name} is missing.", "Write it.")
        case "type":
            names = wanted if isinstance(wanted, list) else [wanted]
            kinds = " or ".join(_KINDS[name] for name in names if name != "null")
            yield Mistake(path, f"{shown(value)} is not {kinds}.", f"Write {kinds}.")
        case "enum":
            options = ", ".join(str(option) for option in wanted if option is not None)
            yield Mistake(path, f"{shown(value)} is not known here.", f"Write one of {options}.")
        case "x-since" | "x-until":
            yield Mistake(path, error.message, "Remove it.")
        case "anyOf" | "oneOf" if error.context:
            deepest = max(error.context, key=lambda found: len(found.absolute_path))
            yield from _told(deepest)
        case _:
            yield Mistake(path, f"{error.message}.", "Mend it.")


_KINDS = {
    "object": "a mapping of keys",
    "array": "a list",
    "string": "text",
    "integer": "a whole number",
    "number": "a number",
    "boolean": "true or false",
    "null": "nothing",
}


def _instead(name: str, known: Iterable[str]) -> str:
    names = sorted(known)
    near = difflib.get_close_matches(name, names, n=1)
    shown_names = ", ".join(names[:20]) + (", ..." if len(names) > 20 else "")
    return f"Did you mean {near[0]}?" if near else f"Keys that belong here: {shown_names or 'none'}."
