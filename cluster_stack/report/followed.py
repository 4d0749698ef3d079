"""Is what Flux is told to follow in its repository, as far as the checkout that the project is in knows?

No server is asked: a remote of the checkout with the repository's address tells which branches there were when it was
fetched last. So these are warnings, and a checkout that does not know says nothing.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from cluster_stack.config import ClusterFile, Problem
from cluster_stack.git import GitError, git
from cluster_stack.plan.gitops.components import BUILD_FILES, SOURCES
from cluster_stack.plan.gitops.plan import GitopsPlan

_SCP_FORM = re.compile(r"(?:[^@/:]+@)?(?P<host>[^/:]+):(?P<path>[^/].*)")
_ADDRESS = re.compile(r"\w+://(?:[^@/]*@)?(?P<host>[^/:]+)(?::\d+)?/(?P<path>.*)")


@dataclass(frozen=True)
class _Checkout:
    root: Path
    remote: str
    branches: tuple[str, ...]
    """Of the remote; empty where not all of them were fetched."""
    current: str
    """The branch that is checked out; "HEAD" if none is."""


def warnings(file: ClusterFile, planned: GitopsPlan, root: Path) -> Iterator[Problem]:
    """What the repository of ``gitops.flux`` lacks, for the project in ``root``."""
    try:
        checkout = _checkout(root, file.config.gitops.flux.repository)
        if checkout is not None:
            yield from _lacking(file, planned, checkout)
    except GitError:
        return  # no git, no checkout, no commit yet: nothing is known


def _lacking(file: ClusterFile, planned: GitopsPlan, checkout: _Checkout) -> Iterator[Problem]:
    flux, remote = file.config.gitops.flux, checkout.remote
    if checkout.branches and flux.branch not in checkout.branches:
        what = f"git knows no branch {flux.branch!r} of {remote} here, and Flux could not follow it."
        fix = f"Push it, or run `git fetch {remote}` where it is new. Branches: {', '.join(checkout.branches[:12])}."
        yield file.problem(("gitops", "flux", "branch"), what, fix)
    folders = [SOURCES, *(step.path for step in planned.steps), *filter(None, [planned.own])]
    uncommitted = _absent(checkout.root, "HEAD", folders)
    for folder in uncommitted:
        what = f"{folder}/kustomization.yaml is in no commit, and Flux applies only what it finds in {flux.repository}."
        yield file.problem(_key(planned, folder), what, "Commit it, and push.")
    # On another branch it comes with the merge.
    if checkout.current == flux.branch and flux.branch in checkout.branches:
        for folder in _absent(checkout.root, f"refs/remotes/{remote}/{flux.branch}", folders):
            if folder not in uncommitted:
                what = (
                    f"{folder}/kustomization.yaml is committed here, but not on branch {flux.branch} of {remote}, "
                    "where Flux looks for it."
                )
                yield file.problem(_key(planned, folder), what, f"Run `git push {remote} {flux.branch}`.")


def _key(planned: GitopsPlan, folder: str) -> tuple[str, ...]:
    return ("gitops", "flux", "path") if folder == planned.own else ("gitops", "infrastructure")


def _absent(root: Path, revision: str, folders: Sequence[str]) -> list[str]:
    """Those of the folders (from the top of the checkout) in which a revision has nothing to build."""
    files = [f"{PurePosixPath(folder)}/{name}" for folder in folders for name in BUILD_FILES]
    listed = git(root, "ls-tree", "-z", "--full-tree", "--name-only", revision, "--", *files).split("\0")
    there = {PurePosixPath(file).parent for file in listed if file}
    return [folder for folder in folders if PurePosixPath(folder) not in there]


def _checkout(root: Path, repository: str) -> _Checkout | None:
    lines = (line.split("\t") for line in git(root, "remote", "-v").splitlines() if line.endswith("(fetch)"))
    remotes = [name for name, address in lines if _same(address.removesuffix(" (fetch)"), repository)]
    if not remotes:
        return None
    remote, prefix = remotes[0], f"refs/remotes/{remotes[0]}/"
    all_fetched = git(root, "rev-parse", "--is-shallow-repository").strip() == "false" and (
        f"+refs/heads/*:{prefix}*" in git(root, "config", "--get-all", f"remote.{remote}.fetch").split()
    )
    found = git(root, "for-each-ref", "--format=%(refname)", prefix).split() if all_fetched else []
    branches = [name.removeprefix(prefix) for name in found]
    current = git(root, "rev-parse", "--abbrev-ref", "HEAD").strip()
    return _Checkout(root, remote, tuple(name for name in branches if name != "HEAD"), current)


def _same(address: str, repository: str) -> bool:
    """Do two addresses name one repository, whatever the protocol?"""
    return _parts(address) == _parts(repository)


def _parts(address: str) -> tuple[str, str]:
    found = _ADDRESS.fullmatch(address) or _SCP_FORM.fullmatch(address)
    host, path = (found["host"].lower(), found["path"]) if found else ("", address)
    return host, path.rstrip("/").removesuffix(".git").strip("/")
