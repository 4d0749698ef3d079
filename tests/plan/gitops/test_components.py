"""What a component says of itself, and every way to say it wrong."""

from __future__ import annotations

from pathlib import Path

import pytest

from cluster_stack.config import ConfigError
from cluster_stack.plan.gitops.components import Catalogue, read
from cluster_stack.plan.gitops.selection import circles

GOOD = "title: Thing\nabout: A thing.\nnamespace: thing\n"


def tree(root: Path, **components: str) -> Catalogue:
    """A project with core components; the text of each is its component.yaml."""
    for name, text in components.items():
        folder = root / "infrastructure/core/base" / name
        folder.mkdir(parents=True)
        (folder / "component.yaml").write_text(text)
        (folder / "kustomization.yaml").write_text("resources: []\n")
    return Catalogue(root)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (
            "title: Thing\nabout: A thing.\n",
            ":1: namespace: the key is missing. docs/components.md says what it means.",
        ),
        (
            GOOD + "need: [other]\n",
            ":4: need: there is no such key. Keys that belong here: title, about, namespace, needs, after, crds, "
            "unchecked, values, settings, secrets, retired, schemas.",
        ),
        (
            GOOD + "settings: {SIZE: {defualt: 1, about: Size.}}\n",
            ":4: settings.SIZE.defualt: there is no such key. Keys that belong here: about, default.",
        ),
        (
            GOOD + "needs: other\n",
            ":4: needs: 'other' does not belong here: input should be a valid list. docs/components.md says what it "
            "means.",
        ),
        ("title: [a\n", ":1: the list that begins here lacks a `]` or a `,`. Write [a, b]."),
        ("- title\n", ":1: the file is not a mapping of keys. Start it with `title:`."),
        ("", ": the file is empty. Start it with `title:`."),
    ],
    ids=["a key too few", "a key too many", "a key of a setting", "a text for a list", "no YAML", "a list", "nothing"],
)
def test_a_mistake_is_told_with_its_place(tmp_path: Path, text: str, says: str) -> None:
    tree(tmp_path, thing=text)
    with pytest.raises(ConfigError) as told:
        read(tmp_path, "core", "thing")
    assert str(told.value) == f"infrastructure/core/base/thing/component.yaml{says}"


def test_a_folder_that_does_not_say_what_it_is(tmp_path: Path) -> None:
    (tmp_path / "infrastructure/core/base/thing").mkdir(parents=True)
    (problem,) = Catalogue(tmp_path).problems(["thing"])
    assert str(problem) == (
        "infrastructure/core/base/thing/component.yaml: the component has no such file. Write it: docs/components.md "
        "shows one."
    )


def test_a_folder_with_nothing_to_build(tmp_path: Path) -> None:
    tree(tmp_path, thing=GOOD)
    (tmp_path / "infrastructure/core/base/thing/kustomization.yaml").unlink()
    (problem,) = Catalogue(tmp_path).problems(["thing"])
    assert problem.what == "there is no kustomization.yaml beside this file, so there is nothing to build."


@pytest.mark.parametrize("name", ["thing", "cluster", "flux-system"])
def test_a_name_that_is_taken(tmp_path: Path, name: str) -> None:
    tree(tmp_path, thing=GOOD)
    (tmp_path / "infrastructure/optional/base" / name).mkdir(parents=True)
    (problem,) = Catalogue(tmp_path).problems([name])
    assert problem.what == f"another component, or Flux itself, is called {name!r} already."
    assert problem.file == f"infrastructure/optional/base/{name}/component.yaml"


def test_components_that_wait_for_each_other(tmp_path: Path) -> None:
    catalogue = tree(
        tmp_path,
        first=GOOD + "needs: [second]\n",
        second=GOOD + "after: [third]\n",
        third=GOOD + "needs: [first]\n",
        fourth=GOOD + "needs: [first]\n",
    )
    (problem,) = circles(catalogue.components)
    assert str(problem) == (
        "infrastructure/core/base/first/component.yaml:4: needs: first waits for second waits for third waits for "
        "first: none of them would ever begin. Remove one of these."
    )
