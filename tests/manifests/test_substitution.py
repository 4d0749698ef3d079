"""`${NAME}` as Flux replaces it."""

from __future__ import annotations

import pytest

from cluster_stack.manifests.substitution import substituted, unknown_forms, variables

VALUES = {"NAME": "prod", "EMPTY": ""}


@pytest.mark.parametrize(
    ("text", "result"),
    [
        ("name: ${NAME}", "name: prod"),
        ("name: ${NAME}-${NAME}", "name: prod-prod"),
        ("name: ${OTHER:=dev}", "name: dev"),
        ("name: ${OTHER:-dev}", "name: dev"),
        ("name: ${EMPTY:=dev}", "name: dev"),
        ("name: ${NAME:=dev}", "name: prod"),
        ("name: ${OTHER}", "name: "),
        ("name: $${NAME}", "name: ${NAME}"),
        ("name: $NAME", "name: $NAME"),
        ("name: ${NAME^^}", "name: ${NAME^^}"),
    ],
)
def test_what_becomes_of_a_text(text: str, result: str) -> None:
    assert substituted(text, VALUES) == result


def test_the_names_in_a_text() -> None:
    assert list(variables("${A} $${B} ${C:=c} ${D^^} $E")) == [("A", False), ("C", True)]
    assert unknown_forms("${A} ${D^^} ${E/x/y}") == ["${D^^}", "${E/x/y}"]


def test_an_object_that_wants_none_of_it() -> None:
    text = "metadata:\n  annotations:\n    kustomize.toolkit.fluxcd.io/substitute: disabled\nname: ${NAME}\n"
    assert substituted(text, VALUES) == text
    assert list(variables(text)) == []
