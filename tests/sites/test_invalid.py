"""Every mistake gets one sentence: where, what is wrong, what to write instead. And every sentence has its mistake."""

from __future__ import annotations

import ast
import functools
import inspect
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

from cluster_stack.config import ClusterFile, foreign_keys, rules
from cluster_stack.config.document import Document
from cluster_stack.config.models import values
from cluster_stack.config.rules import images, machines, network, operations
from cluster_stack.plan import checks, collisions
from tests.sites import Mistake, answer, mistakes

MISTAKES = [
    *mistakes(),
    Mistake(
        name="a description longer than a VM's notes",
        theme="machines",
        site="homelab",
        old="description: Homelab k8s cluster",
        new=f"description: {'many words ' * 640}",
        says=":5: metadata.description: 7039 bytes are more than a VM's notes hold. Write 7000 or less.",
        beside=None,
    ),
]


@functools.cache
def answers() -> tuple[dict[Mistake, str], set[tuple[str, int]]]:
    """What is said of each mistake, and where in the program: file and line of every call that makes a problem."""
    places = set()

    def watch(owner: type | ModuleType, name: str) -> None:
        original = getattr(owner, name)

        def watched(*arguments: object) -> object:
            caller = sys._getframe(1)
            places.add((caller.f_code.co_filename, caller.f_lineno))
            return original(*arguments)

        patch.setattr(owner, name, watched)

    with pytest.MonkeyPatch.context() as patch:
        watch(Document, "problem")
        watch(ClusterFile, "problem")
        watch(values, "refuse")
        return {mistake: _answer(mistake) for mistake in MISTAKES}, places


def _answer(mistake: Mistake) -> str:
    try:
        return answer(mistake)
    except Exception as error:
        return f"no answer: {error!r}"


@pytest.mark.parametrize("mistake", MISTAKES, ids=lambda mistake: f"{mistake.theme}: {mistake.name}")
def test_one_mistake_one_sentence(mistake: Mistake) -> None:
    said, _ = answers()
    assert said[mistake] == mistake.says
    assert len(said[mistake].splitlines()) == 1


def test_every_mistake_has_a_name_of_its_own() -> None:
    names = [mistake.name for mistake in MISTAKES]
    assert sorted(names) == sorted(set(names))


RULES = [values, rules, images, machines, network, operations, checks, collisions]
"""Where problems of a cluster.yaml are found."""


def test_every_sentence_has_its_mistake() -> None:
    _, places = answers()
    silent = [
        f"{Path(file).name}:{lines.start}"
        for module in RULES
        for file, lines in _sentences(module)
        if not any(there == file and line in lines for there, line in places)
    ]
    assert silent == []


def _sentences(module: ModuleType) -> Iterator[tuple[str, range]]:
    """The places in a module that say something: file, and the lines of the call."""
    file = inspect.getsourcefile(module)
    assert file is not None
    for node in ast.walk(ast.parse(Path(file).read_text(encoding="utf-8"))):
        match node:
            case ast.Call(func=ast.Attribute(attr="problem")) | ast.Call(func=ast.Name(id="refuse")):
                yield file, range(node.lineno, (node.end_lineno or node.lineno) + 1)


def test_every_foreign_key_has_its_mistake() -> None:
    texts = [mistake.new for mistake in MISTAKES]
    known = {*foreign_keys.RENAMED, *foreign_keys.ANSWERED}
    assert [key for key in sorted(known) if not any(f"{key}:" in text for text in texts)] == []
