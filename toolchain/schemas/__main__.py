"""`python -m toolchain.schemas` writes the schemas anew; with --check it says which differ. It needs Go and a network.

With names of components it makes theirs alone: those are quick, while all of Kubernetes' releases are 400 MB to fetch.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import yaml

from toolchain.errors import ToolchainError
from toolchain.installation import REPOSITORY
from toolchain.processes import say
from toolchain.schemas import modules, writing
from toolchain.schemas.merging import marked, merged
from toolchain.schemas.reducing import Schema, reduced, shared, without_prose
from toolchain.schemas.sources import (
    FLUX_OPERATOR,
    FLUX_OPERATOR_RELEASE,
    FLUX_RELEASES,
    KUBERNETES,
    KUBERNETES_RELEASES,
)

DATA = REPOSITORY / "cluster_stack" / "manifests" / "data"
INFRASTRUCTURE = REPOSITORY / "infrastructure"
COMPONENT_FILE, SCHEMA_FILE = "component.yaml", "schemas.json"

_PASSED_ON = (
    "affinity",
    "annotations",
    "containerSecurityContext",
    "labels",
    "livenessProbe",
    "nodeSelector",
    "podSecurityContext",
    "readinessProbe",
    "resources",
    "securityContext",
    "startupProbe",
    "strategy",
    "updateStrategy",
)
"""Values that charts hand to Kubernetes as they are: their defaults are not all that can be in them."""
_INTERNAL = ("List", "Review", "Request", "Status", "Scale", "Eviction", "Binding", "Event", "ComponentStatus")
"""Ends of kinds that nobody writes into a manifest."""
_BINDINGS = ("RoleBinding", "PolicyBinding")


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m toolchain.schemas", description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; fail when a file would change")
    parser.add_argument("names", nargs="*", metavar="NAME", help="kubernetes, flux, or a component; all of them")
    given = parser.parse_args()
    made = makers(INFRASTRUCTURE)
    if unknown := sorted(set(given.names) - set(made)):
        print(f"there are no schemas of {', '.join(unknown)}; there are: {', '.join(made)}", file=sys.stderr)
        return 1
    changed = False
    for name in given.names or made:
        file, make = made[name]
        try:
            text = make()
        except ToolchainError as error:
            print(f"{name}: {error}", file=sys.stderr)
            return 1
        if file.exists() and file.read_text(encoding="utf-8") == text:
            continue
        changed = True
        say(f"{file.relative_to(REPOSITORY)}: {'differs' if given.check else 'written'}")
        if not given.check:
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text, encoding="utf-8")
    return 1 if changed and given.check else 0


def makers(infrastructure: Path) -> dict[str, tuple[Path, Callable[[], str]]]:
    """Name -> the file, and what makes its text."""
    found: dict[str, tuple[Path, Callable[[], str]]] = {
        "kubernetes": (DATA / "kubernetes.json", kubernetes),
        "flux": (DATA / "flux.json", flux),
    }
    for file in sorted(infrastructure.glob(f"*/base/*/{COMPONENT_FILE}")):
        source = yaml.safe_load(file.read_text(encoding="utf-8")).get("schemas")
        if source:
            found[file.parent.name] = (file.with_name(SCHEMA_FILE), lambda source=source: component(source))  # type: ignore[misc]
    return found


def kubernetes() -> str:
    definitions: dict[str, dict[int, Schema]] = {}
    kinds: dict[str, dict[int, Schema]] = {}
    for minor, release in KUBERNETES_RELEASES.items():
        file = modules.fetched(KUBERNETES, release) / "api" / "openapi-spec" / "swagger.json"
        swagger = json.loads(file.read_text(encoding="utf-8"))
        scopes = _scopes(swagger["paths"])
        for name, schema in swagger["definitions"].items():
            definitions.setdefault(name, {})[minor] = reduced(schema)
            for kind in _kinds_of(schema):
                reference = {"$ref": f"#/$defs/{name}", "x-scope": scopes.get(kind, "Cluster")}
                kinds.setdefault(kind, {})[minor] = reference
    together = {name: merged(versions) for name, versions in definitions.items()}
    for schema in together.values():
        if "metadata" in schema.get("properties", {}):
            schema["properties"].pop("status", None)
    together["io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta"]["properties"].pop("managedFields")
    referring = {
        name: marked(versions[max(versions)], versions, KUBERNETES_RELEASES) for name, versions in sorted(kinds.items())
    }
    head = _head(f"The API of Kubernetes, from the OpenAPI files of {KUBERNETES} {_listed(KUBERNETES_RELEASES)}")
    return writing.text(head, referring, shared(referring, together))


def _kinds_of(schema: Mapping[str, Any]) -> list[str]:
    """The kind that a definition is, if it is one that is written into manifests."""
    found = schema.get("x-kubernetes-group-version-kind", [])
    if len(found) != 1 or "metadata" not in schema.get("properties", {}):
        return []
    group, version, kind = found[0]["group"], found[0]["version"], found[0]["kind"]
    internal = kind.endswith(_INTERNAL) and not kind.endswith(_BINDINGS)
    return [] if internal or "alpha" in version else [f"{f'{group}/' if group else ''}{version} {kind}"]


def _scopes(paths: Mapping[str, Any]) -> dict[str, str]:
    found = {}
    for path, operations in paths.items():
        kind = operations.get("post", {}).get("x-kubernetes-group-version-kind")
        if kind and "{namespace}" in path:
            found[f"{kind['group']}/{kind['version']} {kind['kind']}".removeprefix("/")] = "Namespaced"
    return found


def flux() -> str:
    folder = modules.fetched(FLUX_OPERATOR, FLUX_OPERATOR_RELEASE)
    versions: dict[str, dict[int, Schema]] = {}
    for minor, release in FLUX_RELEASES.items():
        resources = modules.custom_resources(folder, [f"config/data/flux/{release}"])
        for name, schema in writing.kinds_of(resources).items():
            versions.setdefault(name, {})[minor] = schema
    kinds = {name: marked(merged(having), having, FLUX_RELEASES) for name, having in sorted(versions.items())}
    source = f"config/data/flux of {FLUX_OPERATOR} {FLUX_OPERATOR_RELEASE}"
    head = _head(f"The APIs of Flux {_listed(FLUX_RELEASES)}, from its CRDs as they lie in {source}")
    return writing.text(head, kinds, shared(kinds, writing.METADATA))


def component(source: Mapping[str, Any]) -> str:
    """What a component's custom resources and its chart's values may be, from the module that its file names."""
    module, version = source["module"], source["version"]
    if "types" in source:
        resources = modules.generated(f"{module}/{package}" for package in source["types"])
    else:
        resources = modules.custom_resources(modules.fetched(module, version), source.get("crds", []))
    kinds = writing.kinds_of(resources)
    head = {**_head(f"From {module} {version}"), "x-source": f"{module} {version}"}
    if "values" in source:
        file = modules.fetched(module, version) / source["values"]
        head |= {"x-chart": _chart(file.with_name("Chart.yaml"), version), "x-values": _values(file)}
    return writing.text(head, kinds, shared(kinds, writing.METADATA))


def _chart(file: Path, release: str) -> str:
    """The version of a chart; where makers fill it in when they publish, it is that of the release."""
    (chart,) = modules.documents(file)
    version = str(chart.get("version", ""))
    return version if re.fullmatch(r"[1-9]\d*\.\d+\.\d+", version) else release


def _values(file: Path) -> Schema:
    """What the values of a chart may be: its own schema, or the keys of its default values."""
    if file.suffix == ".json":
        schema: Schema = without_prose(json.loads(file.read_text(encoding="utf-8")))
        return schema
    (values,) = modules.documents(file)
    return _like(values)


def _like(value: object) -> Schema:
    """A schema of values like these: the same keys, except below mappings that are empty, which are the user's."""
    if not isinstance(value, dict) or not value:
        return {}
    keys = {name: {} if name in _PASSED_ON else _like(below) for name, below in sorted(value.items())}
    return {"type": ["object", "null"], "properties": keys, "additionalProperties": False}


def _head(comment: str) -> dict[str, Any]:
    made = "Made by `python -m toolchain.schemas`; x-since and x-until: the first and last minor that has a key."
    licence = "Its makers' terms: Apache License 2.0 (apache.org/licenses/LICENSE-2.0)."
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", "$comment": f"{comment}. {made} {licence}"}


def _listed(releases: Mapping[int, str]) -> str:
    return ", ".join(releases.values())


if __name__ == "__main__":
    raise SystemExit(main())
