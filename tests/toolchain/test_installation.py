"""What the other parts of the project are told: paths, an environment, and a table for a person."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.toolchain.fake_clone import FakeClone
from toolchain.__main__ import main, status
from toolchain.errors import ToolchainError
from toolchain.installation import Installation


def test_without_ensure_there_is_a_sentence(clone: FakeClone) -> None:
    with pytest.raises(ToolchainError, match=r"pulumi 3.1.0 is not installed: run `python -m toolchain ensure` first"):
        clone.installation.environment()
    with pytest.raises(ToolchainError, match="there is no tool 'helm'; there are: pulumi, proxmoxve"):
        clone.installation.program("helm")


def test_the_environment_of_tools_built_here(clone: FakeClone, monkeypatch: pytest.MonkeyPatch) -> None:
    clone.run().ensure([])
    monkeypatch.setattr(subprocess, "Popen", None)  # asking starts no process
    monkeypatch.setenv("PATH", "/usr/bin:/bin")
    started = time.perf_counter()
    environment = clone.installation.environment()
    assert time.perf_counter() - started < 0.02
    assert environment == {
        "PATH": os.pathsep.join([f"{sys.prefix}/bin", str(clone.installation.bin), "/usr/bin", "/bin"]),
        "PULUMI_HOME": str(clone.installation.root / "pulumi-home"),
        "PULUMI_SKIP_UPDATE_CHECK": "true",
        "PULUMI_IGNORE_AMBIENT_PLUGINS": "true",
        "PULUMI_DISABLE_AUTOMATIC_PLUGIN_ACQUISITION": "true",
    }
    monkeypatch.setenv("PATH", environment["PATH"])
    assert clone.installation.environment()["PATH"] == environment["PATH"]


def test_a_pulumi_found_elsewhere_is_on_the_path(clone: FakeClone, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in clone.tools["pulumi"].programs:
        (clone.root / "bin" / name).write_text("#!/bin/sh\necho v3.2.0\n")
        (clone.root / "bin" / name).chmod(0o755)
    clone.run(from_source=False).ensure(["pulumi"])
    monkeypatch.setenv("PATH", "/usr/bin")
    assert clone.installation.environment()["PATH"].endswith(f"/usr/bin:{clone.root / 'bin'}")
    assert clone.installation.program("pulumi") == clone.root / "bin" / "pulumi"


@pytest.mark.parametrize("change", ["version", "file"])
def test_a_tool_that_is_no_longer_right_is_told(clone: FakeClone, change: str) -> None:
    clone.run().ensure([])
    if change == "version":
        clone.change("proxmoxve", version="8.7.0")
    else:
        clone.installation.folder(clone.tools["proxmoxve"]).joinpath("pulumi-resource-proxmoxve").unlink()
    with pytest.raises(ToolchainError, match=r"proxmoxve is installed for version 8.6.0, wanted is 8"):
        clone.installation.environment()


def test_a_tool_that_has_another_program_now_is_not_there(clone: FakeClone, capsys: pytest.CaptureFixture[str]) -> None:
    clone.run().ensure([])
    clone.change("proxmoxve", programs=("pulumi-resource-proxmoxve", "another"))
    assert status(clone.installation) is False
    assert "pulumi-resource-proxmoxve    8.6.0    missing" in capsys.readouterr().out


def test_a_record_that_cannot_be_read_is_none(clone: FakeClone) -> None:
    clone.run().ensure([])
    (clone.installation.root / "installed.json").write_text('{"pulumi": {"wanted"')
    assert clone.installation.installed() == {}


def test_whoever_reads_no_further_is_told_nothing() -> None:
    done = subprocess.run(
        ["sh", "-c", f"{sys.executable} -m toolchain status | true"], capture_output=True, text=True, check=True
    )
    assert done.stderr == ""


def test_the_table(clone: FakeClone, capsys: pytest.CaptureFixture[str]) -> None:
    clone.run().ensure(["pulumi"])
    capsys.readouterr()
    assert status(clone.installation) is False
    folder = clone.installation.bin
    assert capsys.readouterr().out.splitlines() == [
        "PROGRAM                      VERSION  FROM                 PATH",
        f"pulumi                       3.1.0    built with go1.26.8  {folder}/pulumi",
        f"pulumi-language-python       3.0.0    built with go1.26.8  {folder}/pulumi-language-python",
        f"pulumi-language-python-exec  3.1.0    built with go1.26.8  {folder}/pulumi-language-python-exec",
        "pulumi-resource-proxmoxve    8.6.0    missing              run `python -m toolchain ensure`",
    ]
    clone.run().ensure([])
    assert status(clone.installation) is True


def test_nobody_misses_what_is_on_request(clone: FakeClone, capsys: pytest.CaptureFixture[str]) -> None:
    clone.run().ensure([])
    clone.change("proxmoxve", on_request=True, plugin_server="", version="9.0.0")
    clone.installation.environment()
    capsys.readouterr()
    assert status(clone.installation) is True
    last = capsys.readouterr().out.splitlines()[-1]
    assert last.split(maxsplit=2) == [
        "proxmoxve",
        "9.0.0",
        "on request           `python -m toolchain ensure proxmoxve`",
    ]


def test_errors_are_sentences(
    clone: FakeClone, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("toolchain.__main__.Installation", lambda: clone.installation)
    assert main(["environment"]) == 1
    assert capfd.readouterr() == (
        "",
        "toolchain: pulumi 3.1.0 is not installed: run `python -m toolchain ensure` first\n",
    )


def test_the_lines_for_a_shell(
    clone: FakeClone, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    clone.installation = Installation(clone.root / "a folder; with 'odd' characters")
    (clone.root / "clone").rename(clone.installation.repository)
    clone.run().ensure([])
    capsys.readouterr()
    monkeypatch.setattr("toolchain.__main__.Installation", lambda: clone.installation)
    assert main(["environment"]) == 0
    shell = capsys.readouterr().out + 'printf %s "$PULUMI_HOME"'
    answer = subprocess.run(["/bin/sh", "-c", shell], capture_output=True, text=True, check=True)
    assert Path(answer.stdout) == clone.installation.home
