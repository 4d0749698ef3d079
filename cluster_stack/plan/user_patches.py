"""The user's patches of each node's machine configuration: read, checked, and in the form that the provider takes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path as FilePath
from typing import Any

from cluster_stack.config import ClusterFile, ConfigError, Problem
from cluster_stack.plan.nodes import NodePlan, Path, Role


@dataclass(frozen=True)
class UserPatches:
    texts: Mapping[str, tuple[str, ...]]
    """Name of a node -> its patches in the order of their application."""
    documents: Mapping[str, tuple[Mapping[str, Any], ...]]
    """The same, as what they say."""
    problems: tuple[Problem, ...]


def read(file: ClusterFile, nodes: Sequence[NodePlan], root: FilePath, talos_minor: int) -> UserPatches:
    """Read and check the patches of all nodes, which are to run Talos v1.``talos_minor``."""
    if not any(node.patches for node in nodes):
        return UserPatches({node.name: () for node in nodes}, {}, ())
    # Talos' schema takes a while to read, so only who has patches waits for it.
    from cluster_stack.plan.patches import PatchDocument, Place, as_patch_texts, check
    from cluster_stack.plan.patches import read as read_item

    problems: dict[Problem, None] = {}
    documents: dict[Path, list[PatchDocument]] = {}
    texts: dict[str, tuple[str, ...]] = {}
    data: dict[str, tuple[Mapping[str, Any], ...]] = {}
    alike: dict[tuple[Role, tuple[Path, ...]], tuple[tuple[str, ...], tuple[Mapping[str, Any], ...]]] = {}
    folder = root / "clusters" / file.config.metadata.name

    def documents_of(path: Path, item: Any) -> list[PatchDocument]:
        if path not in documents:
            try:
                documents[path] = read_item(item, folder=folder, where=Place(file.document, path))
            except ConfigError as error:
                documents[path] = []
                problems.update(dict.fromkeys(error.problems))
        return documents[path]

    for node in nodes:
        kind = (node.role, tuple(path for path, _ in node.patches))
        if kind not in alike:
            all_of_it = [document for path, item in node.patches for document in documents_of(path, item)]
            problems.update(dict.fromkeys(check(all_of_it, talos_minor, node.role)))
            alike[kind] = tuple(as_patch_texts(all_of_it)), tuple(document.data for document in all_of_it)
        texts[node.name], data[node.name] = alike[kind]
    return UserPatches(texts, data, tuple(problems))
