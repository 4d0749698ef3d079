"""Cilium in place of flannel and kube-proxy: one `pulumi up`, and the machines install it with the real Helm.

One cluster for the whole module, whose tests follow each other.
"""

from __future__ import annotations

import base64
import gzip
import json
import shlex
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import yaml

from cluster_stack.plan.cilium import read as read_cilium
from cluster_stack.plan.cilium import values_for_flux
from cluster_stack.project import Project
from lab.directory import write_text
from tests.engine.site import REPOSITORY, Site
from tests.engine.static_cluster import static_cluster

NAME = "net"
CLUSTER = static_cluster(
    NAME,
    id_base=740,
    cluster="""\
kubernetes: {version: v1.36.1}
cni: {name: cilium, kubeProxy: false, valuesFile: cilium.yaml}
""",
)
VALUES = "hubble: {enabled: false}\n"
PATIENCE = 240.0
PAGE = REPOSITORY / "docs" / "components.md"


class Cluster:
    def __init__(self, site: Site, kubeconfig: str) -> None:
        self.site = site
        self._kubeconfig = site.folder / "kubeconfig"
        write_text(self._kubeconfig, kubeconfig, mode=0o600)

    def run(self, program: str, *words: str, check: bool = True) -> str:
        return self.site.run(program, "--kubeconfig", str(self._kubeconfig), *words, check=check).stdout

    def get(self, *words: str) -> Any:
        return json.loads(self.run("kubectl", "get", *words, "-o", "json"))

    def names(self, kind: str) -> list[str]:
        return [found["metadata"]["name"] for found in self.get(kind, "-n", "kube-system")["items"]]

    def until(self, what: str, holds: Callable[[], bool]) -> None:
        deadline = time.monotonic() + PATIENCE
        while not holds():
            assert time.monotonic() < deadline, f"not within {PATIENCE:.0f} s: {what}"
            time.sleep(1)

    def revisions(self) -> list[str]:
        """What Helm says of each release."""
        answer = self.run("helm", "history", "cilium", "-n", "kube-system", "-o", "json", check=False)
        return [found["status"] for found in json.loads(answer or "[]")]

    def cut_off(self) -> None:
        """The last revision, as it would be if Helm had died while it made it."""
        label = "owner=helm,name=cilium,status=deployed"
        (secret,) = self.get("secrets", "-n", "kube-system", "-l", label)["items"]
        release = json.loads(gzip.decompress(base64.b64decode(base64.b64decode(secret["data"]["release"]))))
        release["info"]["status"] = secret["metadata"]["labels"]["status"] = "pending-upgrade"
        packed = base64.b64encode(base64.b64encode(gzip.compress(json.dumps(release).encode()))).decode()
        secret["data"]["release"] = packed
        file = self.site.folder / "release.json"
        file.write_text(json.dumps(secret))
        self.run("kubectl", "replace", "-f", str(file))

    def documented(self, begins: str) -> list[str]:
        """The words of a command in docs/components.md."""
        (line,) = [line for line in PAGE.read_text().splitlines() if line.strip().startswith(begins)]
        return shlex.split(line)

    def values(self) -> Any:
        return json.loads(self.run("helm", "get", "values", "cilium", "-n", "kube-system", "-o", "json"))

    def told_to_flux(self) -> Any:
        """The values that a HelmRelease would read."""
        root = self.site.project
        file = Project(root).plan(NAME).file
        cilium = read_cilium(file, root, root / "clusters" / NAME).cilium
        assert cilium is not None
        return yaml.safe_load(values_for_flux(cilium)["data"]["values.yaml"])


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    site = Site(kubernetes=True)
    try:
        site.start()
        (site.add_cluster(NAME, CLUSTER) / "cilium.yaml").write_text(VALUES)
        yield Cluster(site, site.up(NAME).outputs.kubeconfig)
    finally:
        site.remove()


def test_the_nodes_become_ready_by_themselves(cluster: Cluster) -> None:
    def ready() -> bool:
        answer = cluster.run("kubectl", "get", "nodes", "-o", "json", check=False)
        conditions = [
            condition["status"]
            for node in json.loads(answer or '{"items": []}')["items"]
            for condition in node["status"]["conditions"]
            if condition["type"] == "Ready"
        ]
        return conditions == ["True", "True"]

    cluster.until("both nodes are ready", ready)
    assert cluster.revisions() == ["deployed"]
    assert "cilium" in cluster.names("daemonset")
    assert not {"kube-flannel", "kube-proxy"} & set(cluster.names("daemonset"))


def test_the_job_has_come_to_its_end(cluster: Cluster) -> None:
    def job() -> Any:
        (found,) = cluster.get("jobs", "-n", "kube-system")["items"]
        return found

    cluster.until("the job is over", lambda: job()["status"].get("succeeded") == 1)
    assert job()["metadata"]["name"].startswith("cilium-install-")


def test_flux_would_find_nothing_to_change(cluster: Cluster) -> None:
    assert cluster.values() == cluster.told_to_flux()


def test_an_up_without_an_edit_changes_nothing(cluster: Cluster) -> None:
    assert not cluster.site.up(NAME).changes.any
    assert cluster.revisions() == ["deployed"]


def test_other_values_are_an_upgrade(cluster: Cluster) -> None:
    (cluster.site.cluster_file(NAME).parent / "cilium.yaml").write_text(
        "hubble: {enabled: false}\ndebug: {enabled: true}\n"
    )
    cluster.site.up(NAME)
    cluster.until("Helm has upgraded", lambda: cluster.revisions() == ["superseded", "deployed"])
    assert cluster.values()["debug"] == {"enabled": True}
    assert cluster.values() == cluster.told_to_flux()


def test_an_upgrade_that_was_cut_off_goes_on_after_one_command(cluster: Cluster) -> None:
    cluster.cut_off()
    (cluster.site.cluster_file(NAME).parent / "cilium.yaml").write_text("hubble: {enabled: true}\n")
    cluster.site.up(NAME)

    def refused() -> bool:
        pods = cluster.get("pods", "-n", "kube-system", "-l", "batch.kubernetes.io/job-name")["items"]
        states = [status for pod in pods for status in pod["status"].get("containerStatuses", [])]
        return any(state["restartCount"] > 0 for state in states)

    cluster.until("Helm refuses", refused)
    assert cluster.revisions() == ["superseded", "pending-upgrade"]
    cluster.run(*cluster.documented("kubectl -n kube-system delete secret"))
    cluster.until("Helm has upgraded", lambda: cluster.revisions() == ["superseded", "deployed"])
    assert cluster.values()["hubble"]["enabled"] is True
