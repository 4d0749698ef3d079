"""The reference of cluster.yaml, made from its models: a JSON Schema for editors, a page for people.

Nothing of the ordinary start imports this package.
"""

from __future__ import annotations

import json

from cluster_stack.config.reference import example
from cluster_stack.config.reference.page import page
from cluster_stack.config.reference.schema import COMMAND, json_schema

__all__ = ["COMMAND", "files"]


def files() -> dict[str, str]:
    """Path in the project -> what belongs there.

    Raises LookupError, which says what to add, for a key without an example and for a type that nobody described.
    """
    examples = example.examples()
    schema = json_schema(examples)
    return {
        "schema/cluster.schema.json": json.dumps(schema, indent=2, ensure_ascii=False) + "\n",
        "docs/cluster-yaml.md": page(schema, examples, example.TEXT),
    }
