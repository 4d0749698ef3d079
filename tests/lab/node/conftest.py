"""The machines' program is built once, by the toolchain of the machine that runs the tests."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.lab.node import site as sites


@pytest.fixture(scope="session")
def node_binary(tmp_path_factory: pytest.TempPathFactory) -> Path:
    binary = tmp_path_factory.mktemp("binary") / "talos-node"
    subprocess.run(
        ["go", "build", "-mod=readonly", "-trimpath", "-ldflags", "-s -w", "-o", str(binary), "."],
        cwd=sites.REPOSITORY / "lab" / "node", env={**os.environ, "CGO_ENABLED": "0"}, check=True,
    )  # fmt: skip
    return binary


@pytest.fixture(scope="session")
def talosctl_binary() -> Path:
    return sites.REPOSITORY / ".toolchain" / "bin" / "talosctl"


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory, node_binary: Path, talosctl_binary: Path) -> Iterator[sites.Site]:
    with sites.running(tmp_path_factory.mktemp("site"), node_binary, talosctl_binary) as made:
        yield made
