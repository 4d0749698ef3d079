"""How long until there is a Kubernetes to work with: in a cluster of one control plane, and in `make demo` of 3+3."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

from lab.directory import write_text
from tests.bench.figure import Figure
from tests.engine.site import Site
from tests.project import REPOSITORY

BOOTSTRAP_LIMIT_SECONDS = 20
DEMO_LIMIT_SECONDS = 90
LOOK_AGAIN_SECONDS = 0.2
CLUSTER = "homelab"
CLUSTER_FILE = f"clusters/{CLUSTER}/cluster.yaml"
TOOK = re.compile(r"\((\d+) s\)")
BOOTSTRAP = re.compile(r"\[(\S{26})\d*Z\]: \[talos\] bootstrap request received")


def measure() -> Iterator[Figure]:
    yield _bootstrap()
    yield _demo()


def _bootstrap() -> Figure:
    site = Site(kubernetes=True)
    try:
        site.start()
        outputs = site.up(CLUSTER).outputs
        kubeconfig = site.folder / "kubeconfig"
        write_text(kubeconfig, outputs.kubeconfig, mode=0o600)
        ask = ("kubectl", "--kubeconfig", str(kubeconfig), "--request-timeout=2s", "get", "--raw", "/readyz")
        while site.run(*ask, check=False).returncode != 0:
            time.sleep(LOOK_AGAIN_SECONDS)
        answered = time.time()
        (vm,) = outputs.control_plane_vms.values()
        console = (site.lab.vms / str(vm.id) / "console.log").read_text()
    finally:
        site.remove()
    found = BOOTSTRAP.search(console)
    if found is None:
        raise RuntimeError("the control plane's console does not tell of a bootstrap")
    asked = datetime.fromisoformat(f"{found[1]}+00:00").timestamp()
    name = "bootstrap of one control plane, until the Kubernetes API is ready"
    return Figure(name, answered - asked, BOOTSTRAP_LIMIT_SECONDS, "s")


def _demo() -> Figure:
    folder = Path(tempfile.mkdtemp(prefix="demo-"))
    environment = {name: value for name, value in os.environ.items() if name != "LAB_DIRECTORY"}
    try:
        _check_out(folder)
        file = folder / CLUSTER_FILE
        file.write_text(file.read_text().replace("count: 1\n", "count: 3\n"))
        began = time.monotonic()
        done = _python(folder, environment, "lab.demo")
        seconds = time.monotonic() - began
    finally:
        _python(folder, environment, "lab", "stop")
        shutil.rmtree(folder)
    if done.returncode != 0:
        raise RuntimeError(f"the demo ended with exit code {done.returncode}\n{done.stdout}\n{done.stderr}")
    return Figure(
        "`make demo` of 3+3, set up before", seconds, DEMO_LIMIT_SECONDS, "s", tuple(_long_steps(done.stdout))
    )


def _long_steps(printed: str) -> Iterator[str]:
    """The commands whose time the demonstration says, because it was more than a moment."""
    command = ""
    for line in printed.splitlines():
        if line.startswith("$ "):
            command = line[2:]
        elif took := TOOK.fullmatch(line):
            yield f"{took[1]:>4} s  {command}"


def _check_out(folder: Path) -> None:
    """The files of the repository, and what `make demo` sets up."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=REPOSITORY, check=True, capture_output=True, text=True)
    for name in listed.stdout.strip("\0").split("\0"):
        target = folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(REPOSITORY / name, target, follow_symlinks=False)
    for name in (".venv", ".toolchain"):
        (folder / name).symlink_to(REPOSITORY / name)


def _python(folder: Path, environment: dict[str, str], *words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", *words]
    return subprocess.run(command, cwd=folder, env=environment, check=False, capture_output=True, text=True)
