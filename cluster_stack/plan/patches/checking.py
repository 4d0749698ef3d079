"""Checking patches against what Talos decodes, and against what this program writes itself.

What Talos decodes is in ``data/talos-config.schema.json``. Not a validator of JSON Schema reads it, but this module: it
is as lenient as Talos where a text is expected, it knows ``$patch: delete``, and it says what to write instead.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path as FilePath
from typing import Any

from cluster_stack.config.document import Path, dotted, shown
from cluster_stack.config.problems import Problem
from cluster_stack.config.rules import node_restriction
from cluster_stack.config.rules.images import NEWEST_TALOS_MINOR
from cluster_stack.plan.nodes import Role
from cluster_stack.plan.patches import inline_manifests
from cluster_stack.plan.patches.forms import FORMS
from cluster_stack.plan.patches.reading import JSON6902, PatchDocument, as_json
from cluster_stack.plan.patches.words import choice, nearest_word, sort

SCHEMA = FilePath(__file__).parents[1] / "data" / "talos-config.schema.json"

Schema = Mapping[str, Any]

V1ALPHA1 = "v1alpha1"
"""The version of every document; and, among the kinds, the one document that has neither version nor kind."""

_STATE = "It is among the secrets that are made once and kept, encrypted, in the stack's state: remove it."
_NAME = "A node is called after metadata.name and its number: remove it."

OWNED_KEYS: Mapping[Path, str] = {
    ("machine", "type"): "It follows from cluster.topology: remove it.",
    ("machine", "token"): _STATE,
    ("machine", "ca"): _STATE,
    ("machine", "install", "disk"): "Write cluster.talos.installDisk instead.",
    ("machine", "install", "diskSelector"): "Write cluster.talos.installDiskSelector instead.",
    ("machine", "install", "image"): "Write cluster.talos.version and cluster.talos.schematic instead.",
    ("machine", "network", "hostname"): _NAME,
    ("cluster", "id"): _STATE,
    ("cluster", "secret"): _STATE,
    ("cluster", "token"): _STATE,
    ("cluster", "ca"): _STATE,
    ("cluster", "aggregatorCA"): _STATE,
    ("cluster", "serviceAccount"): _STATE,
    ("cluster", "aescbcEncryptionSecret"): _STATE,
    ("cluster", "secretboxEncryptionSecret"): _STATE,
    ("cluster", "clusterName"): "Write cluster.talos.clusterName instead.",
    ("cluster", "controlPlane", "endpoint"): "Write cluster.kubernetes.endpoint or cluster.kubernetes.vip instead.",
}
"""Keys that this program writes, with what to do instead, in the keys of cluster.yaml."""
OWNED_KINDS = {"HostnameConfig": _NAME}

CONTROL_PLANE_KEYS = {
    ("cluster", "etcd"),
    ("machine", "features", "kubernetesTalosAPIAccess"),
    ("machine", "network", "interfaces", "vip"),
    ("machine", "network", "interfaces", "vlans", "vip"),
}
"""What Talos refuses on a worker. Source: ``Validate`` of the v1alpha1 types, machinery 1.13.0."""
CONTROL_PLANE_KINDS = {"HCloudVIPConfig", "Layer2VIPConfig"}
"""A shared address is held by the machine that etcd elects, and workers have no part in etcd."""


def check(documents: Iterable[PatchDocument], contract_minor: int, role: Role) -> Iterator[Problem]:
    """Yield what Talos would refuse, and what this program and a patch would fight over.

    ``documents`` are all those of one machine, in the order of their application. ``contract_minor`` is the 11 of the
    version contract v1.11.5: a Talos that does not know a kind or a key refuses the whole configuration.
    """
    earlier: set[tuple[str, str]] = set()
    for document in documents:
        yield from _Check(document, contract_minor, role, earlier).problems()
        yield from inline_manifests.check(document)
        if "$patch" in document.data:
            earlier.discard(_identity(document.data))
        else:
            earlier.add(_identity(document.data))


def _identity(data: Schema) -> tuple[str, str]:
    """What tells one document of a machine's configuration from another: kind and name."""
    return str(data.get("kind")), str(data.get("name"))


@cache
def _schema() -> Schema:
    schema: Schema = json.loads(SCHEMA.read_text(encoding="utf-8"))
    return schema


def _resolved(described: Schema) -> Schema:
    """The definition itself where there is a reference to it."""
    reference = described.get("$ref")
    found: Schema = _schema()["$defs"][reference.removeprefix("#/$defs/")] if reference else described
    return found


@dataclass(frozen=True)
class _Check:
    """Of one document. Every method yields what is wrong with what it is named after."""

    patch: PatchDocument
    minor: int
    role: Role
    earlier: set[tuple[str, str]]
    """The documents of the patches before."""

    def problems(self) -> Iterator[Problem]:
        data = self.patch.data
        version = next((key for key in ("kind", "apiVersion") if key in data), None)
        if "op" in data and "path" in data:
            yield self.patch.problem((), *JSON6902)
        elif not set(data) - {"version"}:
            yield self.patch.problem((), "there is nothing in the patch.", "Write machine or cluster, or remove it.")
        elif version is None:
            yield from self._document(V1ALPHA1)
        elif "machine" in data or "cluster" in data:
            yield self.patch.problem((version,), "a document with machine or cluster has no such key.", "Remove it.")
        else:
            yield from self._versioned_document()

    def _versioned_document(self) -> Iterator[Problem]:
        version, kind = self.patch.data.get("apiVersion"), self.patch.data.get("kind")
        kinds: Mapping[str, Schema] = {
            name: described for name, described in _schema()["x-kinds"].items() if name != V1ALPHA1
        }
        if version is None:
            yield self.patch.problem(("kind",), "apiVersion is missing.", f"Write `apiVersion: {V1ALPHA1}` above it.")
        elif version != V1ALPHA1:
            fix = f"Write {V1ALPHA1}. What Kubernetes is to have goes into cluster.inlineManifests."
            yield self.patch.problem(("apiVersion",), f"{shown(version)} is not a version of Talos documents.", fix)
        elif kind is None:
            fix = "Write the kind of the document below it; one with machine and cluster has neither of the two."
            yield self.patch.problem(("apiVersion",), "kind is missing.", fix)
        elif not isinstance(kind, str) or kind not in kinds:
            near = nearest_word(str(kind), kinds)
            known = (name for name, described in kinds.items() if "$ref" in described)
            fix = f"Did you mean {near}?" if near else f"Kinds of Talos 1.{NEWEST_TALOS_MINOR}: {', '.join(known)}."
            yield self.patch.problem(("kind",), f"Talos has no documents of kind {shown(kind)}.", fix)
        elif "$ref" not in kinds[kind] or kinds[kind].get("since", 0) > self.minor:
            yield self._too_new(kind, kinds[kind])
        elif kind in OWNED_KINDS:
            yield self.patch.problem(("kind",), *_owned(OWNED_KINDS[kind]))
        elif kind in CONTROL_PLANE_KINDS and self.role == "worker":
            yield self.patch.problem(("kind",), *_ONLY_CONTROL_PLANES)
        else:
            yield from self._document(kind)

    @property
    def _have(self) -> str:
        return f"this cluster's machine configurations are for Talos 1.{self.minor}."

    def _too_new(self, kind: str, described: Schema) -> Problem:
        most = f"this program writes machine configurations for Talos 1.{NEWEST_TALOS_MINOR} at most."
        what = f"{kind} needs Talos 1.{described['since']}, {self._have if '$ref' in described else most}"
        replaced = f"Write {described['replaces']} instead." if "replaces" in described else "Remove the document."
        return self.patch.problem(("kind",), what, OWNED_KINDS.get(kind, replaced))

    def _document(self, kind: str) -> Iterator[Problem]:
        data = self.patch.data
        described = _resolved(_schema()["x-kinds"][kind])
        if "name" in described.get("required", ()) and not data.get("name"):
            fix = f"Documents of one kind are told apart by it: write `name: <name>` below `kind: {kind}`."
            yield self.patch.problem(("kind",), "name is missing.", fix)
        if "$patch" in data:
            yield from self._deleted_document(kind)
            return
        for key, value in data.items():
            yield from self._key((key,), value, described)

    def _deleted_document(self, kind: str) -> Iterator[Problem]:
        data, path = self.patch.data, ("$patch",)
        ignored = [key for key in data if key not in {"apiVersion", "kind", "name", "$patch"}]
        if data["$patch"] != "delete":
            yield self.patch.problem(path, *_no_such_patch(data["$patch"]))
        elif kind == V1ALPHA1:
            fix = "Write `$patch: delete` below the key that is to go."
            yield self.patch.problem(path, "the whole machine configuration cannot be deleted.", fix)
        elif ignored:
            yield self.patch.problem((ignored[0],), *_BESIDE_DELETE)
        elif _identity(data) not in self.earlier:
            # Talos' library does not refuse this. It panics, and takes the provider with it.
            what = "no patch before this one has such a document, so there is nothing to delete."
            fix = "Remove it; a document that follows from cluster.yaml is changed there."
            yield self.patch.problem(path, what, fix)

    def _key(self, path: Path, value: object, owner: Schema) -> Iterator[Problem]:
        described = owner["properties"].get(path[-1])
        legacy = "kind" not in self.patch.data
        place = tuple(part for part in path if isinstance(part, str))
        if described is None:
            yield self.patch.problem(path, "there is no such key.", _instead(path, owner))
        elif described.get("x-since", 0) > self.minor:
            what = f"it needs Talos 1.{described['x-since']}, {self._have}"
            yield self.patch.problem(path, what, "Remove it: Talos refuses a configuration with a key of a later one.")
        elif legacy and place in OWNED_KEYS:
            yield self.patch.problem(path, *_owned(OWNED_KEYS[place]))
        elif legacy and self.role == "worker" and place in CONTROL_PLANE_KEYS:
            yield self.patch.problem(path, *_ONLY_CONTROL_PLANES)
        elif legacy and self.role == "worker" and place == ("machine", "nodeTaints"):
            yield self.patch.problem(path, *_TAINTS_OF_WORKERS)
        elif value is not None:  # an empty key changes nothing
            yield from self._value(path, value, _resolved(described))
            if legacy and self.role == "worker" and place == ("machine", "nodeLabels"):
                yield from self._labels_of_workers(path, value)

    def _labels_of_workers(self, path: Path, labels: object) -> Iterator[Problem]:
        for label in labels if isinstance(labels, dict) else ():
            if node_restriction.is_refused(str(label)):
                yield self.patch.problem((*path, label), *node_restriction.REFUSAL)

    def _value(self, path: Path, value: object, described: Schema) -> Iterator[Problem]:
        if isinstance(value, dict) and "$patch" in value:
            yield from self._deletion(path, value, described)
            return
        kind = described.get("type", "")
        if kind == ["integer", "string"]:
            kind = "integer" if isinstance(value, int) else "string"
        check = {
            "object": self._mapping,
            "array": self._list,
            "boolean": self._boolean,
            "integer": self._integer,
            "string": self._text,
        }.get(kind, self._anything)
        yield from check(path, value, described)

    def _mapping(self, path: Path, value: object, described: Schema) -> Iterator[Problem]:
        keys = described.get("properties")
        if not isinstance(value, dict):
            fix = f"Keys that belong below it: {', '.join(keys)}." if keys else "Write `key: value` below it."
            yield self.patch.problem(path, f"Talos expects a mapping here, not {sort(value)}.", fix)
            return
        for key, below in value.items():
            if keys is not None:
                yield from self._key((*path, key), below, described)
            elif below is not None:
                yield from self._value((*path, key), below, _resolved(described.get("additionalProperties", {})))

    def _list(self, path: Path, value: object, described: Schema) -> Iterator[Problem]:
        if not isinstance(value, list):
            fix = "Write [a, b], or one `- item` a line."
            yield self.patch.problem(path, f"Talos expects a list here, not {sort(value)}.", fix)
            return
        for index, item in enumerate(value):
            yield from self._value((*path, index), item, _resolved(described["items"]))

    def _boolean(self, path: Path, value: object, _: Schema) -> Iterator[Problem]:
        if not isinstance(value, bool):
            fix = "Write true or false, without quotes."
            yield self.patch.problem(path, f"{shown(value)} is neither true nor false.", fix)

    def _integer(self, path: Path, value: object, described: Schema) -> Iterator[Problem]:
        low, high = described.get("minimum", -math.inf), described.get("maximum", math.inf)
        octal = isinstance(value, str) and re.fullmatch(r"0o([0-7]+)", value)
        if octal and self.patch.text is not None:
            return  # a number to YAML 1.2, which Talos reads, and a text to PyYAML
        if not isinstance(value, int) or isinstance(value, bool):
            fix = f"Write {int(octal[1], 8)}." if octal else "Write a number without quotes."
            yield self.patch.problem(path, f"{shown(value)} is not a whole number.", fix)
        elif value < low:
            yield self.patch.problem(path, f"{value} is too small.", f"Write {low} or more.")
        elif value > high:
            yield self.patch.problem(path, f"{value} is too large.", f"Write {high} or less.")

    def _text(self, path: Path, value: object, described: Schema) -> Iterator[Problem]:
        words, form = described.get("enum", ()), FORMS.get(described.get("format", ""))
        if isinstance(value, (dict, list)) or value is None:
            what = f"Talos expects a text here, not {sort(value)}."
            yield self.patch.problem(path, what, "Write one value, in quotes.")
            return
        text = self.patch.written(path, value)
        if self.patch.text is None and not isinstance(value, str) and text != as_json(value):
            # Talos would read 1.10 or off as it is written, but of a mapping only the number or the boolean is left.
            # It may be a password, so neither is shown.
            what = f"YAML reads it as {sort(value)}, and Talos expects a text."
            yield self.patch.problem(path, what, "Put it in quotes.")
        elif words and text not in words:
            near = nearest_word(text, words)
            hint = f"Did you mean {near}? " if near else ""
            yield self.patch.problem(path, f"{shown(text)} is not known here.", f"{hint}Write {choice(words)}.")
        elif form and not (form.or_empty and not text) and not form.accepts(text):
            yield self.patch.problem(path, f"{'it' if form.secret else shown(text)} is not {form.name}.", form.fix)

    def _anything(self, path: Path, value: object, _: Schema) -> Iterator[Problem]:
        """What Talos hands on as it is, but for what a patch deletes there."""
        below: Iterable[tuple[str | int, object]] = ()
        if isinstance(value, dict):
            below = value.items()
        elif isinstance(value, list):
            below = enumerate(value)
        for key, item in below:
            yield from self._value((*path, key), item, {})

    def _deletion(self, path: Path, value: dict[str, Any], described: Schema) -> Iterator[Problem]:
        """``$patch: delete`` below a key, or in an item of a list. Source: ``decoder/delete.go``, machinery 1.13.0."""
        here = (*path, "$patch")
        others = [key for key in value if key != "$patch"]
        is_item = isinstance(path[-1], int)
        owned = next((key for key in OWNED_KEYS if "kind" not in self.patch.data and key[: len(path)] == path), None)
        if value["$patch"] != "delete":
            yield self.patch.problem(here, *_no_such_patch(value["$patch"]))
        elif sum(isinstance(part, int) for part in path) > is_item:
            what = "Talos deletes an item of a list, but nothing inside of it."
            yield self.patch.problem(here, what, "Delete the item, and write it anew in a later patch.")
        elif is_item:
            yield from self._deleted_item(path, value, others, described)
        elif others:
            yield self.patch.problem((*path, others[0]), *_BESIDE_DELETE)
        elif owned:
            what = f"{dotted(owned)} would go with it, which this program writes for every machine."
            yield self.patch.problem(here, what, "Delete the other keys below it one by one.")

    def _deleted_item(
        self, path: Path, value: dict[str, Any], others: list[str], described: Schema
    ) -> Iterator[Problem]:
        keys = [key for key, below in described.get("properties", {}).items() if below.get("type") == "string"]
        here = (*path, "$patch")
        if not keys:
            what, fix = "an item of this list cannot be deleted.", "Delete the list: `$patch: delete` below its key."
            yield self.patch.problem(here, what, fix)
        elif not others:
            fix = f"Write one key of the item beside it: {choice(keys)}."
            yield self.patch.problem(here, "which item is to go?", fix)
        elif others[0] not in keys or isinstance(value[others[0]], (dict, list)):
            fix = f"Write {choice(keys)}, with its value."
            yield self.patch.problem((*path, others[0]), "Talos does not find an item by this key.", fix)
        elif others[1:]:
            what = f"Talos finds the item by its first key, {others[0]}, and reads no other."
            yield self.patch.problem((*path, others[1]), what, "Remove it.")


_ONLY_CONTROL_PLANES = (
    "it is for control planes, and this patch is for workers too.",
    "Move it to cluster.topology.controlPlane.patches.",
)
_TAINTS_OF_WORKERS = (
    "Kubernetes lets no worker change its taints, and refuses its labels and annotations with them.",
    "Write them as `taints` below cluster.topology.",
)
_BESIDE_DELETE = ("what stands beside `$patch: delete` is not read.", "Remove it, or the `$patch`.")


def _owned(fix: str) -> tuple[str, str]:
    return "this program writes it for every machine.", fix


def _no_such_patch(value: object) -> tuple[str, str]:
    return f"{shown(value)} is not known here.", "Talos knows `$patch: delete` alone; without it, keys are merged."


def _instead(path: Path, owner: Schema) -> str:
    """What to write instead of an unknown key."""
    keys: Mapping[str, Schema] = owner["properties"]
    near = nearest_word(str(path[-1]), keys)
    if len(path) == 1 and "machine" in keys:
        sections = [name for name in ("machine", "cluster") if path[0] in _resolved(keys[name])["properties"]]
        near = " or ".join(f"{name}.{path[0]}" for name in sections) or near
    hint = f"Did you mean {near}? " if near else ""
    return f"{hint}Keys that belong here: {', '.join(keys)}."
