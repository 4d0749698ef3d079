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
from tests.engine.repository import Repository
from tests.engine.site import Site
from tests.engine.static_cluster import static_cluster
from tests.project import REPOSITORY

NAME = "net"
CLUSTER = static_cluster(
    NAME,
    id_base=740,
    cluster="""\
kubernetes: {version: v1.36.1}
cni: {name: cilium, kubeProxy: false, valuesFile: cilium.yaml}
""",
)
GITOPS = """
gitops:
  enabled: true
  flux:
    repository: https://git.lan/clusters.git
    components: [source-controller, kustomize-controller, helm-controller]
"""
VALUES = "hubble: {enabled: false}\n"
PATIENCE = 240.0
PAGE = REPOSITORY / "docs" / "components.md"


class Cluster:
    def __init__(self, site: Site, kubeconfig: str) -> None:
        self.site = site
        self.repository = Repository(site, site.project, ("infrastructure", "clusters"))
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

    def objects(self) -> dict[str, Any]:
        """Those of the release: what is declared of them, but for the labels by which helm-controller knows its own."""
        file = self.site.folder / "objects.yaml"
        file.write_text(self.run("helm", "get", "manifest", "cilium", "-n", "kube-system"))
        found = {}
        for one in json.loads(self.run("kubectl", "get", "-f", str(file), "-o", "json"))["items"]:
            metadata = one.pop("metadata")
            one.pop("status", None)
            name = "/".join([one["kind"], metadata.get("namespace", ""), metadata["name"]])
            kept = {key: metadata.get(key, {}) for key in ("labels", "annotations")}
            for key in [key for key in kept["labels"] if key.startswith("helm.toolkit.fluxcd.io/")]:
                del kept["labels"][key]  # whose release it is; pods do not carry them
            found[name] = one | kept
        return found

    def release(self) -> tuple[str, str]:
        """The status and the message of Ready of the HelmRelease, as helm-controller tells it of what is declared."""
        found = json.loads(
            self.run("kubectl", "get", "helmrelease", "cilium", "-n", "kube-system", "-o", "json", check=False) or "{}"
        )
        for one in found.get("status", {}).get("conditions", []):
            if one["type"] == "Ready" and one["observedGeneration"] == found["metadata"]["generation"]:
                return one["status"], one["message"]
        return "", ""

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


def test_flux_takes_the_release_over_and_changes_nothing(cluster: Cluster) -> None:
    before, revisions = cluster.objects(), cluster.revisions()
    assert any(name.startswith("DaemonSet/") for name in before)
    cluster.repository.push("clusters")
    file = cluster.site.cluster_file(NAME)
    file.write_text(file.read_text() + GITOPS)
    cluster.site.up(NAME)
    cluster.until("the HelmRelease is ready", lambda: cluster.release()[0] == "True")
    assert cluster.objects() == before
    assert cluster.values() == cluster.told_to_flux()
    assert len(cluster.revisions()) == len(revisions) + 1, "helm-controller has made a revision of its own"
    assert not cluster.site.up(NAME).changes.any


def test_flux_and_the_job_agree_on_other_values(cluster: Cluster) -> None:
    """Both upgrade, and Helm lets one of them at a time."""
    (cluster.site.cluster_file(NAME).parent / "cilium.yaml").write_text("debug: {enabled: true}\n")
    cluster.site.up(NAME)
    wanted = cluster.told_to_flux()
    assert wanted["debug"] == {"enabled": True}

    def settled() -> bool:
        jobs = cluster.get("jobs", "-n", "kube-system", "--selector=!helm.sh/chart")["items"]
        ended = all(job["status"].get("succeeded") == 1 for job in jobs)
        return ended and cluster.release()[0] == "True" and cluster.values() == wanted

    cluster.until("both have made the same of it", settled)
    assert set(cluster.revisions()[:-1]) <= {"superseded", "failed"}
    assert cluster.revisions()[-1] == "deployed"
    assert not cluster.site.up(NAME).changes.any


def test_without_flux_cilium_stays(cluster: Cluster) -> None:
    before = cluster.objects()
    cluster.site.edit(NAME, ("enabled: true\n  flux:", "enabled: false\n  flux:"))
    cluster.site.up(NAME)
    assert cluster.names("daemonset") == ["cilium", "cilium-envoy"]
    assert cluster.objects() == before
    assert cluster.revisions()[-1] == "deployed"
