"""Whether a maker is there is known in seconds, and a release is used only if it is what its maker says."""

from __future__ import annotations

import hashlib
import io
import socket
import tarfile
import time
from pathlib import Path

import pytest

from tests.toolchain.fake_clone import PLUGIN
from toolchain import makers
from toolchain.builds import Release
from toolchain.errors import ToolchainError


def test_a_maker_that_never_answers_is_noticed_in_time(capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        host = f"127.0.0.1:{silent.getsockname()[1]}"
        started = time.monotonic()
        assert makers.unreachable([host], patience=0.1) == {host: "no answer"}
        assert time.monotonic() - started < 1.0
    assert f"{host}: cannot be reached (no answer)" in capsys.readouterr().out


def test_the_real_patience_is_a_few_seconds() -> None:
    assert makers.PATIENCE <= 5


def test_a_name_server_that_never_answers_is_noticed_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    def never(url: str, patience: float) -> str:
        time.sleep(1)
        return ""

    monkeypatch.setattr(makers, "_why_unreachable", never)
    started = time.monotonic()
    assert makers.unreachable(["github.com"], patience=0.1) == {"github.com": "no answer"}
    assert time.monotonic() - started < 0.9


def test_a_refusal_is_told_at_once() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    assert "refused" in makers.unreachable([f"127.0.0.1:{port}"])[f"127.0.0.1:{port}"]


def release(folder: Path, asset: str, content: bytes, listed: bytes | None = None) -> Release:
    """A release in a folder, with the sum of its asset or of something else."""
    folder.mkdir()
    (folder / asset).write_bytes(content)
    digest = hashlib.sha256(content if listed is None else listed).hexdigest()
    (folder / "sums.txt").write_text(f"{digest}  {asset}\n{'0' * 64}  another\n")
    return Release(host="example.org", folder=f"{folder.as_uri()}/", asset=asset, checksums="sums.txt")


def archive(*names: str) -> bytes:
    """A tar.gz of files that contain their own names."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        for name in names:
            info = tarfile.TarInfo(name)
            info.size = len(name)
            tar.addfile(info, io.BytesIO(name.encode()))
    return buffer.getvalue()


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path]:
    files, scratch = tmp_path / "files", tmp_path / "scratch"
    files.mkdir()
    scratch.mkdir()
    return files, scratch


def test_a_release_of_one_program(tmp_path: Path, folders: tuple[Path, Path]) -> None:
    made = release(tmp_path / "release", "talosctl-linux-amd64", b"program")
    makers.download_release(made, ("talosctl",), *folders)
    assert (folders[0] / "talosctl").read_bytes() == b"program"


def test_a_release_in_an_archive(tmp_path: Path, folders: tuple[Path, Path]) -> None:
    content = archive("pulumi/pulumi", "pulumi/pulumi-language-go", "../../pulumi-language-python")
    makers.download_release(
        release(tmp_path / "release", "p.tar.gz", content), ("pulumi", "pulumi-language-python"), *folders
    )
    assert sorted(path.name for path in folders[0].iterdir()) == ["pulumi", "pulumi-language-python"]


def test_a_release_that_lacks_a_program(tmp_path: Path, folders: tuple[Path, Path]) -> None:
    made = release(tmp_path / "release", "p.tar.gz", archive("pulumi/pulumi"))
    with pytest.raises(ToolchainError, match=r"does not contain pulumi-language-python$"):
        makers.download_release(made, ("pulumi", "pulumi-language-python"), *folders)


def test_a_release_that_is_not_what_its_sums_say(tmp_path: Path, folders: tuple[Path, Path]) -> None:
    made = release(tmp_path / "release", "talosctl", b"evil", listed=b"good")
    with pytest.raises(ToolchainError, match=r"is not what sums.txt beside it says: expected SHA-256 770e6"):
        makers.download_release(made, ("talosctl",), *folders)
    assert list(folders[0].iterdir()) == []


def test_a_release_that_is_not_there(tmp_path: Path, folders: tuple[Path, Path]) -> None:
    made = Release(host="", folder=f"{tmp_path.as_uri()}/", asset="a", checksums="b")
    with pytest.raises(ToolchainError, match="could not be downloaded"):
        makers.download_release(made, ("a",), *folders)


def test_the_cli_fetches_a_plugin_into_a_home_of_its_own(tmp_path: Path, folders: tuple[Path, Path]) -> None:
    pulumi = tmp_path / "pulumi"
    plugin = '"$PULUMI_HOME/plugins/resource-proxmoxve-v8.6.0"'
    pulumi.write_text(f'#!/bin/sh\nmkdir -p {plugin}/sub\necho "$@" > {plugin}/pulumi-resource-proxmoxve\n')
    pulumi.chmod(0o755)
    makers.download_plugin(pulumi, PLUGIN, *folders)
    assert [path.name for path in folders[0].iterdir()] == ["pulumi-resource-proxmoxve"]
    assert (folders[0] / "pulumi-resource-proxmoxve").read_text() == (
        "plugin install resource proxmoxve 8.6.0 --server github://api.example.org/maker\n"
    )
