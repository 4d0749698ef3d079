"""Which entries of a kustomization kustomize would fetch."""

from __future__ import annotations

from pathlib import Path

import pytest

from cluster_stack.manifests.remote import Remote, remotes


def folder(root: Path, name: str, text: str) -> Path:
    (root / name).mkdir(parents=True)
    (root / name / "kustomization.yaml").write_text(text)
    return root


@pytest.mark.parametrize(
    "entry",
    [
        "https://example.org/all.yaml",
        "ssh://git@example.org/fleet",
        "git@example.org:fleet.git",
        "git::https://example.org/fleet",
        "github.com/example/fleet//deploy",
        "example.org/fleet?ref=v1.0.0",
    ],
)
def test_what_lies_elsewhere(tmp_path: Path, entry: str) -> None:
    root = folder(tmp_path, "overlay", "resources:\n- ../base\n")
    folder(root, "base", f"resources: [here.yaml]\ncomponents:\n- {entry}\n")
    assert list(remotes(root, "overlay")) == [Remote("base/kustomization.yaml", 3, entry)]


@pytest.mark.parametrize("entry", ["here.yaml", "../github.com/x", "./a-b@c", "."])
def test_what_lies_here(tmp_path: Path, entry: str) -> None:
    assert list(remotes(folder(tmp_path, "base", f"resources: [{entry}]\n"), "base")) == []


@pytest.mark.parametrize("text", ["", "resources: [", "- a\n", "resources: a\n", "resources: [{a: b}]\n"])
def test_what_is_no_kustomization_is_left_to_kustomize(tmp_path: Path, text: str) -> None:
    assert list(remotes(folder(tmp_path, "base", text), "base")) == []
