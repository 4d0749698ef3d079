"""The player of kubelets: one real control plane that is led through the life of its nodes.

What is tested is written in Go beside the code (lab/node/kubelets, lab/node/internal/kubelet*), because a machine talks
to the player with the same client. Here it gets the programs, and a network in which nobody else is.
"""

from __future__ import annotations

import os
import subprocess
import tempfile
from pathlib import Path

import toolchain
from tests.go_modules import ENVIRONMENT, go
from tests.lab.node.site import REPOSITORY

MODULE = REPOSITORY / "lab" / "node"


def test_one_cluster_through_the_life_of_its_nodes(tmp_path: Path) -> None:
    tests = tmp_path / "kubelets.test"
    subprocess.run(
        [go(MODULE), "test", "-mod=readonly", "-c", "-o", str(tests), "./kubelets"],
        cwd=MODULE,
        env=ENVIRONMENT,
        check=True,
    )
    programs = {"ETCD": "etcd", "KUBE": "kubernetes", "TALOS_KUBELETS": "talos-kubelets"}
    environment = {variable: str(toolchain.tool(name)) for variable, name in programs.items()}
    user = [] if os.geteuid() == 0 else ["--user", "--map-root-user"]
    namespaces = ["--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"]
    # The name of a unix socket has 107 bytes at most, and pytest's folder has a long one.
    with tempfile.TemporaryDirectory(prefix="kubelets-") as folder:
        ran = subprocess.run(
            ["unshare", *user, *namespaces, str(tests), "-test.v", "-test.run=^TestKubelets$"],
            cwd=tmp_path,
            env={**os.environ, **environment, "TMPDIR": folder},
            capture_output=True,
            text=True,
            check=False,
            timeout=900,
        )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert "--- PASS: TestKubelets (" in ran.stdout  # it was not skipped
