"""Is every machine configuration one that Talos accepts? `talosctl` is asked, for every site and version contract."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from cluster_stack import project
from cluster_stack.plan.machine_config import node_patches
from cluster_stack.plan.nodes import NodePlan
from cluster_stack.plan.versions import kubernetes_version
from tests.project import REPOSITORY

TALOSCTL = REPOSITORY / ".toolchain" / "bin" / "talosctl"
CONTRACTS = ("v1.10.0", "v1.11.0", "v1.12.0", "v1.13.0")
MODE = {"metal": "metal", "nocloud": "cloud"}
"""Platform -> what `talosctl validate` calls its mode: is there a disk to install to, or is it installed already?"""
SITES = sorted((REPOSITORY / "tests" / "sites" / "valid").glob("*/cluster.yaml"))
CLUSTERS = sorted((REPOSITORY / "clusters").glob("*/cluster.yaml"))


def talosctl(*arguments: str) -> str:
    done = subprocess.run([TALOSCTL, *arguments], check=False, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, f"talosctl {' '.join(arguments)}\n{done.stdout}{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def secrets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("secrets") / "secrets.yaml"
    talosctl("gen", "secrets", "--output-file", str(file))
    return file


def kinds(planned: project.PlannedCluster, contract: str) -> Iterator[tuple[NodePlan, list[str]]]:
    """One node of each kind, with its patches: names, zones and addresses alone make no difference to Talos."""
    seen = set()
    for node in planned.nodes:
        patches = [*node_patches(planned.file.config, node, contract), *planned.patches[node.name]]
        kind = (node.role, "".join(patches).replace(node.name, "").replace(node.host, ""))
        if kind not in seen:
            seen.add(kind)
            yield node, patches


@pytest.mark.parametrize("file", [*CLUSTERS, *SITES], ids=lambda file: file.parent.name)
def test_talos_accepts_every_machine_configuration(file: Path, secrets: Path, tmp_path: Path) -> None:
    (tmp_path / "clusters").mkdir()
    (tmp_path / "clusters" / file.parent.name).symlink_to(file.parent)
    (tmp_path / "infrastructure").symlink_to(file.parents[2] / "infrastructure")  # the project's, or that of all sites
    planned = project.plan(file.parent.name, tmp_path)
    config = planned.file.config
    for contract in CONTRACTS:
        for number, (node, patches) in enumerate(kinds(planned, contract)):
            written = tmp_path / f"{contract}-{number}.yaml"
            given = [argument for patch in patches for argument in ("--config-patch", patch)]
            talosctl(
                "gen", "config", config.talos_cluster_name, "https://10.0.0.1:6443",
                "--with-secrets", str(secrets), "--talos-version", contract,
                "--kubernetes-version", config.cluster.kubernetes.version or kubernetes_version(contract),
                "--with-docs=false", "--with-examples=false", *given,
                "--output-types", node.role, "--output", str(written),
            )  # fmt: skip
            talosctl("validate", "--config", str(written), "--mode", MODE[config.platform])


def test_talosctl_refuses_a_wrong_one(secrets: Path, tmp_path: Path) -> None:
    """What the test above relies on."""
    written = tmp_path / "wrong.yaml"
    patch = json.dumps({"machine": {"network": {"interfaces": [{"interface": "eth0", "vip": {"ip": "nonsense"}}]}}})
    arguments = ["gen", "config", "x", "https://10.0.0.1:6443", "--with-secrets", str(secrets), "--output-types"]
    talosctl(*arguments, "controlplane", "--config-patch", patch, "--output", str(written))
    with pytest.raises(AssertionError, match="nonsense"):
        talosctl("validate", "--config", str(written), "--mode", "cloud")
