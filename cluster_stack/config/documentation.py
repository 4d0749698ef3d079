"""What the keys of cluster.yaml mean: the text under each field of the models.

Read from the models' source, and only when somebody asks: for a message, the reference, the schema. Pydantic can do the
same while it makes the models, but then every start of the program pays for it.
"""

from __future__ import annotations

import ast
import inspect
import sys
from functools import cache

from pydantic import BaseModel


def description(model: type[BaseModel], field: str) -> str:
    """The documentation of a model's field (by its Python name) on one line, or an empty text."""
    for owner in model.__mro__:
        found = _module(owner.__module__).get((owner.__qualname__, field))
        if found is not None:
            return found
    return ""


@cache
def _module(name: str) -> dict[tuple[str, str], str]:
    """(class, field) -> documentation, for the classes of a module."""
    module = sys.modules[name]
    if not getattr(module, "__file__", None):
        return {}
    tree = ast.parse(inspect.getsource(module))
    return {
        (statement.name, field): text
        for statement in tree.body
        if isinstance(statement, ast.ClassDef)
        for field, text in _fields(statement)
    }


def _fields(definition: ast.ClassDef) -> list[tuple[str, str]]:
    found = []
    for statement, after in zip(definition.body, definition.body[1:], strict=False):
        if (
            isinstance(statement, ast.AnnAssign)
            and isinstance(statement.target, ast.Name)
            and isinstance(after, ast.Expr)
            and isinstance(after.value, ast.Constant)
            and isinstance(after.value.value, str)
        ):
            found.append((statement.target.id, " ".join(after.value.value.split())))
    return found
