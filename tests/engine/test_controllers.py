"""Flux' own programs in the lab: the real operator installs Flux, whose controllers apply what is in a Git repository.

One cluster for the whole module, whose tests go from what is there to what breaks it: their order is that of the file.
The charts of these components cannot be had here. So helm-controller has no pod, and where a HelmRelease must be ready
the test says so in its place.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from cluster_stack.plan.gitops import operator
from cluster_stack.plan.gitops.objects import Bootstrap, Manifest
from cluster_stack.plan.gitops.plan import bootstrap
from cluster_stack.project import Project
from lab.directory import write_text
from tests.engine.repository import Repository
from tests.engine.site import Site
from tests.engine.static_cluster import static_cluster
from tests.project import REPOSITORY

NAME = "flux"
WORKER = 710
CLUSTER = static_cluster(NAME)
GITOPS = """
gitops:
  enabled: true
  flux: {repository: "https://git.lan/site.git", branch: main, path: ./clusters/flux, interval: 1h}
  infrastructure:
    core: [ingress-nginx]
    optional: [metrics-server]
    overlay: homelab
"""
OWN = {
    "kustomization.yaml": "resources: [greeting.yaml]\n",
    "greeting.yaml": "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: greeting, namespace: default}\n"
    "data: {cluster: '${CLUSTER_NAME}', word: hello}\n",
}
READY = {
    "type": "Ready",
    "status": "True",
    "reason": "InstallSucceeded",
    "message": "the test says so",
    "lastTransitionTime": "2026-01-01T00:00:00Z",
    "observedGeneration": 1,
}
NO_HELM_CONTROLLER = {
    "target": {"kind": "Deployment", "name": "helm-controller"},
    "patch": json.dumps([{"op": "replace", "path": "/spec/replicas", "value": 0}]),
}
PATIENCE = 300.0


class Cluster:
    """The cluster, as its administrator sees it, and the repository that it reads."""

    def __init__(self, site: Site) -> None:
        self.site = site
        self._kubeconfig = site.folder / "kubeconfig"
        self.work = site.folder / "repository"

    def begin(self) -> None:
        self.site.start()
        self.site.add_cluster(NAME, CLUSTER)
        write_text(self._kubeconfig, self.site.up(NAME).outputs.kubeconfig, mode=0o600)
        self.until("the nodes are ready", lambda: self.kubectl("get", "nodes").count(" Ready ") == 2)
        shutil.copytree(REPOSITORY / "infrastructure", self.work / "infrastructure")
        for name, text in OWN.items():
            write_text(self.work / "clusters" / NAME / name, text)
        self.repository = Repository(self.site, self.work)
        self.repository.push("site")

    def plan(self, *edits: tuple[str, str]) -> Bootstrap:
        """What an update would apply for the cluster with `gitops`."""
        text = GITOPS
        for old, new in edits:
            assert old in text
            text = text.replace(old, new)
        write_text(self.work / "clusters" / NAME / "cluster.yaml", CLUSTER + text)
        planned = Project(self.work).plan(NAME)
        assert planned.gitops
        return bootstrap(planned.file, planned.gitops)

    def kubectl(self, *words: str, check: bool = True) -> str:
        config = ["--kubeconfig", str(self._kubeconfig), "--request-timeout=20s"]
        done = self.site.run("kubectl", *config, *words, check=check)
        return done.stdout if check else done.stdout + done.stderr

    def apply(self, *manifests: Manifest) -> None:
        file = self.site.folder / "manifests.yaml"
        file.write_text(yaml.safe_dump_all(manifests))
        self.kubectl("apply", "--server-side", "--field-manager=test", "-f", str(file))

    def get(self, *words: str) -> Any:
        return json.loads(self.kubectl("get", *words, "-o", "json"))

    def ready(self, kind: str, name: str, namespace: str = "flux-system") -> tuple[str, str]:
        """The status and the message of the condition Ready."""
        found = self.get(kind, name, "-n", namespace)
        conditions = [one for one in found.get("status", {}).get("conditions", []) if one["type"] == "Ready"]
        return (conditions[0]["status"], conditions[0].get("message", "")) if conditions else ("", "")

    def until_ready(self, kind: str, name: str) -> None:
        self.until(f"{kind} {name} is ready", lambda: self.ready(kind, name)[0] == "True")

    def is_there(self, *words: str) -> bool:
        return self.kubectl("get", *words, "--ignore-not-found", "-o", "name") != ""

    def pod(self, app: str) -> dict[str, Any]:
        pods = self.get("pods", "-n", "flux-system", "-l", app)["items"]
        (pod,) = [pod for pod in pods if "deletionTimestamp" not in pod["metadata"]]
        found: dict[str, Any] = pod
        return found

    def processes(self, pod: str) -> list[int]:
        """The processes whose host name is a pod's."""
        return processes("environ", f"HOSTNAME={pod}")

    def until(self, what: str, is_so: Any) -> None:
        def ask() -> str:
            assert is_so(), what
            return what

        self.site.eventually(ask, PATIENCE)


def processes(file: str, word: str) -> list[int]:
    """Those that have a word in their environment or on their command line."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if word.encode() in (folder / file).read_bytes().split(b"\0"):
                found.append(int(folder.name))
        except OSError:  # it has ended
            continue
    return found


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    site = Site(kubernetes=True)
    try:
        made = Cluster(site)
        made.begin()
        yield made
    finally:
        site.remove()


def test_the_operator_installs_flux(cluster: Cluster) -> None:
    wanted = cluster.plan()
    cluster.apply(wanted.namespace, *[one for one in operator.manifests() if one["kind"] == "CustomResourceDefinition"])
    cluster.kubectl("wait", "--for=condition=Established", "crd", "--all", "--timeout=60s")
    cluster.apply(*operator.manifests())
    cluster.kubectl("rollout", "status", "-n", "flux-system", "deployment/flux-operator", "--timeout=240s")
    wanted.instance["spec"]["kustomize"]["patches"].append(NO_HELM_CONTROLLER)
    cluster.apply(wanted.runtime_info, wanted.instance, wanted.components)
    cluster.until_ready("fluxinstance", "flux")
    assert cluster.ready("gitrepository", "flux-system")[0] == "True"
    log = next(cluster.site.lab.vms.glob(f"{WORKER}/logs/flux-system/flux-operator-*/manager.log"))
    assert "Server-side apply completed" in log.read_text()


def test_the_controllers_apply_the_components_in_their_order(cluster: Cluster) -> None:
    cluster.until_ready("kustomization", "flux-system")  # the sources of charts
    for release, namespace in (("ingress-nginx", "ingress-nginx"), ("metrics-server", "kube-system")):
        cluster.until(f"{release} is applied", lambda: cluster.is_there("helmrelease", release, "-n", namespace))  # noqa: B023
    # The cluster's own things come behind all components, and those wait for their charts.
    cluster.until("they wait", lambda: "dependency" in cluster.ready("kustomization", "cluster")[1])
    assert not cluster.is_there("configmap", "greeting")
    for release, namespace in (("ingress-nginx", "ingress-nginx"), ("metrics-server", "kube-system")):
        status = json.dumps({"status": {"observedGeneration": 1, "conditions": [READY]}})
        where = ("helmrelease", release, "-n", namespace, "--subresource=status", "--type=merge", "-p", status)
        cluster.kubectl("patch", *where)
        cluster.until_ready("kustomization", release)
    cluster.until_ready("kustomization", "cluster")
    assert cluster.get("configmap", "greeting")["data"] == {"cluster": NAME, "word": "hello"}
    cluster.until_ready("resourceset", "infrastructure")


def test_what_is_pushed_is_applied(cluster: Cluster) -> None:
    file = cluster.work / "clusters" / NAME / "greeting.yaml"
    file.write_text(file.read_text().replace("hello", "good evening"))
    cluster.repository.push("site")
    now = f"reconcile.fluxcd.io/requestedAt={time.time()}"
    cluster.kubectl("annotate", "--overwrite", "gitrepository/flux-system", "-n", "flux-system", now)
    cluster.until("the change is there", lambda: cluster.get("configmap", "greeting")["data"]["word"] == "good evening")


def test_a_component_that_is_not_in_the_list_any_more_is_pruned(cluster: Cluster) -> None:
    cluster.apply(cluster.plan(("optional: [metrics-server]", "optional: []")).components)
    cluster.until("it is gone", lambda: not cluster.is_there("helmrelease", "metrics-server", "-n", "kube-system"))
    # Its own finalizer goes when everything is gone that it had brought.
    cluster.until(
        "its Kustomization is gone",
        lambda: not cluster.is_there("kustomization", "metrics-server", "-n", "flux-system"),
    )
    assert cluster.is_there("helmrelease", "ingress-nginx", "-n", "ingress-nginx")


def test_a_program_that_dies_is_started_again(cluster: Cluster) -> None:
    before = cluster.pod("app=source-controller")
    name = before["metadata"]["name"]
    (process,) = cluster.processes(name)
    os.kill(process, signal.SIGKILL)

    def restarts() -> int:
        found: int = cluster.get("pod", name, "-n", "flux-system")["status"]["containerStatuses"][0]["restartCount"]
        return found

    cluster.until(
        "it is started again",
        lambda: restarts() == before["status"]["containerStatuses"][0]["restartCount"] + 1,
    )
    cluster.until("it is ready", lambda: cluster.ready("pod", name)[0] == "True")
    assert cluster.processes(name) != [process]


def test_programs_outlive_the_kubelet(cluster: Cluster) -> None:
    pod = cluster.pod("app=source-controller")
    before = cluster.processes(pod["metadata"]["name"])
    (player,) = processes("cmdline", f"--socket={cluster.site.lab.kubelets_socket}")
    os.kill(player, signal.SIGKILL)
    cluster.until("another one plays", lambda: processes("cmdline", f"--socket={cluster.site.lab.kubelets_socket}"))
    # The new kubelet has come to know its pods when it tells of one that begins now.
    cluster.kubectl("run", "late", "--image=example.org/late")
    cluster.kubectl("wait", "--for=condition=Ready", "pod/late", "--timeout=120s")
    assert cluster.processes(pod["metadata"]["name"]) == before


def test_a_pod_that_is_deleted_takes_its_program_along(cluster: Cluster) -> None:
    name = cluster.pod("app=kustomize-controller")["metadata"]["name"]
    assert cluster.processes(name) != []
    cluster.kubectl("delete", "pod", name, "-n", "flux-system")
    assert cluster.processes(name) == []
    cluster.kubectl("rollout", "status", "-n", "flux-system", "deployment/kustomize-controller", "--timeout=240s")
    assert cluster.pod("app=kustomize-controller")["metadata"]["name"] != name
