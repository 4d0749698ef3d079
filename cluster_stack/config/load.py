"""Find, read and check cluster.yaml files."""

from __future__ import annotations

import difflib
import re
import types
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from cluster_stack.config import document as yaml_document
from cluster_stack.config import rules
from cluster_stack.config.document import Document
from cluster_stack.config.documentation import description
from cluster_stack.config.models import ClusterConfig
from cluster_stack.config.problems import ConfigError, Problem

FILE_NAME = "cluster.yaml"


@dataclass(frozen=True)
class ClusterFile:
    """A checked cluster.yaml: the values, and where each of them stands."""

    config: ClusterConfig
    document: Document = field(repr=False)

    def problem(self, key: str, what: str, fix: str) -> Problem:
        """A problem at a dotted key of this file, for checks that only a later stage can make."""
        return self.document.problem(tuple(key.split(".")), what, fix)


def cluster_names(root: Path) -> list[str]:
    """The clusters of a project: the folders of ``clusters/`` that hold a cluster.yaml."""
    return sorted(file.parent.name for file in (root / "clusters").glob(f"*/{FILE_NAME}"))


def load(root: Path, name: str) -> ClusterFile:
    """Read ``<root>/clusters/<name>/cluster.yaml``. Raises ConfigError with every problem found."""
    shown = f"clusters/{name}/{FILE_NAME}"
    names = cluster_names(root)
    if name not in names:
        near = difflib.get_close_matches(name, names, n=1)
        hint = f"Did you mean {near[0]}? " if near else ""
        fix = f"{hint}Clusters here: {', '.join(names) or 'none'}. A stack has the name of its folder in clusters/."
        raise ConfigError([Problem(shown, 0, "", f"there is no cluster {name!r}.", fix)])
    try:
        raw = (root / shown).read_bytes()
    except OSError as error:
        raise ConfigError(
            [Problem(shown, 0, "", f"cannot be read: {error.strerror}.", "Check its permissions.")]
        ) from None
    return load_text(raw, shown)


def load_text(raw: bytes, name: str) -> ClusterFile:
    """Read the bytes of one cluster.yaml; ``name`` (``clusters/<folder>/cluster.yaml``) stands in messages."""
    document = yaml_document.parse(raw, name)
    try:
        config = ClusterConfig.model_validate(document.data)
    except ValidationError as error:
        raise ConfigError(_problem(document, details) for details in _mistakes(error)) from None
    problems = list(rules.check(config, document))
    if problems:
        raise ConfigError(problems)
    return ClusterFile(config, document)


def _mistakes(error: ValidationError) -> list[ErrorDetails]:
    """The errors of a validation, less those that say the same: a misspelt key is not also a missing one."""
    errors = error.errors(include_url=False)
    meant = {
        (*details["loc"][:-1], _near(details["loc"])) for details in errors if details["type"] == "extra_forbidden"
    }
    return [details for details in errors if details["type"] != "missing" or details["loc"] not in meant]


def _problem(document: Document, details: ErrorDetails) -> Problem:
    path = details["loc"]
    context = details.get("ctx", {})
    kind = details["type"]
    if kind == "cluster_yaml":
        return document.problem(path, context["what"], context["fix"])
    if kind == "extra_forbidden":
        return document.problem(path, "there is no such key.", _nearest(path))
    if kind == "missing":
        return document.problem(path, "the key is missing.", _meaning(path))
    value = _shown(details["input"])
    return document.problem(path, *_explain(kind, value, details, path))


def _explain(kind: str, value: str, details: ErrorDetails, path: tuple[int | str, ...]) -> tuple[str, str]:
    context = details.get("ctx", {})
    if kind in {"int_type", "int_parsing", "int_from_float"}:
        return f"{value} is not a whole number.", _number_fix(details["input"], path)
    if kind in {"greater_than_equal", "less_than_equal"}:
        low = kind == "greater_than_equal"
        bound = context["ge"] if low else context["le"]
        unit = f" {_unit(path)}" if _unit(path) else ""
        return (
            f"{value} is too {'small' if low else 'large'}.",
            f"Write {bound}{unit} or {'more' if low else 'less'}. {_meaning(path)}".rstrip(),
        )
    if kind in {"bool_type", "bool_parsing"}:
        return f"{value} is neither true nor false.", "Write true or false, without quotes."
    if kind == "string_type":
        return f"{value} is not text.", f"Put it in quotes. {_meaning(path)}".rstrip()
    if kind in {"model_type", "model_attributes_type", "dict_type"}:
        return f"{value} is not a mapping of keys.", f"Keys that belong here: {', '.join(_keys(path))}."
    if kind == "list_type":
        return f"{value} is not a list.", "Write [a, b], or one `- item` a line."
    if kind == "literal_error":
        return f"{value} is not known here.", f"Write {context['expected']}."
    if kind in {"string_pattern_mismatch", "string_too_short"}:
        return f"{value} does not have the right form.", _meaning(path)
    return f"{value}: {details['msg']}.", _meaning(path)


def _shown(value: object) -> str:
    text = repr(value) if isinstance(value, str) else "null" if value is None else str(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


_QUANTITY = re.compile(r"^\s*(\d+(?:\.\d+)?)\s*([kKmMgGtT])(i?)[bB]?\s*$")
_MEGABYTES = {"k": 1 / 1024, "m": 1, "g": 1024, "t": 1024 * 1024}


def _number_fix(value: object, path: tuple[int | str, ...]) -> str:
    unit = _unit(path)
    match = _QUANTITY.match(value) if isinstance(value, str) else None
    if unit and match:
        amount = float(match[1]) * _MEGABYTES[match[2].lower()] / (1 if unit == "MB" else 1024)
        return f"Write {round(amount)}: the number of {unit}, without a unit."
    if unit:
        return f"Write the number of {unit}, without a unit or quotes."
    return "Write a number without quotes."


def _near(path: tuple[int | str, ...]) -> str | None:
    """The known key that an unknown one is nearest to, whatever its style of capitals and dashes."""
    folded = {key.lower(): key for key in _keys(path[:-1])}
    wanted = str(path[-1]).lower().replace("_", "").replace("-", "")
    near = difflib.get_close_matches(wanted, folded, n=1, cutoff=0.5)
    return folded[near[0]] if near else None


def _nearest(path: tuple[int | str, ...]) -> str:
    near = _near(path)
    hint = f"Did you mean {near}? " if near else ""
    return f"{hint}Keys that belong here: {', '.join(_keys(path[:-1]))}."


def _meaning(path: tuple[int | str, ...]) -> str:
    """The key's documentation, on one line."""
    model = _model(path[:-1])
    name = next((name for name, info in model.model_fields.items() if info.alias == path[-1]), None) if model else None
    if model and name and (text := description(model, name)):
        return text
    keys = _keys(path)
    return f"Keys that belong below it: {', '.join(keys)}." if keys else ""


def _unit(path: tuple[int | str, ...]) -> str:
    model = _model(path[:-1])
    for info in model.model_fields.values() if model else ():
        if info.alias == path[-1] and isinstance(info.json_schema_extra, dict):
            return str(info.json_schema_extra.get("unit", ""))
    return ""


def _keys(path: tuple[int | str, ...]) -> list[str]:
    model = _model(path)
    return [info.alias or name for name, info in model.model_fields.items()] if model else []


def _model(path: tuple[int | str, ...]) -> type[BaseModel] | None:
    """The model that describes the mapping at ``path``."""
    annotation: object = ClusterConfig
    for part in path:
        model = _as_model(annotation)
        if model is None:
            return None
        annotation = next((info.annotation for info in model.model_fields.values() if info.alias == part), None)
    return _as_model(annotation)


def _as_model(annotation: object) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    if get_origin(annotation) in {Union, types.UnionType, Annotated, list}:
        return next((model for model in map(_as_model, get_args(annotation)) if model), None)
    return None
