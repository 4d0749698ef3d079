"""Talos' API for pods: the configuration opens it, an object asks for it, and a pod of the real talosctl uses it.

One cluster for the whole module, whose tests go from what is there to what breaks it: their order is that of the file.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator, Sequence
from typing import Any

import pytest
import yaml

from lab.directory import write_text
from tests.engine.kubernetes_cluster import CONTROL_PLANES, VIP, WORKER, Cluster, running_cluster, stop, vmid
from tests.engine.static_cluster import static_cluster

NAME = "kube"
CLUSTER = static_cluster(NAME, control_planes=3, cluster=f"kubernetes: {{vip: {VIP}}}\n")
ACCOUNTS = "serviceaccounts.talos.dev"
WHOM = "the service accounts of Talos"
JOB = """
apiVersion: batch/v1
kind: Job
metadata: {{name: asks}}
spec:
  backoffLimit: 0
  template:
    spec:
      restartPolicy: Never
      volumes: [{{name: talos, secret: {{secretName: {account}}}}}]
      containers:
        - name: talosctl
          image: ghcr.io/siderolabs/talosctl:v1.13.0
          args: ["--nodes", "{node}", "version"]
          volumeMounts: [{{name: talos, mountPath: /var/run/secrets/talos.dev}}]
"""


def account(name: str, *roles: str, namespace: str = "default") -> str:
    """A service account of Talos."""
    return json.dumps(
        {
            "apiVersion": "talos.dev/v1alpha1",
            "kind": "ServiceAccount",
            "metadata": {"name": name, "namespace": namespace},
            "spec": {"roles": roles},
        }
    )


def configure(cluster: Cluster, nodes: Sequence[str] = CONTROL_PLANES, **feature: Any) -> None:
    patch = json.dumps({"machine": {"features": {"kubernetesTalosAPIAccess": feature}}})
    for node in nodes:
        cluster.talosctl("patch", "mc", "--mode", "no-reboot", "--patch", patch, node=node)


def secret(cluster: Cluster, name: str, namespace: str = "default") -> dict[str, Any]:
    """The Secret of a service account; empty while there is none."""
    text = cluster.kubectl("get", "secret", name, "-n", namespace, "--ignore-not-found", "-o", "json", check=False)
    found: dict[str, Any] = json.loads(text) if text.startswith("{") else {}
    return found


def reasons(cluster: Cluster, name: str, namespace: str = "default") -> set[tuple[str, str]]:
    """Type and reason of the events about a service account."""
    events = cluster.get("events", "-n", namespace, "--field-selector", f"involvedObject.name={name}")["items"]
    about = [event for event in events if event["involvedObject"]["kind"] == "ServiceAccount"]
    assert {event["source"]["component"] for event in about} <= {"talos-sa-controller"}
    return {(event["type"], event["reason"]) for event in about}


def failure(cluster: Cluster, name: str, namespace: str = "default") -> str:
    reason: str = cluster.get(ACCOUNTS, name, "-n", namespace).get("status", {}).get("failureReason", "")
    return reason


def serving(cluster: Cluster, nodes: Sequence[str] = CONTROL_PLANES) -> list[str]:
    """The control planes that serve the service accounts now."""

    def serves(node: str) -> bool:
        log = cluster.talosctl("logs", "kubelet", node=node)
        return log.count(f"Serving {WHOM}") > log.count(f"No longer serving {WHOM}")

    return [node for node in nodes if serves(node)]


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    yield from running_cluster(NAME, CLUSTER)


def test_it_is_closed_until_the_configuration_opens_it(cluster: Cluster) -> None:
    (access,) = cluster.resource("kubernetesaccessconfig", CONTROL_PLANES[0])
    assert access["spec"]["enabled"] is False
    assert not cluster.resource("kubernetesaccessconfig", WORKER)
    assert "NotFound" in cluster.kubectl("get", "crd", ACCOUNTS, check=False)
    assert "NotFound" in cluster.kubectl("get", "service", "talos", check=False)

    configure(cluster, enabled=True, allowedRoles=["os:reader"], allowedKubernetesNamespaces=["default"])
    (access,) = cluster.resource("kubernetesaccessconfig", CONTROL_PLANES[0])
    assert access["spec"] == {
        "enabled": True,
        "allowedAPIRoles": ["os:reader"],
        "allowedKubernetesNamespaces": ["default"],
    }
    cluster.until("there is the resource", lambda: ACCOUNTS in cluster.kubectl("get", "crd", check=False))

    def endpoints() -> list[str]:
        text = cluster.kubectl("get", "endpointslice", "talos-ipv4", "--ignore-not-found", "-o", "json", check=False)
        found = json.loads(text) if text.startswith("{") else {"endpoints": []}
        return [address for endpoint in found["endpoints"] for address in endpoint["addresses"]]

    cluster.until("the Service has the control planes", lambda: endpoints() == list(CONTROL_PLANES))
    (port,) = cluster.get("service", "talos")["spec"]["ports"]
    assert (port["name"], port["port"]) == ("apid", 50000)


def test_what_is_allowed_gets_a_talosconfig_and_nothing_else_does(cluster: Cluster) -> None:
    cluster.apply(account("reader", "os:reader"))
    cluster.apply(account("admin", "os:reader", "os:admin"))
    cluster.apply(account("elsewhere", "os:reader", namespace="kube-system"))
    synced, warning = ("Normal", "Synced"), "Warning"
    cluster.until("the event of one", lambda: reasons(cluster, "reader") == {synced})
    cluster.until("of the second", lambda: reasons(cluster, "admin") == {(warning, "ErrRolesNotAllowed")})
    where = "kube-system"
    cluster.until("of the third", lambda: reasons(cluster, "elsewhere", where) == {(warning, "ErrNamespaceNotAllowed")})
    assert failure(cluster, "reader") == ""
    assert failure(cluster, "admin") == "Roles not allowed: [os:admin]"
    assert failure(cluster, "elsewhere", where) == "Namespace is not allowed: kube-system"
    assert not secret(cluster, "admin")
    assert not secret(cluster, "elsewhere", where)
    (owner,) = secret(cluster, "reader")["metadata"]["ownerReferences"]
    assert (owner["kind"], owner["name"], owner["controller"]) == ("ServiceAccount", "reader", True)


def test_it_opens_the_api_as_far_as_its_roles_and_no_further(cluster: Cluster) -> None:
    file = cluster.site.folder / "reader.talosconfig"
    write_text(file, base64.b64decode(secret(cluster, "reader")["data"]["config"]).decode(), mode=0o600)
    context = yaml.safe_load(file.read_text())["contexts"]["default"]
    assert context["endpoints"] == ["talos.default"]

    def ask(*words: str) -> str:
        to = ("--endpoints", CONTROL_PLANES[0], "--nodes", CONTROL_PLANES[1])
        done = cluster.site.run("talosctl", "--talosconfig", str(file), *to, *words, check=False)
        return done.stdout + done.stderr

    assert "Tag:         v1.13.0" in ask("version").split("Server:")[1]
    assert "os:reader" in ask("config", "info")
    assert "PermissionDenied" in ask("get", "machineconfig")
    assert "PermissionDenied" in ask("reboot", "--wait=false")
    assert "PermissionDenied" in ask("etcd", "snapshot", str(cluster.site.folder / "snapshot"))


def test_a_pod_reaches_the_api_through_the_service(cluster: Cluster) -> None:
    cluster.apply(JOB.format(account="reader", node=WORKER))
    cluster.kubectl("wait", "job/asks", "--for=condition=complete", "--timeout=120s", check=False)
    (pod,) = cluster.get("pods", "-l", "job-name=asks")["items"]
    name = f"default/{pod['metadata']['name']}:talosctl"
    said = cluster.talosctl("logs", "-k", name, node=WORKER)
    assert f"NODE:        {WORKER}" in said
    assert pod["status"]["phase"] == "Succeeded", said


def test_the_configuration_changes_what_is_allowed_without_a_reboot(cluster: Cluster) -> None:
    cluster.apply(account("backup", "os:etcd:backup"))
    cluster.until("it is refused", lambda: failure(cluster, "backup") == "Roles not allowed: [os:etcd:backup]")
    configure(cluster, allowedRoles=["os:etcd:backup"])
    cluster.until("it has a talosconfig", lambda: secret(cluster, "backup") != {})
    assert failure(cluster, "backup") == ""


def test_a_secret_that_is_deleted_comes_again_and_goes_with_its_service_account(cluster: Cluster) -> None:
    before = secret(cluster, "reader")["metadata"]["uid"]
    cluster.kubectl("delete", "secret", "reader")
    cluster.until("it is made anew", lambda: secret(cluster, "reader").get("metadata", {}).get("uid", before) != before)
    cluster.kubectl("delete", ACCOUNTS, "reader")
    cluster.until("it is gone", lambda: secret(cluster, "reader") == {})


def test_one_control_plane_serves_at_a_time_and_another_one_follows(cluster: Cluster) -> None:
    """The lock of one that dies is free when its lease is over."""
    (first,) = serving(cluster)
    stop(cluster.site, vmid(first))
    others = [node for node in CONTROL_PLANES if node != first]
    cluster.until("the API answers", lambda: "kube-cp" in cluster.kubectl("get", "nodes", check=False))
    cluster.apply(account("late", "os:reader"))
    cluster.until("it has a talosconfig", lambda: secret(cluster, "late") != {})
    assert len(serving(cluster, others)) == 1
