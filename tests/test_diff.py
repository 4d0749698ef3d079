"""`python -m cluster_stack diff`: the working copy against what git has."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from cluster_stack import project
from cluster_stack.changed import cluster_at
from cluster_stack.cli import main
from cluster_stack.git import GitError
from cluster_stack.report.diff import as_text, diff
from cluster_stack.report.terminal import Terminal
from tests import checkout
from tests.checkout import Git

ROOT = Path(__file__).parents[1]
GOOD = (ROOT / "clusters/homelab/cluster.yaml").read_text()
PATCHED = GOOD.replace("    installDisk: /dev/sda", '    installDisk: /dev/sda\n    patches: ["@patches/env.yaml"]')


@pytest.fixture
def git(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Git:
    """A project in ``tmp_path`` with one cluster, homelab, committed; the terminal has 100 columns."""
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.setattr(project, "ROOT", tmp_path)

    run = checkout.begin(tmp_path, monkeypatch)
    _write(tmp_path, GOOD)
    run("add", ".")
    run("commit", "-qm", "first")
    return run


def _write(root: Path, text: str, file: str = "cluster.yaml", name: str = "homelab") -> None:
    path = root / "clusters" / name / file
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def test_an_edit_in_words(git: Git, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    edited = GOOD.replace("count: 1", "count: 3", 1).replace("memory: 16384, disk: 100", "memory: 32768, disk: 200")
    _write(tmp_path, edited.replace("v1.11.5", "v1.11.6", 1))
    assert main(["diff", "homelab"]) == 0
    assert capsys.readouterr().out == (
        """\
homelab, compared with HEAD
  edited: cluster.talos.version, cluster.topology.controlPlane.count,
  cluster.topology.workers.resources.memory, cluster.topology.workers.resources.disk

warning  nothing drains homelab-worker1 before the restart

upgrade  one node after another: `talosctl upgrade --nodes <node> --image
  factory.talos.dev/metal-installer/ce4c980550dd2ab1b17bbf2b08801c7eb59418eafe8f279833297925d67c7515:v1.11.6`

created  homelab-cp2
  control plane, VM 801 on ms01, 4 cores, 8 GB memory, 32 GB disk, DHCP

created  homelab-cp3
  control plane, VM 802 on ms01, 4 cores, 8 GB memory, 32 GB disk, DHCP

restarted  homelab-worker1
  memory 16 GB to 32 GB
  upgrade: Talos v1.11.5 to v1.11.6
  changed: the system disk grows, 100 GB to 200 GB, without a restart; Talos takes the new space at
  its next boot

upgrade  homelab-cp1
  Talos v1.11.5 to v1.11.6

2  created    a new machine
1  restarted  off and on again
1  upgrade    by hand; the update only changes the installer image in its configuration
"""
    )


def test_nodes_that_change_alike_are_told_together(git: Git, tmp_path: Path) -> None:
    git("commit", "--allow-empty", "-qm", "second")
    _write(tmp_path, GOOD.replace("onBoot: false", "onBoot: true"))
    shown = as_text(diff(tmp_path, "homelab", "HEAD~1"), Terminal(60))
    assert shown.startswith("homelab, compared with HEAD~1\n")
    assert "changed  homelab-cp1, homelab-worker1\n  started with its host no to yes\n" in shown


def test_no_edit(git: Git, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["diff", "homelab"]) == 0
    assert capsys.readouterr().out.endswith("unchanged  homelab-cp1, homelab-worker1\n\nNothing changes.\n")
    _write(tmp_path, GOOD.replace("branch: main", "branch: next"))
    assert main(["diff", "homelab"]) == 0
    shown = capsys.readouterr().out
    assert "edited: gitops.flux.branch\n" in shown
    assert shown.endswith("No machine changes by it.\n")


def test_for_programs(git: Git, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _write(tmp_path, GOOD.replace("disk: 100", "disk: 50"))
    assert main(["diff", "homelab", "--json", "--base", "main"]) == 1
    text = "the system disk would shrink, 100 GB to 50 GB, and no disk does: write 100 or more"
    assert json.loads(capsys.readouterr().out) == {
        "name": "homelab",
        "base": "main",
        "ok": False,
        "keys": ["cluster.topology.workers.resources.disk"],
        "reasons": [],
        "nodes": [
            {"name": "homelab-cp1", "role": "controlplane", "kind": "unchanged", "reasons": []},
            {
                "name": "homelab-worker1",
                "role": "worker",
                "kind": "refused",
                "reasons": [{"kind": "refused", "text": text}],
            },
        ],
    }


def test_a_new_cluster(git: Git, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = GOOD.replace("name: homelab", "name: fresh").replace("talos-homelab", "fresh").replace("800", "700")
    _write(tmp_path, text, name="fresh")
    assert main(["diff", "fresh"]) == 0
    shown = capsys.readouterr().out
    assert "created  fresh-cp1\n  control plane, VM 700 on ms01" in shown
    assert shown.endswith("\n\n2  created  a new machine\n")


def test_a_cluster_that_is_gone(git: Git, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    git("rm", "-rq", "clusters/homelab")
    assert main(["diff", "homelab"]) == 0
    shown = capsys.readouterr().out
    assert "removed  homelab-cp1\n  control plane, VM 800 on ms01\n" in shown
    assert "they stay until `pulumi destroy -s homelab`." in " ".join(shown.split())


def test_a_cluster_that_never_was(git: Git, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("homelub", "..", "../homelab", ""):
        assert main(["diff", name]) == 1
        shown = capsys.readouterr()
        assert shown.out == ""
        assert f"there is no cluster {name!r}" in shown.err


def test_patches_are_those_of_their_revision(git: Git, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _write(tmp_path, PATCHED)
    _write(tmp_path, "machine: {env: {HTTP_PROXY: one}}\n", "patches/env.yaml")
    git("add", ".")
    git("commit", "-qm", "a patch")
    assert main(["diff", "homelab"]) == 0
    assert capsys.readouterr().out.endswith("Nothing changes.\n")
    _write(tmp_path, "machine: {env: {HTTP_PROXY: two}}\n", "patches/env.yaml")
    assert main(["diff", "homelab"]) == 0
    shown = capsys.readouterr().out
    assert "restarted  homelab-cp1, homelab-worker1\n  machine.env.HTTP_PROXY: Talos reboots" in shown
    assert main(["diff", "homelab", "--base", "HEAD~1"]) == 0
    assert "  machine.env: Talos reboots" in capsys.readouterr().out


def test_a_file_that_was_wrong_then(git: Git, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _write(tmp_path, GOOD.replace("idBase: 800", "idBase: high"))
    git("commit", "-qam", "wrong")
    line = 1 + GOOD[: GOOD.index("idBase")].count("\n")
    assert main(["diff", "homelab"]) == 1
    assert capsys.readouterr().err.startswith(f"HEAD:clusters/homelab/cluster.yaml:{line}: proxmox.vm.idBase: 'high'")
    _write(tmp_path, GOOD)
    assert main(["diff", "homelab", "--base", "HEAD~1"]) == 0


def test_a_file_that_is_wrong_now(git: Git, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _write(tmp_path, GOOD.replace("idBase: 800", "idBase: high"))
    assert main(["diff", "homelab"]) == 1
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err.startswith("clusters/homelab/cluster.yaml:")


def test_a_patch_that_was_wrong_then(git: Git, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _write(tmp_path, PATCHED)
    git("commit", "-qam", "a patch without its file")
    _write(tmp_path, GOOD)
    assert main(["diff", "homelab"]) == 1
    assert "there is no file" in capsys.readouterr().err


def test_an_unknown_revision(git: Git, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["diff", "homelab", "--base", "nowhere"]) == 1
    assert capsys.readouterr().err.startswith("git knows no revision 'nowhere' here.")
    with pytest.raises(GitError):
        cluster_at(tmp_path, "--help", "homelab")


def test_the_files_of_a_cluster(git: Git, tmp_path: Path) -> None:
    content = b"\xff\x00 \r\n"
    _write(tmp_path, "", "ä b.yaml")
    (tmp_path / "clusters/homelab/ä b.yaml").write_bytes(content)
    _write(tmp_path, "not a cluster", "README.md", name="homelab2")
    git("add", ".")
    git("commit", "-qm", "more")
    assert cluster_at(tmp_path, "HEAD~1", "homelab").keys() == {"clusters/homelab/cluster.yaml"}
    found = cluster_at(tmp_path, "HEAD", "homelab")
    assert found == {"clusters/homelab/cluster.yaml": GOOD.encode(), "clusters/homelab/ä b.yaml": content}
    assert cluster_at(tmp_path, "HEAD", "homelab2") == {}


def test_a_project_below_the_top_of_a_checkout(git: Git, tmp_path: Path) -> None:
    (tmp_path / "site").mkdir()
    git("mv", "clusters", "site/clusters")
    git("commit", "-qm", "below")
    assert cluster_at(tmp_path / "site", "HEAD", "homelab").keys() == {"clusters/homelab/cluster.yaml"}
    assert cluster_at(tmp_path / "site", "HEAD~1", "homelab") == {}


def test_colours_say_what_is_grave(git: Git, tmp_path: Path) -> None:
    _write(tmp_path, GOOD.replace("disk: 100", "disk: 50"))
    shown = as_text(diff(tmp_path, "homelab", "HEAD"), Terminal(100, colours=True))
    assert "\033[31mrefused\033[0m  homelab-worker1" in shown
    assert "\033[2munchanged\033[0m  homelab-cp1" in shown


def test_a_file_cannot_command_the_terminal(git: Git, tmp_path: Path) -> None:
    _write(tmp_path, GOOD.replace("clusterName: talos-homelab", 'clusterName: "a\\e[31m"'))
    assert "\033" not in as_text(diff(tmp_path, "homelab", "HEAD"), Terminal(100))
