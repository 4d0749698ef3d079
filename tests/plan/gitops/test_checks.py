"""What is said of `gitops` that no site of tests/sites can show: those all have the same components."""

from __future__ import annotations

from pathlib import Path

import pytest

from cluster_stack.config import ConfigError
from cluster_stack.project import Project
from tests.plan.gitops.test_components import GOOD, tree
from tests.sites import text_of


def site(root: Path, **edits: str) -> Project:
    """The site `gateway` with other components: its cluster.yaml with some texts replaced."""
    text = text_of("gateway").replace("core: [envoy-gateway, cert-manager]", "core: [thing]")
    text = text.replace("    optional: [external-dns, proxmox-csi]\n    overlay: prod\n", "")
    text = text.replace("    settings: {EXTERNAL_DNS_ZONE: example.org}\n", "")
    for old, new in edits.items():
        assert old in text
        text = text.replace(old, new)
    (root / "clusters/gateway").mkdir(parents=True)
    (root / "clusters/gateway/cluster.yaml").write_text(text)
    return Project(root)


def said(project: Project) -> str:
    with pytest.raises(ConfigError) as told:
        project.plan("gateway")
    return str(told.value)


def warned(project: Project) -> list[str]:
    return [str(warning) for warning in project.plan("gateway").warnings]


def test_a_project_without_components(tmp_path: Path) -> None:
    assert said(site(tmp_path)) == (
        "clusters/gateway/cluster.yaml:13: gitops.enabled: there is no folder infrastructure/ in this project, and it "
        "holds what Flux installs. Take it from the repository of this project."
    )


def test_who_has_no_flux_needs_no_components(tmp_path: Path) -> None:
    planned = site(tmp_path, **{"enabled: true": "enabled: false"}).plan("gateway")
    assert (planned.gitops, planned.warnings) == (None, ())


def test_a_component_that_says_wrong_what_it_is(tmp_path: Path) -> None:
    tree(tmp_path, thing="title: Thing\n")
    assert [line.partition(": ")[0] for line in said(site(tmp_path)).splitlines()] == [
        "infrastructure/core/base/thing/component.yaml:1"
    ] * 2


def test_a_fact_that_there_is_not(tmp_path: Path) -> None:
    tree(tmp_path, thing=GOOD + "values: [CLUSTER_SIZE]\n")
    assert said(site(tmp_path)).startswith(
        "infrastructure/core/base/thing/component.yaml:4: values[0]: there is no fact CLUSTER_SIZE of a cluster. "
    )


@pytest.mark.parametrize("key", ["settings", "secrets"])
def test_a_setting_that_is_called_as_a_fact(tmp_path: Path, key: str) -> None:
    below = "{about: Name.}" if key == "settings" else "{about: Name., setting: name}"
    tree(tmp_path, thing=GOOD + f"{key}: {{CLUSTER_NAME: {below}}}\n")
    told = (
        said(site(tmp_path, **{"core: [thing]": "core: [thing]\n    settings: {CLUSTER_NAME: x}"}))
        if key == "settings"
        else said(site(tmp_path))
    )
    assert told == (
        f"infrastructure/core/base/thing/component.yaml:4: {key}.CLUSTER_NAME: CLUSTER_NAME is a fact of the cluster "
        "already. Write another name."
    )


def test_a_retired_component_is_warned_of(tmp_path: Path) -> None:
    tree(tmp_path, thing=GOOD + "retired: Its makers ended it. Move to another.\n")
    assert warned(site(tmp_path)) == [
        "clusters/gateway/cluster.yaml:17: gitops.infrastructure.core[0]: thing is retired. Its makers ended it. Move "
        "to another."
    ]


def test_a_folder_of_which_flux_applies_nothing_is_warned_of(tmp_path: Path) -> None:
    tree(tmp_path, thing=GOOD)
    project = site(tmp_path, **{"  infrastructure:": "    path: ./clusters/gateway\n  infrastructure:"})
    assert warned(project) == [
        "clusters/gateway/cluster.yaml:16: gitops.flux.path: there is no kustomization.yaml in ./clusters/gateway, so "
        "Flux applies nothing of your own from it. Write one, or remove the key."
    ]
    (tmp_path / "clusters/gateway/kustomization.yaml").touch()
    assert warned(Project(tmp_path)) == []
