"""Find, read and check cluster.yaml files."""

from __future__ import annotations

import errno
from dataclasses import dataclass, field
from pathlib import Path

from pydantic import ValidationError

from cluster_stack.config import document as yaml_document
from cluster_stack.config import rules
from cluster_stack.config.document import Document
from cluster_stack.config.models import ClusterConfig
from cluster_stack.config.problems import ConfigError, Problem

FILE_NAME = "cluster.yaml"


@dataclass(frozen=True)
class ClusterFile:
    """A checked cluster.yaml: the values, and where each of them stands."""

    config: ClusterConfig
    document: Document = field(repr=False)

    def problem(self, key: str | yaml_document.Path, what: str, fix: str) -> Problem:
        """A problem at a key of this file (dotted, or part by part), for checks that only a later stage can make."""
        return self.document.problem(tuple(key.split(".")) if isinstance(key, str) else key, what, fix)


def cluster_names(root: Path) -> list[str]:
    """The clusters of a project: the folders of ``clusters/`` that hold a cluster.yaml."""
    return sorted(file.parent.name for file in (root / "clusters").glob(f"*/{FILE_NAME}"))


def load(root: Path, name: str) -> ClusterFile:
    """Read ``<root>/clusters/<name>/cluster.yaml``. Raises ConfigError with every problem found."""
    shown = f"clusters/{name}/{FILE_NAME}"
    names = cluster_names(root)
    if name not in names:
        raise ConfigError([_unknown(name, names, shown)])
    path = root / shown
    try:
        if path.is_fifo() or path.is_socket():  # nobody would ever answer
            raise OSError(errno.EINVAL, "Not a file")
        with path.open("rb") as file:
            raw = file.read(yaml_document.MAX_BYTES + 1)
    except OSError as error:
        what = f"the file cannot be read: {error.strerror}."
        raise ConfigError([Problem(shown, 0, "", what, "It must be a file that you may read.")]) from None
    return load_text(raw, shown)


def load_text(raw: bytes, name: str) -> ClusterFile:
    """Read the bytes of one cluster.yaml; ``name`` (``clusters/<folder>/cluster.yaml``) stands in messages."""
    document = yaml_document.parse(raw, name)
    try:
        config = ClusterConfig.model_validate(document.data)
    except ValidationError as error:
        from cluster_stack.config import mistakes

        raise ConfigError(mistakes.problems(document, error)) from None
    if problems := yaml_document.foremost(rules.check(config, document)):
        raise ConfigError(problems)
    return ClusterFile(config, document)


def _unknown(name: str, names: list[str], file: str) -> Problem:
    from difflib import get_close_matches

    near = get_close_matches(name, names, n=1)
    hint = f"Did you mean {near[0]}? " if near else ""
    fix = f"{hint}Clusters here: {', '.join(names) or 'none'}. A stack has the name of its folder in clusters/."
    return Problem(file, 0, "", f"there is no cluster {name!r}.", fix)
