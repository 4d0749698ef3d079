"""What `check` tells of the branch that Flux is to follow: by what a real checkout knows of it."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from cluster_stack.project import Project
from cluster_stack.report import check, followed
from cluster_stack.report.followed import _same
from tests import checkout
from tests.checkout import Git
from tests.project import REPOSITORY

ADDRESS = "https://git.example.com/you/clusters"
CLUSTER = (REPOSITORY / "clusters/homelab/cluster.yaml").read_text()


@pytest.fixture
def git(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Git:
    """A checkout of a project whose homelab has Flux follow main; its remote has the branches main and next."""
    shutil.copytree(REPOSITORY / "infrastructure", tmp_path / "infrastructure")
    _follow(tmp_path)
    (tmp_path / "clusters/homelab/kustomization.yaml").write_text("resources: []\n")
    run = checkout.begin(tmp_path, monkeypatch)
    run("remote", "add", "origin", f"{ADDRESS}.git")
    run("add", ".")
    run("commit", "-qm", "first")
    for branch in ("main", "next"):
        run("update-ref", f"refs/remotes/origin/{branch}", "HEAD")
    run("symbolic-ref", "refs/remotes/origin/HEAD", "refs/remotes/origin/main")
    return run


def _follow(root: Path, branch: str = "main", repository: str = ADDRESS) -> None:
    text = CLUSTER.replace("enabled: false", "enabled: true").replace("version: v2.2.0, ", "")
    text = text.replace("https://github.com/ironicbadger/k8s", repository).replace("branch: main", f"branch: {branch}")
    text = text.replace("core: [cert-manager, ingress-nginx]", "core: [cert-manager]")
    (root / "clusters/homelab").mkdir(parents=True, exist_ok=True)
    (root / "clusters/homelab/cluster.yaml").write_text(text)


def _told(root: Path) -> list[str]:
    planned = Project(root).plan("homelab")
    assert planned.gitops is not None
    return [f"{problem.key}: {problem.what}" for problem in followed.warnings(planned.file, planned.gitops, root)]


def test_what_is_there_is_not_worth_a_word(git: Git, tmp_path: Path) -> None:
    assert _told(tmp_path) == []
    _follow(tmp_path, "next")
    assert _told(tmp_path) == []


def test_a_branch_that_the_remote_does_not_have(git: Git, tmp_path: Path) -> None:
    _follow(tmp_path, "nxt")
    assert _told(tmp_path) == [
        "gitops.flux.branch: git knows no branch 'nxt' of origin here, and Flux could not follow it."
    ]
    # The same repository, by its other address.
    git("remote", "set-url", "origin", "git@git.example.com:you/clusters.git")
    assert len(_told(tmp_path)) == 1
    (checked,) = check.check(tmp_path, ["homelab"])
    assert not checked.problems
    (warning,) = (warning for warning in checked.warnings if warning.key == "gitops.flux.branch")
    assert warning.file == "clusters/homelab/cluster.yaml"
    assert "branch: nxt" in (tmp_path / warning.file).read_text().splitlines()[warning.line - 1]


def test_what_was_not_fetched_is_not_missing(git: Git, tmp_path: Path) -> None:
    _follow(tmp_path, "nxt")
    git("config", "remote.origin.fetch", "+refs/heads/main:refs/remotes/origin/main")
    assert _told(tmp_path) == []
    git("config", "remote.origin.fetch", "+refs/heads/*:refs/remotes/origin/*")
    (tmp_path / ".git/shallow").write_text(git("rev-parse", "HEAD") + "\n")
    assert _told(tmp_path) == []


@pytest.mark.parametrize("what", ["another repository", "no remote", "no checkout"])
def test_who_cannot_know_says_nothing(git: Git, tmp_path: Path, what: str) -> None:
    _follow(tmp_path, "nxt")
    if what == "another repository":
        git("remote", "set-url", "origin", "https://git.example.com/you/others")
    elif what == "no remote":
        git("remote", "remove", "origin")
    else:
        shutil.rmtree(tmp_path / ".git")
    assert _told(tmp_path) == []


def test_a_folder_that_is_in_no_commit(git: Git, tmp_path: Path) -> None:
    git(
        "rm",
        "-rq",
        "--cached",
        "infrastructure/core/overlays/homelab/cert-manager",
        "clusters/homelab/kustomization.yaml",
    )
    git("commit", "-qm", "forgotten")
    assert _told(tmp_path) == [
        f"{key}: {folder}/kustomization.yaml is in no commit, and Flux applies only what it finds in {ADDRESS}."
        for key, folder in (
            ("gitops.infrastructure", "infrastructure/core/overlays/homelab/cert-manager"),
            ("gitops.flux.path", "clusters/homelab"),
        )
    ]


def test_a_folder_that_is_not_pushed(git: Git, tmp_path: Path) -> None:
    git("rm", "-rq", "--cached", "clusters/homelab")
    git("commit", "-qm", "before")
    git("update-ref", "refs/remotes/origin/main", "HEAD")
    git("add", ".")
    git("commit", "-qm", "not pushed")
    assert _told(tmp_path) == [
        "gitops.flux.path: clusters/homelab/kustomization.yaml is committed here, but not on branch main of origin, "
        "where Flux looks for it."
    ]
    # What is to come by a merge is not missing.
    git("checkout", "-qb", "topic")
    assert _told(tmp_path) == []
    git("checkout", "-q", "--detach")
    assert _told(tmp_path) == []


@pytest.mark.parametrize(
    ("address", "same"),
    [
        (ADDRESS, True),
        (f"{ADDRESS}.git", True),
        (f"{ADDRESS}/", True),
        ("https://me:secret@git.example.com/you/clusters", True),
        ("ssh://git@Git.Example.com:2222/you/clusters.git", True),
        ("git@git.example.com:you/clusters.git", True),
        ("git.example.com:you/clusters", True),
        ("https://git.example.com/you/clusters2", False),
        ("https://other.example.com/you/clusters", False),
        ("/srv/git/you/clusters", False),
        ("", False),
    ],
)
def test_one_repository_has_many_addresses(address: str, same: bool) -> None:
    assert _same(address, ADDRESS) is same
