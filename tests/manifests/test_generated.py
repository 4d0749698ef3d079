"""The objects that this program generates are ones that Flux and its operator take."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from jsonschema import Draft202012Validator

from cluster_stack.manifests.schemas import FLUX, KUBERNETES, Api
from cluster_stack.plan.gitops import flux_versions
from tests.plan.gitops.test_objects import made
from toolchain.schemas import modules, writing
from toolchain.schemas.sources import FLUX_OPERATOR, FLUX_OPERATOR_RELEASE

SITES = ("flux", "gateway")


@pytest.mark.parametrize("minor", flux_versions.FLUX)
@pytest.mark.parametrize("site", SITES)
def test_the_kustomizations(site: str, minor: int, tmp_path: Path) -> None:
    api = Api(FLUX, "Flux", minor, "2.")
    for manifest in made(tmp_path, site).components["spec"]["resources"]:
        assert api.mistakes("kustomize.toolkit.fluxcd.io/v1 Kustomization", manifest) == []


@pytest.mark.parametrize("site", SITES)
def test_what_kubernetes_takes(site: str, tmp_path: Path) -> None:
    found, api = made(tmp_path, site), Api(KUBERNETES, "Kubernetes", 34, "1.")
    assert api.mistakes("v1 Namespace", found.namespace) == []
    assert api.mistakes("v1 ConfigMap", found.runtime_info) == []


@pytest.mark.engine
@pytest.mark.parametrize("site", SITES)
def test_what_the_operator_takes(site: str, tmp_path: Path) -> None:
    """By its own CRDs, which are read where they are: their licence is another one."""
    crds = modules.custom_resources(modules.fetched(FLUX_OPERATOR, FLUX_OPERATOR_RELEASE), ["config/crd/bases"])
    kinds = writing.kinds_of(crds)
    found = made(tmp_path, site)
    for manifest in (found.instance, found.components):
        schema = kinds[f"{manifest['apiVersion']} {manifest['kind']}"]
        errors = Draft202012Validator({**schema, "$defs": writing.METADATA}).iter_errors(manifest)
        assert [error.message for error in errors] == []


@pytest.mark.engine
def test_the_versions_of_flux_are_those_that_the_operator_installs() -> None:
    folder = modules.fetched(FLUX_OPERATOR, FLUX_OPERATOR_RELEASE) / "config/data/flux"
    there = {path.name for path in folder.iterdir()}
    known = {f"v2.{minor}.{patch}" for minor, flux in flux_versions.FLUX.items() for patch in flux.patches}
    assert known == {name for name in there if int(name.split(".")[1]) >= min(flux_versions.FLUX)}


def test_nothing_in_the_resource_set_is_a_template(tmp_path: Path) -> None:
    """flux-operator would fill in what stands between << and >>."""
    assert "<<" not in yaml.safe_dump(made(tmp_path, "gateway").components)
