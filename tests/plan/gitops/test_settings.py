"""The stack's settings that a cluster with Flux wants: each one that is missing or wrong, with the command to run."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from cluster_stack.plan.gitops import settings
from cluster_stack.project import ROOT, Project
from tests.sites import text_of

SSH_KEY = "-----BEGIN OPENSSH PRIVATE KEY-----\nb3BlbnNzaC1rZXktdjE=\n-----END OPENSSH PRIVATE KEY-----\n"
AGE_KEY = "# created: 2026\nAGE-SECRET-KEY-1QQQQQQQQQQ"
GOOD = {"fluxGitKey": SSH_KEY, "fluxAgeKey": AGE_KEY, "grafanaPassword": "correct horse"}


def said(root: Path, values: Mapping[str, str], clear: str = "", **edits: str) -> list[str]:
    text = text_of("flux")
    for old, new in edits.items():
        assert old in text
        text = text.replace(old, new)
    (root / "infrastructure").symlink_to(ROOT / "infrastructure")
    (root / "clusters/flux").mkdir(parents=True)
    (root / "clusters/flux/cluster.yaml").write_text(text)
    planned = Project(root).plan("flux")
    assert planned.gitops is not None
    found = settings.check(planned.file, planned.gitops.components, values.get, lambda name: name != clear)
    return [f"{problem.key}: {problem.what} {problem.fix}" for problem in found]


def command(name: str) -> str:
    return f"Run `pulumi config set --secret {name} -s flux`, which asks for the value."


def test_all_are_there(tmp_path: Path) -> None:
    assert said(tmp_path, GOOD) == []


def test_none_is_there(tmp_path: Path) -> None:
    assert said(tmp_path, {"fluxAgeKey": " "}) == [
        "gitops.flux.credentialsSecret: the stack has no setting fluxGitKey (the private key for Git). "
        + command("fluxGitKey"),
        "gitops.flux.ageKeySecret: the stack has no setting fluxAgeKey (the age key for SOPS). "
        + command("fluxAgeKey"),
        "gitops.infrastructure.optional[0]: the stack has no setting grafanaPassword (kube-prometheus-stack: The "
        "password of Grafana's user `admin`). " + command("grafanaPassword"),
    ]


@pytest.mark.parametrize(
    ("name", "value", "what"),
    [
        ("fluxGitKey", AGE_KEY, "(the private key for Git) is not encrypted."),
        ("fluxAgeKey", "age1public", "is not an age key: there is no AGE-SECRET-KEY- in it."),
        ("fluxGitKey", "ssh-ed25519 AAAA", "is not a private key: there is no PRIVATE KEY----- in it."),
    ],
)
def test_one_is_wrong(name: str, value: str, what: str, tmp_path: Path) -> None:
    (found,) = said(tmp_path, {**GOOD, name: value}, name if "encrypted" in what else "")
    assert what in found
    assert command(name) in found
    assert value not in found


def test_the_token_of_an_https_address_has_no_form(tmp_path: Path) -> None:
    known_hosts = next(line for line in text_of("flux").splitlines() if "knownHosts" in line)
    https = {"ssh://git@github.com": "https://github.com", known_hosts: ""}
    assert said(tmp_path, {**GOOD, "fluxGitKey": "glpat-1"}, **https) == []
