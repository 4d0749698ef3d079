"""Folders of ``infrastructure/`` as the objects that kustomize makes of them, each with the files it comes from."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from cluster_stack.manifests.remote import remotes

_ORIGIN = "config.kubernetes.io/origin"
_CHANGES = "alpha.config.kubernetes.io/transformations"
_WRAPPER = """\
apiVersion: kustomize.config.k8s.io/v1beta1
kind: Kustomization
resources: [{path}]
buildMetadata: [originAnnotations, transformerAnnotations]
"""


class BuildError(Exception):
    """A folder that kustomize cannot build. The text is what kustomize says of the cause, on one line."""

    def __init__(self, text: str, file: str, line: int = 0, fix: str = "") -> None:
        super().__init__(text)
        self.file = file
        """The file that the mistake is in, or that leads to it, from the project's folder."""
        self.line = line
        """From 1; 0 where kustomize does not say."""
        self.fix = fix
        """What to do; empty where kustomize alone can tell when it is right."""


class NoKustomizeError(Exception):
    """There is nothing to build with. The text says what to do."""


@dataclass(frozen=True)
class Source:
    """The text of one object, before the cluster's facts are in it."""

    text: str
    origin: str
    """The file that it stands in, from the project's folder."""
    changed_in: tuple[str, ...]
    """The kustomization files that changed it, in their order."""


@dataclass(frozen=True)
class Object:
    manifest: Mapping[str, Any]
    source: Source

    @property
    def api_version(self) -> str:
        return str(self.manifest.get("apiVersion", ""))

    @property
    def group(self) -> str:
        return self.api_version.rpartition("/")[0]

    @property
    def kind(self) -> str:
        return str(self.manifest.get("kind", ""))

    @property
    def name(self) -> str:
        return str(self._metadata.get("name", ""))

    @property
    def namespace(self) -> str:
        return str(self._metadata.get("namespace") or "")

    @property
    def _metadata(self) -> Mapping[str, Any]:
        found = self.manifest.get("metadata")
        return found if isinstance(found, dict) else {}

    @property
    def identity(self) -> tuple[str, str, str, str]:
        """What makes it one object of the cluster, whatever the version of its API."""
        return self.group, self.kind, self.namespace, self.name

    def __str__(self) -> str:
        place = f"{self.namespace}/" if self.namespace else ""
        return f"{self.kind} {place}{self.name}"


class Loader(yaml.CSafeLoader):
    """YAML as Kubernetes reads it: dates and ``=`` are text."""


Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in found if not tag.endswith((":timestamp", ":value"))]
    for first, found in yaml.CSafeLoader.yaml_implicit_resolvers.items()
}


class Builder:
    """Builds folders of one project. Every folder is built once."""

    def __init__(self, root: Path) -> None:
        self._root = root.resolve()
        self._command = _command(root)
        self._built: dict[str, list[Source] | BuildError] = {}

    def build(self, path: str) -> list[Source]:
        """The objects of a folder (from the project's). Raises BuildError."""
        if path not in self._built:
            try:
                self._built[path] = self._build(path)
            except BuildError as error:
                self._built[path] = error
        found = self._built[path]
        if isinstance(found, BuildError):
            raise found
        return found

    def _build(self, path: str) -> list[Source]:
        if not (self._root / path).is_dir():
            raise BuildError("there is no such folder", path)
        for file, line, entry in remotes(self._root, path):
            fix = "Copy it into this repository, and name the copy."
            raise BuildError(f"it would have to fetch {entry}, and nothing is fetched here", file, line, fix)
        with tempfile.TemporaryDirectory() as folder:
            # A wrapper, because only the outermost kustomization can ask for the files that objects come from.
            wrapper = Path(folder).resolve()
            relative = os.path.relpath(self._root / path, wrapper)
            (wrapper / "kustomization.yaml").write_text(_WRAPPER.format(path=relative), encoding="utf-8")
            done = subprocess.run([*self._command, str(wrapper)], capture_output=True, text=True, check=False)
            if done.returncode:
                raise self._error(done.stderr, path, wrapper)
            texts = [text for text in re.split(r"^---\n", done.stdout, flags=re.MULTILINE) if text.strip()]
            return [self._source(text, wrapper) for text in texts]

    def _source(self, text: str, wrapper: Path) -> Source:
        document = yaml.load(text, Loader=Loader)  # noqa: S506 (a safe loader)
        metadata = document["metadata"]
        annotations = metadata["annotations"]
        origin = _yaml(annotations.pop(_ORIGIN, "")) or {}
        changes = _yaml(annotations.pop(_CHANGES, "")) or []
        if not annotations:
            del metadata["annotations"]
        files = [self._file(change["configuredIn"], wrapper) for change in changes if "configuredIn" in change]
        generated = origin.get("path") or origin.get("configuredIn") or ""
        return Source(_without_annotations(text), self._file(generated, wrapper), tuple(dict.fromkeys(files)))

    def _file(self, relative: str, wrapper: Path) -> str:
        return os.path.relpath((wrapper / relative).resolve(), self._root) if relative else ""

    def _error(self, message: str, path: str, wrapper: Path) -> BuildError:
        """kustomize says on which way it came to a mistake, and last what it is."""
        text = _complaint(message)
        for folder in (os.path.relpath(self._root, wrapper), str(self._root), str(wrapper)):
            text = text.replace(f"{folder}/", "")
        way, _, cause = text.rpartition("recursed accumulation of path ")
        folder, _, cause = cause.partition(": ") if way else (path, "", text)
        folder, cause = folder.strip("'"), _cause(cause)
        if match := re.match(r"accumulating resources from '([^']+)': evalsymlink failure", cause):
            return BuildError(f"there is no {match[1]} in {folder}", f"{folder}/kustomization.yaml")
        if match := re.search(r"yaml: line (\d+): (.*?)(?: in File: (\S+))?$", cause):
            return BuildError(match[2], f"{folder}/{match[3] or 'kustomization.yaml'}", int(match[1]))
        return BuildError(cause.rstrip("."), f"{folder}/kustomization.yaml")


def _complaint(message: str) -> str:
    """What kustomize says, on one line. kubectl says it as an error of its own, or logs it, as its version is."""
    if match := re.search(r'"command failed" err=(?:"(.*)"|<(.*)>)', message, re.DOTALL):
        message = match[1].replace('\\"', '"') if match[1] is not None else match[2]
    return re.sub(r"^error: ", "", " ".join(message.split()), flags=re.IGNORECASE)


def _cause(text: str) -> str:
    """What stands behind the steps on kustomize's way, as far as it is known how it words them."""
    text = re.sub(r"^accumulating resources: accumulation err='", "", text)
    return text.rpartition("couldn't make target for path ")[2].partition(": ")[2] if "make target" in text else text


def _command(root: Path) -> list[str]:
    """kustomize on PATH, or the toolchain's, or the one in kubectl."""
    places = os.pathsep.join([os.environ.get("PATH", ""), str(root / ".toolchain" / "bin")])
    if program := shutil.which("kustomize", path=places):
        return [program, "build"]
    if program := shutil.which("kubectl"):
        return [program, "kustomize"]
    raise NoKustomizeError(
        "neither kustomize nor kubectl is on PATH, so infrastructure/ cannot be built. "
        "Install one of them, or run `python -m toolchain ensure kustomize`."
    )


def _yaml(text: str) -> Any:
    return yaml.load(text, Loader=Loader)  # noqa: S506 (a safe loader)


def _without_annotations(text: str) -> str:
    """The text of an object without the annotations that the wrapper asked for; kustomize writes each as a block."""
    lines, kept, depth = text.splitlines(keepends=True), [], None
    for line in lines:
        indent = len(line) - len(line.lstrip(" "))
        if depth is not None and (indent > depth or not line.strip()):
            continue
        depth = None
        if line.strip().startswith((f"{_ORIGIN}:", f"{_CHANGES}:")):
            depth = indent
            continue
        kept.append(line)
    return re.sub(r"^  annotations:\n(?!    )", "", "".join(kept), flags=re.MULTILINE)
