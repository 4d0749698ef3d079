"""Real control planes: three and a worker, made by the real `pulumi up` and asked by the real kubectl and talosctl.

One cluster for the whole module, whose tests go from what is there to what breaks it: their order is that of the file.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from typing import Any

import pytest
import yaml

from tests.engine.kubernetes_cluster import (
    CONTROL_PLANES,
    VIP,
    WORKER,
    Cluster,
    is_on,
    running_cluster,
    start,
    stop,
    vmid,
)
from tests.engine.static_cluster import static_cluster

NAME = "kube"
BEFORE, AFTER = "v1.35.3", "v1.36.1"
CLUSTER = static_cluster(NAME, control_planes=3, cluster=f"kubernetes: {{vip: {VIP}, version: {BEFORE}}}\n")
GREETING = """
apiVersion: v1
kind: ConfigMap
metadata: {name: greeting, namespace: default}
data: {word: hello}
"""
INLINE = {"name": "greeting", "contents": GREETING}
WEB = """
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  replicas: 2
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec: {containers: [{name: web, image: nginx}], terminationGracePeriodSeconds: 1}
"""
BUDGET = """
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata: {name: web}
spec: {minAvailable: 2, selector: {matchLabels: {app: web}}}
"""


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    yield from running_cluster(NAME, CLUSTER)


def test_nodes_are_what_talos_makes_of_them(cluster: Cluster) -> None:
    nodes = {node["metadata"]["name"]: node for node in cluster.get("nodes")["items"]}
    assert sorted(nodes) == ["kube-cp1", "kube-cp2", "kube-cp3", "kube-worker1"]
    first, worker = nodes["kube-cp1"], nodes["kube-worker1"]
    assert first["metadata"]["labels"]["node-role.kubernetes.io/control-plane"] == ""
    assert first["spec"]["taints"] == [{"key": "node-role.kubernetes.io/control-plane", "effect": "NoSchedule"}]
    assert "taints" not in worker["spec"]
    assert {"type": "InternalIP", "address": WORKER} in worker["status"]["addresses"]
    assert {"type": "InternalIP", "address": CONTROL_PLANES[0]} in first["status"]["addresses"]
    info = worker["status"]["nodeInfo"]
    assert info["osImage"] == "Talos (v1.13.0)"
    assert info["kubeletVersion"] == f"v{cluster.outputs.kubernetes_version}"
    assert worker["spec"]["podCIDR"].startswith("10.244.")


def test_static_pods_and_manifests_are_there(cluster: Cluster) -> None:
    def running() -> bool:
        pods = cluster.get("pods", "-n", "kube-system")["items"]
        wanted = {f"{name}-kube-cp{number}" for name in SERVERS for number in (1, 2, 3)}
        ready = {pod["metadata"]["name"] for pod in pods if all(c["ready"] for c in pod["status"]["containerStatuses"])}
        others = [pod for pod in ready if pod.startswith(("coredns-", "kube-flannel-", "kube-proxy-"))]
        return wanted <= ready and len(others) == 2 + 4 + 4

    cluster.until("all pods of the system run", running)
    cluster.until(
        "their states are known to Talos", lambda: len(cluster.resource("staticpodstatus", CONTROL_PLANES[2])) == 3
    )
    applied = cluster.resource("manifeststatus", CONTROL_PLANES[0])[0]["spec"]["manifestsApplied"]
    assert "05-flannel" in applied
    assert "11-core-dns" in applied


SERVERS = ("kube-apiserver", "kube-controller-manager", "kube-scheduler")


def test_talosctl_finds_the_cluster_healthy(cluster: Cluster) -> None:
    said = cluster.talosctl("health", "--wait-timeout", "4m")
    for check in ("all k8s nodes to report", "all control plane components to be ready", "coredns to report ready"):
        assert f"waiting for {check}: OK" in said


def test_what_the_configuration_says_of_a_node_is_followed(cluster: Cluster) -> None:
    def worker(*path: str) -> Any:
        found: Any = cluster.get("node", "kube-worker1")
        for step in path:
            found = found.get(step, {})
        return found

    patch: dict[str, Any] = {
        "machine": {"nodeLabels": {"example.org/rack": "7"}, "nodeAnnotations": {"example.org/note": "a b"}}
    }
    cluster.talosctl("patch", "mc", "--patch", json.dumps(patch), node=WORKER)
    cluster.until("the label is there", lambda: worker("metadata", "labels", "example.org/rack") == "7")
    assert worker("metadata", "annotations", "example.org/note") == "a b"
    patch = {"machine": {"nodeLabels": {"example.org/rack": {"$patch": "delete"}}}}
    cluster.talosctl("patch", "mc", "--patch", json.dumps(patch), node=WORKER)
    cluster.until("the label is gone", lambda: worker("metadata", "labels", "example.org/rack") == {})


def test_a_new_inline_manifest_is_applied(cluster: Cluster) -> None:
    patch = json.dumps({"cluster": {"inlineManifests": [INLINE]}})
    for node in CONTROL_PLANES:
        cluster.talosctl("patch", "mc", "--patch", patch, node=node)
    cluster.until(
        "it is there", lambda: "hello" in cluster.kubectl("get", "configmap", "greeting", "-o", "yaml", check=False)
    )


def test_upgrade_k8s_moves_every_component_and_takes_away_what_is_in_no_manifest(cluster: Cluster) -> None:
    patch = json.dumps({"cluster": {"inlineManifests": {"$patch": "delete"}}})
    for node in CONTROL_PLANES:
        cluster.talosctl("patch", "mc", "--patch", patch, node=node)
    # Machines have no images in the lab, so there is nothing to pull before.
    said = cluster.talosctl("upgrade-k8s", "--to", AFTER.removeprefix("v"), "--pre-pull-images=false")
    assert "deleted ConfigMap/default/greeting" in said
    assert "NotFound" in cluster.kubectl("get", "configmap", "greeting", check=False)
    nodes = cluster.get("nodes")["items"]
    assert {node["status"]["nodeInfo"]["kubeletVersion"] for node in nodes} == {AFTER}
    pods = cluster.get("pods", "-n", "kube-system", "-l", f"k8s-app in ({','.join(SERVERS)})")["items"]
    assert {pod["spec"]["containers"][0]["image"].rpartition(":")[2] for pod in pods} == {AFTER}
    cluster.until("all nodes are ready", lambda: list(cluster.nodes().values()) == [True] * 4)


def test_a_deployment_runs_and_a_budget_holds_a_drain_up(cluster: Cluster) -> None:
    cluster.apply(WEB)
    cluster.kubectl("rollout", "status", "deployment/web", "--timeout=120s")
    cluster.apply(BUDGET)
    drain = ("drain", "kube-worker1", "--ignore-daemonsets", "--delete-emptydir-data", "--force")
    held_up = cluster.kubectl(*drain, "--timeout=8s", check=False)
    assert "Cannot evict pod as it would violate the pod's disruption budget" in held_up
    cluster.kubectl("delete", "pdb", "web")
    cluster.kubectl(*drain, "--timeout=120s")
    assert {pod["status"]["phase"] for pod in cluster.get("pods")["items"]} == {"Pending"}
    cluster.kubectl("uncordon", "kube-worker1")
    cluster.kubectl("rollout", "status", "deployment/web", "--timeout=120s")


def test_a_shutdown_drains_the_node_and_the_next_boot_opens_it(cluster: Cluster) -> None:
    cluster.talosctl("shutdown", "--wait=false", node=WORKER)
    cluster.until("the machine is off", lambda: not cluster.site.guests()[710]["running"])
    assert cluster.get("node", "kube-worker1")["spec"]["unschedulable"]
    assert {pod["status"]["phase"] for pod in cluster.get("pods")["items"]} == {"Pending"}
    start(cluster.site, 710)
    cluster.until("it is uncordoned", lambda: "unschedulable" not in cluster.get("node", "kube-worker1")["spec"])
    cluster.kubectl("rollout", "status", "deployment/web", "--timeout=120s")


def installer_image(cluster: Cluster) -> str:
    """What the worker was installed from."""
    configuration = cluster.resource("machineconfig", WORKER)[0]
    image: str = next(yaml.safe_load_all(configuration["spec"]))["machine"]["install"]["image"]
    return image


def web_pods(cluster: Cluster) -> set[str]:
    return {pod["metadata"]["uid"] for pod in cluster.get("pods", "-l", "app=web")["items"]}


def test_an_upgrade_that_the_machine_makes_alone_drains_its_node(cluster: Cluster) -> None:
    """The call of Talos before 1.13: the machine drains, not talosctl."""
    before = web_pods(cluster)
    cluster.talosctl("upgrade", "--legacy", "--image", installer_image(cluster), "--timeout", "240s", node=WORKER)
    cluster.until("it is uncordoned", lambda: "unschedulable" not in cluster.get("node", "kube-worker1")["spec"])
    cluster.kubectl("rollout", "status", "deployment/web", "--timeout=120s")
    assert not before & web_pods(cluster)


def test_a_graceful_reset_drains_the_node_and_a_budget_holds_it_up(cluster: Cluster) -> None:
    cluster.apply(BUDGET)
    before = web_pods(cluster)
    reset = ("reset", "--graceful", "--reboot", "--system-labels-to-wipe", "EPHEMERAL", "--wait=false")
    cluster.talosctl(*reset, node=WORKER)
    cluster.until("it is cordoned", lambda: cluster.get("node", "kube-worker1")["spec"].get("unschedulable", False))
    time.sleep(6)  # more than a machine waits before it asks again
    assert web_pods(cluster) == before
    cluster.kubectl("delete", "pdb", "web")
    cluster.until("it is uncordoned", lambda: "unschedulable" not in cluster.get("node", "kube-worker1")["spec"])
    cluster.kubectl("rollout", "status", "deployment/web", "--timeout=120s")
    assert not before & web_pods(cluster)


def test_a_dead_workers_node_goes_not_ready_and_comes_back(cluster: Cluster) -> None:
    stop(cluster.site, 710)
    cluster.until("it is not ready", lambda: not cluster.nodes()["kube-worker1"])
    start(cluster.site, 710)
    cluster.until("it is ready again", lambda: cluster.nodes()["kube-worker1"])


def test_the_virtual_address_moves_when_its_holder_dies(cluster: Cluster) -> None:
    holder = cluster.holder()
    stop(cluster.site, vmid(holder))
    cluster.until(
        "the API answers at the virtual address", lambda: "kube-cp" in cluster.kubectl("get", "nodes", check=False)
    )
    assert cluster.holder() != holder


def test_with_two_of_three_dead_there_is_no_api_and_it_comes_back(cluster: Cluster) -> None:
    running = [node for node in CONTROL_PLANES if vmid(node) in cluster.site.guests() and is_on(cluster.site, node)]
    assert len(running) == 2
    # Asked at its own address, because the virtual one may be on its way: reads need a majority of etcd as well.
    last = f"--server=https://{running[1]}:6443"
    assert "kube-cp" in cluster.kubectl(last, "get", "nodes")
    stop(cluster.site, vmid(running[0]))
    cluster.until(
        "the last API server answers no more",
        lambda: "kube-cp" not in cluster.kubectl(last, "get", "nodes", check=False),
    )
    for node in CONTROL_PLANES:
        if not is_on(cluster.site, node):
            start(cluster.site, vmid(node))
    cluster.until("the API answers again", lambda: "kube-cp" in cluster.kubectl("get", "nodes", check=False))
    cluster.until("all nodes are ready", lambda: list(cluster.nodes().values()) == [True] * 4)


def test_another_authority_of_kubernetes_is_taken_up(cluster: Cluster) -> None:
    nodes = ["--control-plane-nodes", ",".join(CONTROL_PLANES), "--worker-nodes", WORKER]
    old = cluster.resource("kubernetesrootsecret", CONTROL_PLANES[0])[0]["spec"]["issuingCA"]["crt"]
    rotated = cluster.talosctl("rotate-ca", "--talos=false", "--dry-run=false", *nodes, check=False)
    done = "Kubernetes CA rotation done" in rotated  # without a look at the rest: there are keys in it
    assert done
    cluster.until(
        "the old kubeconfig is worth nothing",
        lambda: "certificate signed by unknown authority" in cluster.kubectl("get", "nodes", check=False),
    )
    cluster.talosctl("kubeconfig", str(cluster.kubeconfig), "--force", "--merge=false")
    cluster.until("all nodes are ready", lambda: list(cluster.nodes().values()) == [True] * 4)
    for node in CONTROL_PLANES:
        (root,) = cluster.resource("kubernetesrootsecret", node)
        assert [authority["crt"] for authority in root["spec"]["acceptedCAs"]] != [old]
        assert len(root["spec"]["acceptedCAs"]) == 1
    # What the controller manager and the scheduler do, with credentials of the new authority.
    cluster.kubectl("scale", "deployment/web", "--replicas=3")
    cluster.until("three pods run", lambda: cluster.get("deployment", "web")["status"].get("readyReplicas") == 3)
