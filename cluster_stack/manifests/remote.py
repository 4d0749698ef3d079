"""What a kustomization would have kustomize fetch from elsewhere. Nothing here is: a check asks nobody."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import yaml

from cluster_stack.plan.gitops.components import BUILD_FILES

_LISTS = ("resources", "components", "bases", "crds", "configurations", "generators", "transformers", "validators")
"""The keys whose entries may be folders or files that lie elsewhere."""
_ELSEWHERE = re.compile(
    r"""://                                      # any address
      | ^git::                                   # the way of go-getter
      | ^[\w.-]+@[\w.-]+:                        # the way of SSH
      | ^(github\.com|gitlab\.com|bitbucket\.org)/
      | [?&](ref|version)=                       # a revision
    """,
    re.VERBOSE,
)


class Remote(NamedTuple):
    file: str
    """From the project's folder."""
    line: int
    entry: str


def remotes(root: Path, path: str) -> Iterator[Remote]:
    """Those of a folder (from the project's), and of the folders that it names."""
    seen: set[Path] = set()
    waiting = [(root / path).resolve()]
    while waiting:
        folder = waiting.pop()
        file = next((folder / name for name in BUILD_FILES if (folder / name).is_file()), None)
        if folder in seen or file is None:
            continue
        seen.add(folder)
        for line, entry in _entries(file):
            if _ELSEWHERE.search(entry) and not (folder / entry).exists():
                yield Remote(file.relative_to(root.resolve()).as_posix(), line, entry)
            else:
                waiting.append((folder / entry).resolve())


def _entries(file: Path) -> Iterator[tuple[int, str]]:
    try:
        document = yaml.compose(file.read_text(encoding="utf-8"), Loader=yaml.CSafeLoader)
    except yaml.YAMLError:
        return  # kustomize says what is wrong with it
    for key, value in document.value if isinstance(document, yaml.MappingNode) else ():
        if key.value in _LISTS and isinstance(value, yaml.SequenceNode):
            for entry in value.value:
                if isinstance(entry, yaml.ScalarNode):
                    yield entry.start_mark.line + 1, entry.value
