"""A clone with made-up tools for each test."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.toolchain.fake_clone import FakeClone


@pytest.fixture
def clone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeClone:
    """A clone in which nothing is installed, on a machine with `go` and nothing else."""
    fake = FakeClone(tmp_path)
    fake.lay()
    for name, value in fake.environment().items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("PULUMI_HOME", raising=False)
    monkeypatch.delenv("TOOLCHAIN_GO_CACHES", raising=False)
    for module in ("ensure", "installation", "__main__"):
        monkeypatch.setattr(f"toolchain.{module}.tools", lambda: fake.tools)
    return fake
