"""Files of a Go module, fetched by the `go` command, which checks them against the public checksum database."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import yaml

from toolchain.errors import ToolchainError
from toolchain.installation import REPOSITORY

GENERATOR = REPOSITORY / "toolchain" / "modules" / "custom-resources"
"""The module of controller-gen, which writes CRDs from Go types."""

_ENVIRONMENT = {
    "GOTOOLCHAIN": "auto",  # some modules ask for a newer Go than the one that is installed; go fetches it
    "GOWORK": "off",
    "GOFLAGS": "-modcacherw",
}


def fetched(module: str, version: str) -> Path:
    """The folder of a module. Raises ToolchainError."""
    with tempfile.TemporaryDirectory() as folder:
        answer = _go(["mod", "download", "-json", f"{module}@{version}"], Path(folder))
    return Path(json.loads(answer)["Dir"])


def generated(packages: Iterable[str]) -> list[dict[str, Any]]:
    """The CRDs of Go packages that `GENERATOR`'s go.mod pins, as their makers generate them."""
    with tempfile.TemporaryDirectory() as folder:
        paths = [f"paths={package}" for package in packages]
        _go(["tool", "controller-gen", "crd:crdVersions=v1", *paths, f"output:crd:dir={folder}"], GENERATOR)
        return [found for file in sorted(Path(folder).glob("*.yaml")) for found in documents(file)]


def _go(arguments: list[str], folder: Path) -> str:
    program = shutil.which("go")
    if program is None:
        raise ToolchainError("there is no go on PATH, and it is what fetches the modules: install Go 1.26 or newer")
    environment = {**os.environ, **_ENVIRONMENT}
    done = subprocess.run(
        [program, *arguments], cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise ToolchainError(f"go {' '.join(arguments)} failed: {(done.stderr or done.stdout).strip()}")
    return done.stdout


class _Loader(yaml.CSafeLoader):
    """YAML as Kubernetes reads it: `=` is text."""


_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:value"]
    for first, resolvers in yaml.CSafeLoader.yaml_implicit_resolvers.items()
}


def documents(file: Path) -> list[dict[str, Any]]:
    """The documents of a YAML file, which may be a chart's template as long as that only encloses YAML."""
    lines = file.read_text(encoding="utf-8").splitlines()
    text = "\n".join(line for line in lines if not line.lstrip().startswith("{{"))
    return [found for found in yaml.load_all(text, Loader=_Loader) if found]


def custom_resources(folder: Path, places: Iterable[str]) -> list[dict[str, Any]]:
    """The CRDs in files of a module; a place is a file, or a folder with all below it."""
    files = dict.fromkeys(file for place in places for file in _files(folder / place))
    return [found for file in files for found in documents(file) if found["kind"] == "CustomResourceDefinition"]


def _files(folder: Path) -> list[Path]:
    found = [folder] if folder.is_file() else sorted(folder.rglob("*.yaml"))
    if not found:
        raise ToolchainError(f"{folder} holds no *.yaml file")
    return found
