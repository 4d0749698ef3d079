"""What a run of `ensure` finds, fetches and builds, and what it leaves behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import toolchain
from tests.toolchain import fake_clone
from tests.toolchain.fake_clone import PLUGIN, FakeClone
from toolchain import makers, processes
from toolchain.builds import CompletedBuild, ModuleFile, OtherName, Tool
from toolchain.errors import ToolchainError
from toolchain.installation import Installation


def program(path: Path, says: str) -> None:
    """A made-up program that tells a version."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\necho {says}\n")
    path.chmod(0o755)


def start(clone: FakeClone, *options: str) -> subprocess.Popen[str]:
    """A run in a process of its own, which can be killed."""
    return subprocess.Popen(
        [sys.executable, str(Path(fake_clone.__file__)), str(clone.root), *options],
        env=os.environ.copy(),
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        # A shell starts background jobs with this signal ignored, and so would be all that the tests start.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )


def wait_for_a_build(run: subprocess.Popen[str]) -> None:
    """Until a run says that its `go build` is still running."""
    assert run.stdout
    assert any("still running" in line for line in run.stdout), "no build began"


def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    """No maker answers."""
    monkeypatch.setattr(makers, "unreachable", lambda hosts: dict.fromkeys(hosts, "no answer"))


def test_everything_is_built_once(clone: FakeClone) -> None:
    clone.change("proxmoxve", version_arguments=())
    clone.run().ensure([])
    assert len(clone.builds()) == 3
    assert (clone.installation.bin / "pulumi-language-python-exec").read_text() == "print()"
    plugin = clone.installation.home / "plugins" / "resource-proxmoxve-v8.6.0" / "pulumi-resource-proxmoxve"
    assert os.access(plugin, os.X_OK)
    clone.run().ensure([])
    assert len(clone.builds()) == 3


def test_a_second_clone_shares_the_files_and_builds_nothing(clone: FakeClone) -> None:
    clone.run().ensure([])
    first = clone.installation
    clone.installation = Installation(clone.root / "second")
    (first.repository / "modules").rename(clone.root / "modules")
    (clone.root / "second").mkdir()
    (clone.root / "modules").rename(clone.root / "second" / "modules")
    clone.run().ensure([])
    assert len(clone.builds()) == 3
    assert (clone.installation.bin / "pulumi").samefile(first.bin / "pulumi")


def test_a_program_can_have_a_second_name(clone: FakeClone) -> None:
    clone.change("pulumi", names=(OtherName("pulumi", "pulumictl"),))
    clone.change("pulumi", programs=(*clone.tools["pulumi"].programs, "pulumictl"))
    clone.run().ensure(["pulumi"])
    assert (clone.installation.bin / "pulumictl").samefile(clone.installation.bin / "pulumi")
    assert clone.installation.installed()["pulumi"].programs[-1].version == "3.1.0"
    (clone.installation.bin / "pulumictl").unlink()
    clone.run().ensure(["pulumi"])
    assert (clone.installation.bin / "pulumictl").samefile(clone.installation.bin / "pulumi")


def test_another_second_name_is_another_build(clone: FakeClone) -> None:
    clone.run().ensure(["pulumi"])
    clone.change("pulumi", names=(OtherName("pulumi", "pulumictl"),))
    clone.run().ensure(["pulumi"])
    assert (clone.installation.bin / "pulumictl").samefile(clone.installation.bin / "pulumi")


def test_without_a_network_a_clone_lives_from_the_store(clone: FakeClone, monkeypatch: pytest.MonkeyPatch) -> None:
    offline(monkeypatch)
    clone.run().ensure([])
    clone.installation = Installation(clone.installation.repository)
    (clone.installation.root / "installed.json").unlink()
    (clone.root / "bin" / "go").unlink()
    clone.run(from_source=False).ensure([])
    assert clone.installation.program("pulumi").exists()


def test_the_named_tools_and_what_they_need(clone: FakeClone) -> None:
    clone.run().ensure(["proxmoxve"])
    assert set(clone.installation.installed()) == {"pulumi", "proxmoxve"}
    with pytest.raises(ToolchainError, match=r"no tool pulumy; there are: pulumi, proxmoxve"):
        clone.run().ensure(["pulumy"])


def test_a_changed_module_is_built_anew_and_the_old_result_dropped(clone: FakeClone) -> None:
    clone.run().ensure([])
    before = clone.entries()
    (clone.installation.repository / "modules" / "proxmoxve" / "main.go").write_text("package main")
    clone.run().ensure([])
    after = clone.entries()
    assert len(clone.builds()) == 4
    assert [entry for entry in before if entry.startswith("pulumi")] == [e for e in after if e.startswith("pulumi")]
    assert len(after) == len(before) == 2
    assert after != before


def test_a_missing_file_is_put_back(clone: FakeClone) -> None:
    clone.run().ensure([])
    (clone.installation.bin / "pulumi").unlink()
    clone.run().ensure([])
    assert (clone.installation.bin / "pulumi").exists()
    assert len(clone.builds()) == 3


def test_builds_have_an_environment_of_their_own(clone: FakeClone) -> None:
    clone.run().ensure([])
    for call in clone.builds():
        assert "GOFLAGS=-mod=readonly -trimpath -buildvcs=false -modcacherw GOPROXY=https://proxy.example.org" in call
        assert f"GOMODCACHE={clone.store.root}" in call


def test_the_builds_caches_are_gone_at_the_end(clone: FakeClone) -> None:
    clone.run().ensure([])
    assert clone.leftovers() == []


def test_the_builds_caches_stay_when_asked_for(clone: FakeClone) -> None:
    clone.run(keep_caches=True).ensure(["pulumi"])
    assert clone.leftovers() == [clone.store.go_caches]
    clone.run().ensure(["pulumi"])
    assert clone.leftovers() == [clone.store.go_caches], "a run that builds nothing must not touch what was kept"
    clone.run().ensure(["proxmoxve"])
    assert clone.leftovers() == []


def test_a_failing_build_says_what_why_and_what_to_do(clone: FakeClone) -> None:
    (clone.root / "broken").write_text(
        "".join(f"line {n}\n" for n in range(40)) + "write /x: no space left on device\n"
    )
    (clone.store.runs / "dead").mkdir(parents=True)
    with pytest.raises(ToolchainError) as failure:
        clone.run().ensure([])
    text = str(failure.value)
    assert text.startswith(f"building pulumi failed in {clone.installation.repository}/modules/pulumi: `")
    assert "line 39" in text
    assert "line 20\n" not in text
    assert text.endswith("What to do: free about 10 GB there, or set XDG_CACHE_HOME to a folder on a larger disk.")
    assert clone.entries() == []
    assert clone.leftovers() == []
    with pytest.raises(ToolchainError, match=r"pulumi 3.1.0 is not installed: run `python -m toolchain ensure` first"):
        clone.installation.environment()


def test_a_program_that_tells_another_version_is_not_kept(clone: FakeClone) -> None:
    (clone.root / "says").write_text("3.0.9")
    with pytest.raises(ToolchainError, match=r"pulumi 3.1.0 was built but says that it is 'v3.0.9\\n'"):
        clone.run().ensure([])
    assert clone.entries() == []


def test_a_plugin_is_not_built_for_a_wheel_of_another_version(clone: FakeClone) -> None:
    clone.change("proxmoxve", version="8.7.0")
    with pytest.raises(
        ToolchainError, match=r"proxmoxve 8.7.0 could not be downloaded, and modules/proxmoxve makes 8.6.0"
    ):
        clone.run().ensure([])


def test_a_long_build_gives_signs_of_life(clone: FakeClone, monkeypatch: pytest.MonkeyPatch) -> None:
    (clone.root / "hold").touch()
    said: list[str] = []

    def let_it_end(text: str) -> None:
        said.append(text)
        (clone.root / "hold").unlink(missing_ok=True)

    monkeypatch.setattr(processes, "HEARTBEAT", 0.02)
    monkeypatch.setattr(processes, "say", let_it_end)
    clone.run().ensure(["pulumi"])
    assert said[0] == "    building pulumi: still running after 0 s"


@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGINT])
def test_an_interrupted_build_is_not_taken_for_finished(clone: FakeClone, end: signal.Signals) -> None:
    (clone.root / "hold").touch()
    run = start(clone)
    wait_for_a_build(run)
    run.send_signal(end)
    run.communicate(timeout=10)  # the build that it waits for would never end by itself
    assert run.returncode != 0
    assert clone.entries() == []
    if end == signal.SIGKILL:
        assert clone.leftovers() != [], "then this test shows nothing about leftovers"
    else:
        assert clone.leftovers() == []
    (clone.root / "hold").unlink()
    clone.run().ensure([])
    assert "echo v3.1.0" in (clone.installation.bin / "pulumi").read_text()
    assert clone.leftovers() == []


def test_leftovers_are_removed_even_if_nothing_is_to_be_built(clone: FakeClone) -> None:
    clone.run().ensure([])
    (clone.store.runs / "dead").mkdir()
    (clone.store.go_caches / "modules").mkdir(parents=True)
    clone.run().ensure([])
    assert clone.leftovers() == []


def test_leftovers_of_a_living_run_stay(clone: FakeClone) -> None:
    clone.run().ensure([])
    with clone.store.building():
        (clone.store.runs / "alive").mkdir()
        clone.run().ensure([])
    assert clone.leftovers() == [clone.store.runs / "alive"]


def test_two_runs_at_once_build_once(clone: FakeClone) -> None:
    (clone.root / "hold").touch()
    first = start(clone)
    wait_for_a_build(first)
    second = start(clone)
    assert second.stdout
    assert second.stdout.readline() == "another run is at work in this clone: waiting for it\n"
    (clone.root / "hold").unlink()
    assert (first.wait(), second.wait()) == (0, 0)
    first.communicate()
    second.communicate()
    assert len(clone.builds()) == 3


def test_two_clones_at_once_build_once(clone: FakeClone, monkeypatch: pytest.MonkeyPatch) -> None:
    (clone.root / "hold").touch()
    first = start(clone, "--keep-caches")
    wait_for_a_build(first)
    clone.installation.root = clone.root / "another"  # or the lock of the clone itself would come first
    said: list[str] = []

    def let_the_first_go_on(text: str) -> None:
        said.append(text)
        (clone.root / "hold").unlink()

    monkeypatch.setattr("toolchain.store.say", let_the_first_go_on)
    clone.run().ensure(["pulumi"])
    assert said == ["another run is at work on the same tools: waiting for it, its result will be used"]
    assert first.wait() == 0
    first.communicate()
    assert len(clone.builds()) == 3
    assert clone.leftovers() == [clone.store.go_caches], "the run that only waited must not touch what the other keeps"


@pytest.mark.parametrize(
    ("version", "used"),
    [("v3.1.0", True), ("v3.272.0", True), ("v3.0.9", False), ("v4.0.0", False), ("who knows", False)],
)
def test_a_pulumi_on_path_is_used_if_it_is_new_enough(
    clone: FakeClone, monkeypatch: pytest.MonkeyPatch, version: str, used: bool
) -> None:
    offline(monkeypatch)
    theirs = clone.root / "bin"
    program(theirs / "pulumi", version)
    program(theirs / "pulumi-language-python", "")
    program(theirs / "pulumi-language-python-exec", "")
    clone.run(from_source=False).ensure(["pulumi"])
    entry = clone.installation.installed()["pulumi"]
    assert (entry.origin, entry.programs[0].path == str(theirs / "pulumi")) == (
        ("found", True) if used else ("built", False)
    )


def test_a_pulumi_without_the_python_host_is_not_used(
    clone: FakeClone, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    offline(monkeypatch)
    program(clone.root / "bin" / "pulumi", "v3.5.0")
    clone.run(from_source=False).ensure(["pulumi"])
    assert clone.installation.installed()["pulumi"].origin == "built"
    assert "has no pulumi-language-python" in capsys.readouterr().out


@pytest.mark.parametrize("partial", [False, True])
def test_a_plugin_of_the_user_is_used_if_it_is_complete(
    clone: FakeClone, monkeypatch: pytest.MonkeyPatch, partial: bool
) -> None:
    offline(monkeypatch)
    theirs = clone.root / "home" / ".pulumi" / "plugins"
    program(theirs / "resource-proxmoxve-v8.6.0" / "pulumi-resource-proxmoxve", "theirs")
    if partial:
        (theirs / "resource-proxmoxve-v8.6.0.partial").touch()
    clone.run(from_source=False).ensure(["proxmoxve"])
    assert clone.installation.installed()["proxmoxve"].origin == ("built" if partial else "found")
    old = clone.installation.home / "plugins" / "resource-proxmoxve-v8.6.0"
    assert old.exists()
    clone.change("proxmoxve", version="8.7.0", source_version="8.7.0")
    clone.run().ensure(["proxmoxve"])
    assert not old.exists(), "the engine must not find a version that is no longer wanted"


def test_what_the_makers_publish_is_preferred(clone: FakeClone, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(makers, "unreachable", lambda hosts: {})

    def download(pulumi: Path, tool: Tool, files: Path, scratch: Path) -> None:
        program(files / tool.programs[0], "released")

    monkeypatch.setattr(makers, "download_plugin", download)
    clone.run(from_source=False).ensure(["proxmoxve"])
    entry = clone.installation.installed()["proxmoxve"]
    assert (entry.origin, entry.detail) == ("downloaded", "from api.example.org")
    assert "released" in Path(entry.programs[0].path).read_text()
    assert "PULUMI_DISABLE_AUTOMATIC_PLUGIN_ACQUISITION" not in clone.installation.environment()


def test_a_failing_download_is_told_and_built(
    clone: FakeClone, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(makers, "unreachable", lambda hosts: {})

    def download(*_: object) -> None:
        raise ToolchainError("the maker has had enough of you")

    monkeypatch.setattr(makers, "download_plugin", download)
    clone.run(from_source=False).ensure(["proxmoxve"])
    assert clone.installation.installed()["proxmoxve"].origin == "built"
    assert "the maker has had enough of you\nproxmoxve is built from source instead" in capsys.readouterr().out


def test_go_comes_with_pip_where_there_is_none(clone: FakeClone, monkeypatch: pytest.MonkeyPatch) -> None:
    """The made-up pip lays the made-up go where the real one would."""
    go = (clone.root / "bin" / "go").rename(clone.root / "other-go")
    pip = clone.root / "bin" / "python"
    pip.write_text(f'#!/bin/sh\nwhile [ "$1" != --target ]; do shift; done\nmkdir -p $2/go/bin\ncp {go} $2/go/bin/go\n')
    pip.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(pip))
    clone.run().ensure(["pulumi"])
    assert clone.installation.installed()["pulumi"].detail == "with go1.26.6"
    assert len(clone.builds()) == 2


def test_an_old_go_is_not_used(clone: FakeClone, monkeypatch: pytest.MonkeyPatch) -> None:
    go = clone.root / "bin" / "go"
    go.write_text(go.read_text().replace("echo go1.26.8", "echo go1.22.1"))
    monkeypatch.setattr(sys, "executable", "/bin/false")
    with pytest.raises(ToolchainError, match=r"fetching Go 1.26.6 with pip"):
        clone.run().ensure(["pulumi"])


def test_a_plugin_alone_has_no_use(clone: FakeClone) -> None:
    assert [tool.name for tool in toolchain.ensure.select([PLUGIN.name])] == ["pulumi", "proxmoxve"]


def test_what_is_on_request_comes_when_it_is_named(clone: FakeClone) -> None:
    clone.change("proxmoxve", on_request=True, plugin_server="")
    clone.run().ensure([])
    assert set(clone.installation.installed()) == {"pulumi"}
    with pytest.raises(ToolchainError, match=r"not installed: run `python -m toolchain ensure proxmoxve` first"):
        clone.installation.program("proxmoxve")
    clone.run().ensure(["proxmoxve"])
    assert clone.installation.program("proxmoxve").exists()


def test_a_module_that_lacks_a_file_is_completed_before_the_build(clone: FakeClone) -> None:
    (clone.root / "module" / "data").mkdir()
    (clone.root / "module" / "data" / "1.yaml").write_text("one")
    build = CompletedBuild(
        *("modules/proxmoxve", "example.org/cmd", "flux", "3.1.0"),
        module="example.org",
        lacks="page",
        content="!",
        settings=("GOFIPS140=latest",),
    )
    data = ModuleFile("modules/proxmoxve", "example.org", "data", "flux-data", "3.1.0")
    clone.tools["flux"] = Tool("flux", "3.1.0", ("flux",), (build,), 1, "3.1.0", copies=(data,))
    (clone.installation.repository / "modules/proxmoxve/go.sum").touch()
    clone.run().ensure(["flux"])
    (built,) = clone.builds()
    assert built.endswith("latest!")
    assert not (clone.root / "module" / "page").exists()
    assert (clone.installation.bin / "flux-data" / "1.yaml").read_text() == "one"


def test_a_tool_that_wants_a_newer_go_gets_it_alone(clone: FakeClone, monkeypatch: pytest.MonkeyPatch) -> None:
    (clone.installation.repository / "modules/proxmoxve/go.mod").write_text("module example.org\n\ngo 1.27.0\n")
    monkeypatch.setattr(sys, "executable", "/bin/false")
    with pytest.raises(ToolchainError, match=r"fetching Go 1.27.3 with pip"):
        clone.run().ensure([])
    assert clone.installation.installed()["pulumi"].detail == "with go1.26.8"
