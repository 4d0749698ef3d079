"""`python -m cluster_stack check`, on a terminal and in a workflow."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
from pathlib import Path

import pytest

from cluster_stack import cli, project
from cluster_stack.automation import Outputs
from cluster_stack.cli import main

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


def test_a_line_for_each_good_cluster(clusters: Path, capsys: pytest.CaptureFixture[str]) -> None:
    prod = GOOD.replace("name: homelab", "name: prod").replace("idBase: 800", "idBase: 900")
    _write(clusters, "prod", prod.replace("count: 1", "count: 3", 1))
    assert main(["check"]) == 0
    shown = capsys.readouterr()
    assert shown.out.splitlines() == [
        "homelab: 1 control plane, 1 worker, VM ids 800 to 810",
        "prod: 3 control planes, 1 worker, VM ids 900 to 910",
    ]
    assert shown.err == ""
    assert main(["check", "prod"]) == 0
    assert capsys.readouterr().out == "prod: 3 control planes, 1 worker, VM ids 900 to 910\n"


def test_every_problem_of_every_cluster(clusters: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _write(clusters, "bad", GOOD.replace("name: homelab", "name: bed").replace("idBase: 800", "idBase: high"))
    _write(clusters, "worse", "{")
    assert main(["check"]) == 1
    shown = capsys.readouterr()
    assert shown.out == "homelab: 1 control plane, 1 worker, VM ids 800 to 810\n"
    lines = shown.err.splitlines()
    assert any(line.startswith("clusters/bad/cluster.yaml:") for line in lines)
    assert any(line.startswith("clusters/worse/cluster.yaml:") for line in lines)
    assert "warning: clusters/bad/cluster.yaml has errors, so its VM ids could not be compared." in lines
    assert "Traceback" not in shown.err


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
    assert warning.startswith("::warning file=clusters/homelab/cluster.yaml::clusters/a,b:c/cluster.yaml has errors")
    place = f"::error file=clusters/a%2Cb%3Ac/cluster.yaml,line={line}::clusters/a,b:c/cluster.yaml:{line}: "
    assert any(error.startswith(f"{place}proxmox.vm.idBase: '50%25' ") for error in errors)


def test_a_message_stays_on_its_line() -> None:
    assert cli._escaped("100% of a:\r\nb, c") == "100%25 of a:%0D%0Ab, c"
    assert cli._escaped("100% of a:\r\nb, c", ":,") == "100%25 of a%3A%0D%0Ab%2C c"


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


def test_neither_command_imports_pulumi() -> None:
    program = (
        "import sys; from cluster_stack.cli import main\n"
        "main(['check']); main(['changed', '--base', 'HEAD'])\n"
        "sys.exit('pulumi was imported' if 'pulumi' in sys.modules else 0)"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_the_outputs_that_can_be_asked_for_are_those_that_there_are() -> None:
    assert tuple(field.name for field in dataclasses.fields(Outputs)) == cli.OUTPUTS
