"""`python -m cluster_stack check`, on a terminal, in a workflow, and for programs."""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from pulumi.automation import CommandError, CommandResult

from cluster_stack import cli, project
from cluster_stack.automation import Outputs, said
from cluster_stack.cli import main
from cluster_stack.config import load
from cluster_stack.report import check

ROOT = Path(__file__).parents[1]
GOOD = (ROOT / "clusters/homelab/cluster.yaml").read_text()


@pytest.fixture
def clusters(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder clusters/ of a project with one good cluster, homelab; on a terminal."""
    monkeypatch.delenv("GITHUB_ACTIONS", raising=False)
    monkeypatch.setattr(project, "ROOT", tmp_path)
    _write(tmp_path / "clusters", "homelab", GOOD)
    return tmp_path / "clusters"


def _write(clusters: Path, name: str, text: str) -> None:
    (clusters / name).mkdir(parents=True)
    (clusters / name / "cluster.yaml").write_text(text)


def _other(name: str, id_base: int) -> str:
    text = GOOD.replace("name: homelab", f"name: {name}").replace("clusterName: talos-homelab", "")
    return text.replace("idBase: 800", f"idBase: {id_base}")


def test_a_line_for_each_good_cluster(clusters: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _write(clusters, "prod", _other("prod", 900).replace("count: 1", "count: 3", 1))
    assert main(["check"]) == 0
    shown = capsys.readouterr()
    assert shown.out.splitlines() == [
        "homelab: 1 control plane, 1 worker, VM ids 800 to 810",
        "prod: 3 control planes, 1 worker, VM ids 900 to 910",
    ]
    assert shown.err == ""
    assert main(["check", "prod"]) == 0
    assert capsys.readouterr().out.startswith("prod: ")


def test_no_cluster_is_said(clusters: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (clusters / "homelab/cluster.yaml").unlink()
    (clusters / "homelab").rmdir()
    assert main(["check"]) == 0
    assert capsys.readouterr().err.startswith("There is no cluster here")


def test_a_reader_that_has_seen_enough() -> None:
    """As `| head -1` is one."""
    read, write = os.pipe()
    os.close(read)
    try:
        arguments = [sys.executable, "-m", "cluster_stack", "show", "homelab"]
        done = subprocess.run(arguments, cwd=ROOT, stdout=write, stderr=subprocess.PIPE, text=True, check=False)
    finally:
        os.close(write)
    assert (done.returncode, done.stderr) == (1, "")


@pytest.mark.parametrize("command", ["up", "preview", "destroy", "outputs", "recover"])
def test_without_an_engine(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path, command: str
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert main([command, "homelab"]) == 1
    assert capsys.readouterr().err.startswith("there is no `pulumi` on the PATH. Run `make toolchain`")


def test_every_problem_of_every_cluster(clusters: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _write(clusters, "bad", GOOD.replace("name: homelab", "name: bed").replace("idBase: 800", "idBase: high"))
    _write(clusters, "worse", "{")
    assert main(["check"]) == 1
    shown = capsys.readouterr()
    assert shown.out == "homelab: 1 control plane, 1 worker, VM ids 800 to 810\n"
    lines = shown.err.splitlines()
    assert any(line.startswith("clusters/bad/cluster.yaml:") for line in lines)
    assert any(line.startswith("clusters/worse/cluster.yaml:") for line in lines)
    assert any("clusters/bad/cluster.yaml has errors" in line for line in lines if line.startswith("warning: "))
    assert "Traceback" not in shown.err


def test_a_folder_that_is_no_cluster(clusters: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (clusters / "empty").mkdir()
    (clusters / "yml").mkdir()
    (clusters / "yml" / "cluster.yml").touch()
    (clusters / ".hidden").mkdir()
    (clusters / "README.md").touch()
    assert main(["check"]) == 1
    assert capsys.readouterr().err.splitlines() == [
        "clusters/empty/cluster.yaml: the folder has no cluster.yaml, so it is no cluster. "
        "Write one, or move the folder out of clusters/.",
        "clusters/yml/cluster.yaml: the folder has no cluster.yaml, so it is no cluster. "
        "Rename cluster.yml to cluster.yaml.",
    ]
    assert main(["check", "homelab"]) == 0


def test_a_project_without_clusters(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(project, "ROOT", tmp_path)
    assert main(["check", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"ok": True, "clusters": []}


def _json(capsys: pytest.CaptureFixture[str], *arguments: str) -> dict[str, Any]:
    code = main(["check", "--json", *arguments])
    shown = capsys.readouterr()
    assert shown.err == ""
    document: dict[str, Any] = json.loads(shown.out)
    assert code == (0 if document["ok"] else 1)
    return document


def test_for_programs(clusters: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    assert _json(capsys) == {
        "ok": True,
        "clusters": [{"name": "homelab", "nodes": 2, "problems": [], "warnings": []}],
    }
    _write(clusters, "bad", _other("bad", 900).replace("idBase: 900", "idBase: high"))
    (clusters / "empty").mkdir()
    document = _json(capsys)
    assert [(found["name"], found["nodes"], len(found["problems"])) for found in document["clusters"]] == [
        ("bad", 0, 1),
        ("homelab", 2, 0),
        ("empty", 0, 1),
    ]
    (problem,) = document["clusters"][0]["problems"]
    assert problem.pop("fix").endswith(".")
    assert problem == {
        "file": "clusters/bad/cluster.yaml",
        "line": 1 + GOOD[: GOOD.index("idBase")].count("\n"),
        "key": "proxmox.vm.idBase",
        "what": "'high' is not a whole number.",
    }
    (warning,) = document["clusters"][1]["warnings"]
    assert (warning["file"], warning["key"]) == ("clusters/homelab/cluster.yaml", "metadata.name")


def test_an_unknown_name_for_programs(clusters: Path, capsys: pytest.CaptureFixture[str]) -> None:
    document = _json(capsys, "homelub", "homelab")
    assert not document["ok"]
    assert [found["name"] for found in document["clusters"]] == ["homelub", "homelab"]
    (problem,) = document["clusters"][0]["problems"]
    assert (problem["line"], problem["key"], problem["what"]) == (0, "", "there is no cluster 'homelub'.")
    assert problem["fix"].startswith("Did you mean homelab?")


def test_every_file_is_read_once(clusters: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(5):
        _write(clusters, f"other{number}x", _other(f"other{number}x", 1000 + 100 * number))
    read: Counter[str] = Counter()

    def counted(root: Path, name: str) -> object:
        read[name] += 1
        return load(root, name)

    monkeypatch.setattr(project, "load", counted)
    assert not any(found.problems for found in check.check(clusters.parent, []))
    assert len(read) == 6
    assert set(read.values()) == {1}


def test_in_a_workflow_problems_are_annotations(
    clusters: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    bad = GOOD.replace("idBase: 800", "idBase: 50%")
    line = 1 + bad[: bad.index("idBase")].count("\n")
    _write(clusters, "a,b:c", bad)
    assert main(["check"]) == 1
    shown = capsys.readouterr()
    assert shown.err == ""
    *errors, good, warning = shown.out.splitlines()
    assert good == "homelab: 1 control plane, 1 worker, VM ids 800 to 810"
    name = 1 + GOOD[: GOOD.index("name: homelab")].count("\n")
    place = f"::warning file=clusters/homelab/cluster.yaml,line={name}::clusters/homelab/cluster.yaml:{name}: "
    assert warning.startswith(f"{place}metadata.name: clusters/a,b:c/cluster.yaml has errors")
    place = f"::error file=clusters/a%2Cb%3Ac/cluster.yaml,line={line}::clusters/a,b:c/cluster.yaml:{line}: "
    assert any(error.startswith(f"{place}proxmox.vm.idBase: '50%25' ") for error in errors)


def test_a_message_stays_on_its_line() -> None:
    assert check._escaped("100% of a:\r\nb, c") == "100%25 of a:%0D%0Ab, c"
    assert check._escaped("100% of a:\r\nb, c", ":,") == "100%25 of a%3A%0D%0Ab%2C c"


def test_a_problem_of_the_whole_file_names_no_line(
    clusters: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    assert main(["check", "homelub"]) == 1
    shown = capsys.readouterr().out
    assert shown.startswith("::error file=clusters/homelub/cluster.yaml::clusters/homelub/cluster.yaml: ")
    assert "Did you mean homelab?" in shown


def test_the_clusters_of_this_project_are_good(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check"]) == 0, capsys.readouterr().err


def test_no_offline_command_imports_pulumi(tmp_path: Path) -> None:
    commands = [
        ["check"],
        ["check", "--json"],
        ["show", "homelab"],
        ["show", "homelab", "--json", "--svg", str(tmp_path / "homelab.svg")],
        ["diff", "homelab"],
        ["changed", "--base", "HEAD"],
    ]
    program = (
        "import sys; from cluster_stack.cli import main\n"
        f"for command in {commands!r}: main(command)\n"
        "sys.exit('pulumi was imported' if 'pulumi' in sys.modules else 0)"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "homelab.svg").exists()


def test_of_a_failed_command_only_its_error_is_told() -> None:
    failed = CommandError(CommandResult(stdout="a\n", stderr="error: no passphrase\n", code=255))
    assert said(failed) == "no passphrase"


def test_the_outputs_that_can_be_asked_for_are_those_that_there_are() -> None:
    assert tuple(field.name for field in dataclasses.fields(Outputs)) == cli.OUTPUTS
