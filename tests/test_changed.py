"""Which clusters a change touches: by path, and by what git says of a real checkout."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from cluster_stack import project
from cluster_stack.changed import changed_files, clusters_removed, clusters_touched
from cluster_stack.cli import main
from cluster_stack.git import GitError
from tests import checkout
from tests.checkout import Git

NAMES = ["dev", "homelab", "prod"]


@pytest.mark.parametrize(
    ("file", "touched"),
    [
        ("clusters/homelab/cluster.yaml", ["homelab"]),
        ("clusters/homelab/patches/one.yaml", ["homelab"]),
        ("stacks/Pulumi.prod.yaml", ["prod"]),
        ("stacks/Pulumi.gone.yaml", []),
        ("stacks/README.md", []),
        ("clusters/README.md", []),
        ("clusters/gone/cluster.yaml", []),
        ("cluster_stack/plan/nodes.py", NAMES),
        ("infrastructure/controllers/README.md", NAMES),
        ("__main__.py", NAMES),
        ("Pulumi.yaml", NAMES),
        ("requirements.txt", NAMES),
        ("requirements-dev.txt", NAMES),
        ("constraints.txt", NAMES),
        ("something/new.txt", NAMES),
        ("docs/proxmox.md", []),
        ("tests/plan/test_plan.py", []),
        ("lab/daemon.py", []),
        ("toolchain/modules/talos/go.mod", []),
        (".github/workflows/pull-request.yaml", []),
        (".ci/run", []),
        ("README.md", []),
        ("LICENSE", []),
        ("Makefile", []),
    ],
)
def test_a_file_touches(file: str, touched: list[str]) -> None:
    assert clusters_touched([file], NAMES) == touched


def test_files_add_up() -> None:
    files = ["README.md", "clusters/prod/cluster.yaml", "stacks/Pulumi.dev.yaml", "clusters/dev/cluster.yaml"]
    assert clusters_touched(files, NAMES) == ["dev", "prod"]
    assert clusters_touched([], NAMES) == []


def test_a_removed_cluster_is_told_from_other_folders() -> None:
    files = ["clusters/gone/cluster.yaml", "clusters/notes/README.md", "clusters/dev/cluster.yaml"]
    assert clusters_removed(files, NAMES) == ["gone"]


@pytest.fixture
def git(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Git:
    """A checkout in ``tmp_path`` with one commit on ``main``: clusters old and dev, and a shared file."""

    run = checkout.begin(tmp_path, monkeypatch)
    _write(tmp_path, "clusters/old/cluster.yaml", "a cluster of some length, so that git sees a rename\n" * 5)
    _write(tmp_path, "clusters/dev/cluster.yaml", "dev\n")
    _write(tmp_path, "__main__.py", "")
    run("add", ".")
    run("commit", "-qm", "first")
    run("checkout", "-qb", "topic")
    return run


def _write(root: Path, file: str, text: str) -> None:
    (root / file).parent.mkdir(parents=True, exist_ok=True)
    (root / file).write_text(text)


def test_only_what_head_changed_counts(git: Git, tmp_path: Path) -> None:
    git("checkout", "-q", "main")
    _write(tmp_path, "__main__.py", "changed on main, after the topic left it")
    git("commit", "-qam", "on main")
    git("checkout", "-q", "topic")
    _write(tmp_path, "clusters/dev/ä\nb.yaml", "a name that git would quote")
    git("add", ".")
    git("commit", "-qm", "on the topic")
    _write(tmp_path, "__main__.py", "not committed")
    assert changed_files(tmp_path, "main") == ["clusters/dev/ä\nb.yaml"]
    # As a workflow sees it: the merge of the topic into its target, fetched without history.
    git("checkout", "-qf", "main")
    git("merge", "-q", "--no-ff", "-m", "merge", "topic")
    shallow = tmp_path / "shallow"
    git("clone", "-q", "--depth=2", f"file://{tmp_path}", str(shallow))
    assert changed_files(shallow, "HEAD^1") == ["clusters/dev/ä\nb.yaml"]


def test_a_renamed_cluster_went_and_came(
    git: Git, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    git("mv", "clusters/old", "clusters/new")
    git("commit", "-qm", "rename")
    monkeypatch.setattr(project, "ROOT", tmp_path)
    assert main(["changed", "--base", "main"]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "new",
        "old: removed, so there is nothing to preview. Its machines stay until `pulumi destroy -s old`.",
    ]
    assert main(["changed", "--base", "main", "--format", "json"]) == 0
    assert json.loads(capsys.readouterr().out) == ["new"]
    assert main(["changed", "--base", "HEAD", "--format", "json"]) == 0
    assert capsys.readouterr().out == "[]\n"
    assert main(["changed", "--base", "HEAD"]) == 0
    assert capsys.readouterr().out == "No cluster is touched.\n"


def test_a_project_below_the_top_of_a_checkout(git: Git, tmp_path: Path) -> None:
    _write(tmp_path, "elsewhere/file", "")
    _write(tmp_path, "clusters/dev/cluster.yaml", "changed\n")
    git("add", ".")
    git("commit", "-qm", "both")
    assert changed_files(tmp_path / "clusters", "main") == ["dev/cluster.yaml"]


@pytest.mark.parametrize("base", ["nowhere", "--since=yesterday", "HEAD:__main__.py", ""])
def test_an_unknown_revision(git: Git, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, base: str) -> None:
    with pytest.raises(GitError, match=r"^git knows no revision '.*' here\. Name a commit, branch or tag"):
        changed_files(tmp_path, base)


def test_no_common_commit(git: Git, tmp_path: Path) -> None:
    git("checkout", "-q", "--orphan", "other")
    git("commit", "-qm", "unrelated")
    with pytest.raises(GitError, match=r"no common commit here\. In a shallow clone run `git fetch --unshallow`"):
        changed_files(tmp_path, "main")


def test_not_a_checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    monkeypatch.setattr(project, "ROOT", tmp_path)
    assert main(["changed", "--base", "main"]) == 1
    shown = capsys.readouterr()
    assert shown.out == ""
    assert (
        shown.err == f"{tmp_path} is not a git checkout, so nothing tells what changed. Clone the project with git.\n"
    )


def test_no_git(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    with pytest.raises(GitError, match="git is not installed"):
        changed_files(tmp_path, "main")
