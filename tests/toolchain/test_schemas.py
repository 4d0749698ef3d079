"""The committed schemas: how they are made, that they belong to what is pinned, and that making them gives the same."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import Draft202012Validator

from cluster_stack.plan.gitops.flux_versions import FLUX
from cluster_stack.plan.versions import TALOS
from toolchain.installation import REPOSITORY
from toolchain.pins import PINS
from toolchain.schemas.__main__ import DATA, INFRASTRUCTURE, makers
from toolchain.schemas.merging import merged
from toolchain.schemas.reducing import reduced, shared, without_prose
from toolchain.schemas.sources import FLUX_RELEASES, KUBERNETES_RELEASES

MADE = makers(INFRASTRUCTURE)


def takes(schema: dict[str, Any], value: object) -> bool:
    return bool(Draft202012Validator(schema).is_valid(value))


def test_prose_goes_and_unknown_keys_are_refused() -> None:
    schema = reduced(
        {
            "type": "object",
            "description": "Prose.",
            "properties": {"size": {"type": "integer", "description": "More prose.", "default": 3}},
        }
    )
    assert "rose" not in json.dumps(schema)
    assert takes(schema, {"size": 1})
    assert not takes(schema, {"size": "1"})
    assert not takes(schema, {"sise": 1})


def test_what_may_hold_anything_stays_open() -> None:
    schema = reduced({"type": "object", "properties": {}, "x-kubernetes-preserve-unknown-fields": True})
    assert takes(schema, {"whatever": 1})


def test_numbers_or_texts_and_nothing() -> None:
    port = reduced({"x-kubernetes-int-or-string": True, "anyOf": [{"type": "integer"}, {"type": "string"}]})
    assert [takes(port, value) for value in (80, "http", ["http"])] == [True, True, False]
    word = reduced({"type": "string", "nullable": True, "enum": ["a"]})
    assert [takes(word, value) for value in ("a", None, "b")] == [True, True, False]


def test_one_of_several_keys_does_not_refuse_the_others() -> None:
    schema = reduced(
        {
            "type": "object",
            "properties": {"a": {"type": "string"}, "b": {"type": "string"}, "c": {"type": "string"}},
            "oneOf": [{"required": ["a"], "properties": {"a": {}}}, {"required": ["b"], "properties": {"b": {}}}],
        }
    )
    assert takes(schema, {"a": "", "c": ""})
    assert not takes(schema, {"a": "", "b": ""})


def test_a_pattern_that_only_go_knows_is_left_out() -> None:
    assert reduced({"type": "string", "pattern": r"^[[:alpha:]]+$"}) == {"type": "string"}
    assert reduced({"type": "string", "pattern": r"^\d+$"}) == {"type": "string", "pattern": r"^\d+$"}


def test_keys_of_some_versions_say_which() -> None:
    def version(*keys: str) -> dict[str, Any]:
        return {"type": "object", "properties": {key: {"type": "string"} for key in keys}}

    found = merged({7: version("old", "both"), 8: version("old", "both"), 9: version("both", "new")})["properties"]
    assert found == {
        "both": {"type": "string"},
        "new": {"type": "string", "x-since": 9},
        "old": {"type": "string", "x-until": 8},
    }


def test_what_occurs_twice_is_written_once_and_means_the_same() -> None:
    long: dict[str, Any] = {"type": "object", "properties": {f"key{number}": {"type": "string"} for number in range(9)}}
    kinds: dict[str, dict[str, Any]] = {
        "v1 One": {"properties": {"a": long}},
        "v1 Two": {"properties": {"b": {"items": long}}},
    }
    definitions = shared(kinds, {})
    assert len(definitions) == 1
    assert takes({**kinds["v1 One"], "$defs": definitions}, {"a": {"key1": ""}})
    assert not takes({**kinds["v1 Two"], "$defs": definitions}, {"b": [{"key1": 1}]})


def test_a_key_called_description_is_no_prose() -> None:
    schema = {"properties": {"description": {"type": "string", "description": "Prose."}}, "title": "Prose."}
    assert without_prose(schema) == {"properties": {"description": {"type": "string"}}}


@pytest.mark.parametrize("name", MADE)
def test_no_file_is_large(name: str) -> None:
    assert MADE[name][0].stat().st_size < 250_000


def test_every_component_has_the_schemas_of_the_release_that_it_names() -> None:
    for name, (file, _) in MADE.items():
        if file.is_relative_to(INFRASTRUCTURE):
            said = yaml.safe_load((file.parent / "component.yaml").read_text())["schemas"]
            assert json.loads(file.read_text())["x-source"] == f"{said['module']} {said['version']}", name


def test_kubernetes_and_flux_are_those_of_the_program() -> None:
    assert [int(release.split(".")[1]) for release in KUBERNETES_RELEASES.values()] == list(KUBERNETES_RELEASES)
    known = {number for talos in TALOS.values() for number in talos.kubernetes}
    assert known - set(KUBERNETES_RELEASES) == {28}, "no module of 1.28 is served"
    assert {number: f"v2.{number}.{flux.patches[-1]}" for number, flux in FLUX.items()} == FLUX_RELEASES
    for file, releases in ((DATA / "kubernetes.json", KUBERNETES_RELEASES), (DATA / "flux.json", FLUX_RELEASES)):
        comment = json.loads(file.read_text())["$comment"]
        assert all(release in comment for release in releases.values())


def test_the_generator_has_the_types_that_the_component_names() -> None:
    file = REPOSITORY / "infrastructure/optional/base/kube-prometheus-stack/component.yaml"
    said = yaml.safe_load(file.read_text())["schemas"]
    assert {pin.version for pin in PINS if pin.module == said["module"]} == {said["version"]}


@pytest.mark.engine
@pytest.mark.parametrize("name", [name for name in MADE if name != "kubernetes"])  # whose modules are 400 MB
def test_making_them_anew_changes_nothing(name: str) -> None:
    file, make = MADE[name]
    assert make() == Path(file).read_text(encoding="utf-8")
