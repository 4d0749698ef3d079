"""Talos' own integration tests of its API, run against machines of the lab.

They are one Go test whose parts are suites. What they look at is a cluster that the real `pulumi up` makes.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from tests.conformance.site import Site
from tests.conformance.suite import Program, Suite
from tests.conformance.talos import cluster
from tests.conformance.talos.cluster import Cluster
from tests.conformance.talos.configurations import READY
from toolchain import programs
from toolchain.pins import TALOS

PACKAGE = "internal/integration/api"


class Talos(Suite):
    name = "talos"
    title = f"siderolabs/talos {TALOS}, its integration tests of the API"
    tools = ("talos-integration",)
    folder = Path(__file__).parent
    seconds = 2400  # one suite reboots every machine, one after the other, in several ways

    def __init__(self) -> None:
        self._cluster: Cluster | None = None

    @property
    def cluster(self) -> Cluster:
        assert self._cluster, "prepare() makes it"
        return self._cluster

    def programs(self) -> Sequence[Program]:
        (path,) = programs("talos-integration")
        # Without any test that matches, a suite does not even look for a cluster.
        return [Program(PACKAGE, path, within="TestIntegration", names="api.", idle=("-testify.m=^$",))]

    def environment(self, site: Site) -> Mapping[str, str]:
        return {"HOME": str(self.cluster.folder)}

    def arguments(self, site: Site) -> Sequence[str]:
        return [
            f"-talos.config={self.cluster.talosconfig}",
            "-talos.provisioner=qemu",
            f"-talos.state={self.cluster.folder}",
            f"-talos.name={cluster.NAME}",
            f"-talos.version=v{TALOS}",
        ]

    def prepare(self, site: Site) -> None:
        self._cluster = cluster.make(site)
        site.serve(
            [sys.executable, "-m", "tests.conformance.talos.configurations", str(self.cluster.configurations)], READY
        )

    def secrets(self, site: Site) -> Sequence[str]:
        return [*self.cluster.secrets, site.directory.token_secret(), site.directory.root_password()]
