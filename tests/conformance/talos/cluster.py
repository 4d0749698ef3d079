"""The cluster that Talos' tests look at, made by the real `pulumi up`, and what tells the tests of it."""

from __future__ import annotations

import shutil
import subprocess
import sys
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from lab.directory import write_text
from tests import project
from tests.conformance.site import Site

NAME = "suites"
FILE = Path(__file__).with_name("cluster.yaml")
CONTROL_PLANES = ("10.42.0.51", "10.42.0.52", "10.42.0.53")
WORKERS = ("10.42.0.61", "10.42.0.62")
UP_SECONDS = 900.0
QUESTION_SECONDS = 60.0
SECRET_KEYS = ("key", "token", "secret", "secretboxEncryptionSecret")


@dataclass(frozen=True)
class Cluster:
    """A cluster that runs, with the files about it."""

    site: Site
    folder: Path

    @property
    def talosconfig(self) -> Path:
        return self.folder / "talosconfig"

    @property
    def configurations(self) -> Path:
        """A machine configuration for each address."""
        return self.folder / "configurations"

    @property
    def secrets(self) -> list[str]:
        files = (self.talosconfig, *sorted(self.configurations.iterdir()))
        return sorted({secret for file in files for secret in secrets_in(yaml.safe_load_all(file.read_text()))})


def make(site: Site) -> Cluster:
    """Bring the cluster up, and wait until it is as healthy as Talos' own tool wants it."""
    cluster = Cluster(site, site.directory.root / "suites")
    cluster.folder.mkdir(mode=0o700)
    cluster.configurations.mkdir()
    folder = project.copy(cluster.folder / "project")
    (folder / "clusters" / NAME).mkdir()
    shutil.copy(FILE, folder / "clusters" / NAME)
    program = [sys.executable, "-m", "cluster_stack"]
    _run(site, [*program, "up", NAME], UP_SECONDS, folder)
    write_text(
        cluster.talosconfig,
        _run(site, [*program, "outputs", NAME, "talosconfig"], QUESTION_SECONDS, folder),
        mode=0o600,
    )
    ask = ["talosctl", "--talosconfig", str(cluster.talosconfig), "--nodes"]
    _run(site, [*ask, CONTROL_PLANES[0], "health", "--wait-timeout", "10m"], UP_SECONDS, folder)
    for address in (*CONTROL_PLANES, *WORKERS):
        answer = _run(site, [*ask, address, "get", "machineconfig", "v1alpha1", "-o", "yaml"], QUESTION_SECONDS, folder)
        write_text(cluster.configurations / f"{address}.yaml", yaml.safe_load(answer)["spec"], mode=0o600)
    write_state(cluster.folder)
    return cluster


def _run(site: Site, command: list[str], seconds: float, folder: Path) -> str:
    done = site.run(command, {}, seconds, folder=folder)
    if done.returncode != 0:
        raise subprocess.SubprocessError(f"{' '.join(command[:3])} ... failed:\n{done.stdout[-4000:]}")
    return done.stdout


def write_state(folder: Path) -> None:
    """Tell of the cluster in the form in which the tests' own provisioner of QEMU machines notes what it has made.

    With that, they know which machines there are, wait for the cluster's health and dare to reset machines.
    """
    machines = [(f"{NAME}-cp{n + 1}", "controlplane", ip) for n, ip in enumerate(CONTROL_PLANES)]
    machines += [(f"{NAME}-worker{n + 1}", "worker", ip) for n, ip in enumerate(WORKERS)]
    state = {
        "provisionername": "qemu",
        "clusterinfo": {
            "clustername": NAME,
            "network": {"name": NAME, "cidrs": ["10.42.0.0/24"], "gatewayaddrs": ["10.42.0.1"], "mtu": 1500},
            "nodes": [
                {"id": name, "uuid": str(uuid.uuid4()), "name": name, "type": kind, "ips": [address]}
                for name, kind, address in machines
            ],
        },
    }
    (folder / NAME).mkdir()
    write_text(folder / NAME / "state.yaml", yaml.safe_dump(state))


def secrets_in(value: Any) -> Iterator[str]:
    if isinstance(value, Mapping):
        for key, inner in value.items():
            if key in SECRET_KEYS and isinstance(inner, str):
                yield inner
            else:
                yield from secrets_in(inner)
    elif not isinstance(value, str) and hasattr(value, "__iter__"):
        for inner in value:
            yield from secrets_in(inner)
