"""The workflows of .github/workflows, without GitHub: their schema, and what the schema cannot know.

That GitHub runs them as meant, only GitHub can show.
"""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from cluster_stack.cli import _parser

ROOT = Path(__file__).parents[2]
FILES = sorted((ROOT / ".github/workflows").glob("*.y*ml"))
PULL_REQUEST = ROOT / ".github/workflows/pull-request.yaml"
each_file = pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)


def jobs(file: Path) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load(file.read_text())["jobs"]
    return found


def steps(file: Path) -> list[dict[str, Any]]:
    return [step for job in jobs(file).values() for step in job["steps"]]


def test_the_workflows_have_the_form_that_github_wants() -> None:
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.github-workflows"]
    done = subprocess.run([*command, *map(str, FILES)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@each_file
def test_actions_are_pinned_to_commits_whose_version_is_said(file: Path) -> None:
    used = re.findall(r"^\s*(?:- )?uses: (.*)$", file.read_text(), re.MULTILINE)
    assert len(used) == sum("uses" in step for step in steps(file))
    assert [line for line in used if not re.fullmatch(r"[\w./-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+", line)] == []


@each_file
def test_one_action_has_one_version(file: Path) -> None:
    used = {step["uses"] for step in steps(file) if "uses" in step}
    assert len(used) == len({action.partition("@")[0] for action in used})


@each_file
def test_nothing_from_a_pull_request_is_pasted_into_a_script(file: Path) -> None:
    assert [step["run"] for step in steps(file) if "${{" in step.get("run", "")] == []


@each_file
def test_no_job_has_more_rights_than_it_lists(file: Path) -> None:
    assert yaml.safe_load(file.read_text())["permissions"] == {}
    assert all("timeout-minutes" in job and "permissions" in job for job in jobs(file).values())
    checkouts = [step for step in steps(file) if step.get("uses", "").startswith("actions/checkout@")]
    assert all(step["with"]["persist-credentials"] is False for step in checkouts)


@each_file
def test_what_an_expression_names_is_there(file: Path) -> None:
    """The schema knows the form of a workflow, and takes any expression."""
    for name, job in jobs(file).items():
        text = yaml.safe_dump(job, width=10_000)
        for needed, output in re.findall(r"\bneeds\.([\w-]+)\.outputs\.([\w-]+)", text):
            assert needed == job["needs"], f"{name}: {needed}"
            assert output in jobs(file)[needed]["outputs"], f"{name}: {needed}.{output}"
        for step in re.findall(r"\bsteps\.([\w-]+)\.", text):
            assert step in [found.get("id") for found in job["steps"]], f"{name}: {step}"
        for dimension in re.findall(r"\bmatrix\.([\w-]+)", text):
            assert dimension in job["strategy"]["matrix"], f"{name}: {dimension}"


@each_file
def test_the_commands_of_this_project_exist(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    scripts = "\n".join(step.get("run", "") for step in steps(file))
    commands = re.findall(r"-m cluster_stack\b([^\n)|;&>]*)", scripts)
    assert len(commands) == scripts.count("cluster_stack")
    for command in commands:
        try:
            _parser().parse_args(shlex.split(command))
        except SystemExit:
            pytest.fail(f"{command}: {capsys.readouterr().err}")


def test_validation_needs_no_secrets_and_runs_for_forks() -> None:
    validate = jobs(PULL_REQUEST)["validate"]
    assert "secrets" not in yaml.safe_dump(validate)
    assert "github.token" not in yaml.safe_dump(validate)
    assert validate["permissions"] == {"contents": "read"}
    assert "if" not in validate
    assert "pull_request" in yaml.safe_load(PULL_REQUEST.read_text())[True]  # YAML 1.1 reads `on` as true


def test_every_component_is_built_for_every_cluster_of_a_pull_request() -> None:
    scripts = [step.get("run", "") for step in jobs(PULL_REQUEST)["validate"]["steps"]]
    check = scripts.index(".venv/bin/python -m cluster_stack check --infrastructure")
    assert scripts.index(".venv/bin/python -m toolchain ensure kustomize") < check


def test_previews_are_for_pull_requests_that_may_see_secrets() -> None:
    preview = jobs(PULL_REQUEST)["preview"]
    assert "github.event.pull_request.head.repo.full_name == github.repository" in preview["if"]
    assert preview["permissions"] == {"contents": "read", "pull-requests": "write"}
    assert preview["strategy"]["fail-fast"] is False


def test_the_pulumi_of_previews_is_one_that_the_project_accepts() -> None:
    (action,) = [step for step in steps(PULL_REQUEST) if step.get("uses", "").startswith("pulumi/actions@")]
    floor = yaml.safe_load((ROOT / "Pulumi.yaml").read_text())["requiredPulumiVersion"].removeprefix(">=")
    assert action["with"]["pulumi-version"] == f"^{floor}"
