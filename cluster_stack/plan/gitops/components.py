"""The components of ``infrastructure/``: what each folder says of itself in its component.yaml."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path as FilePath
from typing import Annotated, Any, Literal

from pydantic import ValidationError

from cluster_stack.config import ConfigError, Problem
from cluster_stack.config.document import Document, Path, parse, shown
from cluster_stack.config.models.base import Model
from cluster_stack.config.models.values import SettingName, Text, matching

Kind = Literal["core", "optional"]
KINDS: tuple[Kind, ...] = ("core", "optional")
FOLDER = "infrastructure"
SOURCES = f"{FOLDER}/sources"
FILE_NAME = "component.yaml"
BUILD_FILES = ("kustomization.yaml", "kustomization.yml", "Kustomization")
"""What kustomize looks for in a folder."""
CONFIG = "config"
"""The folder in a component for what needs the component's own CRDs, and so comes after it."""
TAKEN = ("cluster", "flux-system")
"""Names of Flux Kustomizations that are no component's."""


class Setting(Model):
    """What a person tells the component in `gitops.infrastructure.settings` of cluster.yaml."""

    about: Text
    default: str | None = None


class Secret(Model):
    """What only the stack's encrypted settings hold: `${NAME}` in manifests, and `${NAME_BASE64}` under `data`."""

    setting: Annotated[str, matching(r"^[a-zA-Z][a-zA-Z0-9]*$")]
    about: Text


class Schemas(Model):
    """The Go module that the component's APIs and its chart are taken from (`python -m toolchain.schemas`)."""

    module: Text
    version: Annotated[str, matching(r"^v\d+\.\d+\.\d+$")]
    crds: list[Text] = []
    types: list[Text] = []
    values: Text | None = None


class Declaration(Model):
    """A component.yaml."""

    title: Text
    about: Text
    namespace: Annotated[str, matching(r"^[a-z]([a-z0-9-]{0,61}[a-z0-9])?$")]
    needs: list[Text] = []
    """Components without which this one does not work; they come first."""
    after: list[Text] = []
    """Components that come first where they are selected too."""
    crds: list[Text] = []
    """API groups of other components whose objects are among its own."""
    unchecked: list[Text] = []
    """API groups of its own objects of which there is no schema here: those objects are taken as they are."""
    values: list[SettingName] = []
    """What it reads of the cluster's facts (``runtime_info``)."""
    settings: dict[SettingName, Setting] = {}
    secrets: dict[SettingName, Secret] = {}
    retired: str = ""
    """Why nobody should choose it any more; empty for those that live."""
    schemas: Schemas | None = None


@dataclass(frozen=True)
class Component:
    name: str
    kind: Kind
    declaration: Declaration
    document: Document
    root: FilePath
    """The project's folder."""

    @property
    def base(self) -> str:
        """Its folder, from the project's."""
        return f"{FOLDER}/{self.kind}/base/{self.name}"

    def folder(self, overlay: str, part: str = "") -> str | None:
        """The folder that is built: the overlay's where there is one, else the base; None without both."""
        for place in (f"{FOLDER}/{self.kind}/overlays/{overlay}/{self.name}", self.base):
            found = f"{place}/{part}" if part else place
            if is_built(self.root / found):
                return found
        return None

    def problem(self, path: Path, what: str, fix: str) -> Problem:
        return self.document.problem(path, what, fix)


def is_built(folder: FilePath) -> bool:
    return any((folder / name).is_file() for name in BUILD_FILES)


class Catalogue:
    """All components of a project. Every file is read once, and only when somebody asks."""

    def __init__(self, root: FilePath) -> None:
        self.root = root

    @property
    def exists(self) -> bool:
        return (self.root / FOLDER).is_dir()

    @cached_property
    def names(self) -> Mapping[Kind, list[str]]:
        """The folders, without a look into them."""
        return {kind: sorted(self._folders(kind)) for kind in KINDS}

    def _folders(self, kind: Kind) -> Iterator[str]:
        base = self.root / FOLDER / kind / "base"
        for folder in base.iterdir() if base.is_dir() else ():
            if folder.is_dir() and not folder.name.startswith("."):
                yield folder.name

    @cached_property
    def overlays(self) -> list[str]:
        places = (self.root / FOLDER).glob("*/overlays/*")
        return sorted({folder.name for folder in places if folder.is_dir() and not folder.name.startswith(".")})

    @cached_property
    def _read(self) -> Mapping[str, Component | ConfigError]:
        found: dict[str, Component | ConfigError] = {}
        for kind, names in self.names.items():
            for name in names:
                if name in found or name in TAKEN:
                    file = f"{FOLDER}/{kind}/base/{name}/{FILE_NAME}"
                    what = f"another component, or Flux itself, is called {name!r} already."
                    found[name] = ConfigError([Problem(file, 0, "", what, "Rename the folder: names are unique.")])
                    continue
                try:
                    found[name] = read(self.root, kind, name)
                except ConfigError as error:
                    found[name] = error
        return found

    @cached_property
    def components(self) -> Mapping[str, Component]:
        """Those that are well described."""
        return {name: found for name, found in self._read.items() if isinstance(found, Component)}

    def problems(self, names: Iterable[str]) -> list[Problem]:
        """What is wrong with the descriptions of some components."""
        errors = [self._read.get(name) for name in names]
        return [problem for error in errors if isinstance(error, ConfigError) for problem in error.problems]


def read(root: FilePath, kind: Kind, name: str) -> Component:
    """One component. Raises ConfigError."""
    shown_as = f"{FOLDER}/{kind}/base/{name}/{FILE_NAME}"
    try:
        raw = (root / shown_as).read_bytes()
    except FileNotFoundError:
        what, fix = "the component has no such file.", "Write it: docs/components.md shows one."
        raise ConfigError([Problem(shown_as, 0, "", what, fix)]) from None
    document = parse(raw, shown_as, beginning="Start it with `title:`.")
    try:
        declaration = Declaration.model_validate(document.data)
    except ValidationError as error:
        raise ConfigError(_problem(document, details) for details in error.errors(include_url=False)) from None
    component = Component(name, kind, declaration, document, root)
    if component.folder("") is None:
        what = "there is no kustomization.yaml beside this file, so there is nothing to build."
        raise ConfigError([Problem(shown_as, 0, "", what, "Write one: docs/components.md shows it.")])
    return component


def _problem(document: Document, details: Any) -> Problem:
    path, keys = tuple(details["loc"]), ", ".join(_keys(details["loc"][:-1]))
    match details["type"]:
        case "missing":
            return document.problem(path, "the key is missing.", "docs/components.md says what it means.")
        case "extra_forbidden":
            return document.problem(path, "there is no such key.", f"Keys that belong here: {keys}.")
    what = f"{shown(details['input'])} does not belong here: {details['msg'].lower()}."
    return document.problem(path, what, "docs/components.md says what it means.")


def _keys(path: Path) -> list[str]:
    """The keys that belong under a path of a component.yaml."""
    below = {"settings": Setting, "secrets": Secret, "schemas": Schemas}
    model = below.get(str(path[0]), Declaration) if path else Declaration
    return [field.alias or name for name, field in model.model_fields.items()]
