"""Flux by `pulumi up` alone: turned on with the cluster, changed, put back, interrupted, turned off, destroyed.

flux-operator is played here, so that it is ready, or not, when a test wants it. test_gitops.py has the real one.

One cluster for the whole module, whose tests are its life: their order is that of the file.
"""

from __future__ import annotations

import base64
import json
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from cluster_stack.automation import ClusterError
from cluster_stack.plan.gitops import operator
from lab.directory import write_text
from tests.engine import kubernetes_cluster
from tests.engine.site import Site
from tests.engine.static_cluster import static_cluster
from tests.project import REPOSITORY

NAME = "fleet"
CLUSTER = (
    static_cluster(NAME)
    + """
gitops:
  enabled: true
  flux:
    repository: https://git.lan/fleet
    branch: main
    credentialsSecret: fluxToken
    ageKeySecret: fluxAgeKey
  infrastructure:
    core: [cert-manager]
    optional: [kube-prometheus-stack]
"""
)
SETTINGS = {
    "fluxToken": "glpat-Zx81kLm2QqWw",
    "fluxAgeKey": "AGE-SECRET-KEY-1QQQSYQCYQ5RQWZQFPG9SCRGWPUGPZYSNZS23V9CCRYDPK8QARC0SWRYDWG",
    "grafanaPassword": "correct-horse-battery",
}
OTHER_AGE_KEY = "AGE-SECRET-KEY-1QYPQXPQ9QCRSSZG2PVXQ6RS0ZQG3YYC5Z5TPWXQERGD3C8G7RUSQGPQYEE"
NAMESPACE = "flux-system"
OPERATOR_IMAGE = "ghcr.io/controlplaneio-fluxcd/flux-operator:"
PATIENCE = 300.0


class Operator(threading.Thread):
    """Plays flux-operator: says of each of its objects that it is ready, unless it is told to wait."""

    def __init__(self, cluster: Cluster) -> None:
        super().__init__(daemon=True)
        self._cluster = cluster
        self.ended, self.paused = threading.Event(), threading.Event()

    def run(self) -> None:
        while not self.ended.wait(2):
            if not self.paused.is_set():
                self._look()

    def _look(self) -> None:
        answer = self._cluster.kubectl("get", "fluxinstances,resourcesets", "-A", "-o", "json", check=False)
        try:
            items = json.loads(answer)["items"]
        except ValueError:
            return  # no API, or no such kinds, yet
        for live in items:
            generation = live["metadata"]["generation"]
            conditions = live.get("status", {}).get("conditions", [])
            if any(one["observedGeneration"] == generation for one in conditions):
                continue
            ready = {
                "type": "Ready",
                "status": "True",
                "reason": "ReconciliationSucceeded",
                "message": "done",
                "lastTransitionTime": "2026-11-28T00:00:00Z",
                "observedGeneration": generation,
            }
            patch = json.dumps({"status": {"conditions": [ready]}})
            name = f"{live['kind']}.fluxcd.controlplane.io/{live['metadata']['name']}"
            where = ("-n", live["metadata"]["namespace"], "--subresource=status", "--field-manager=flux-operator")
            self._cluster.kubectl("patch", name, *where, "--type=merge", "-p", patch, check=False)


class Cluster:
    """The cluster, as its administrator sees it."""

    def __init__(self, site: Site) -> None:
        self.site = site
        self.operator = Operator(self)
        self._kubeconfig = site.folder / "kubeconfig"

    def kubectl(self, *words: str, check: bool = True) -> str:
        if not self._kubeconfig.exists() and not self._write_kubeconfig():
            return "there is no kubeconfig yet"
        config = ["--kubeconfig", str(self._kubeconfig), "--request-timeout=10s"]
        done = self.site.run("kubectl", *config, *words, check=check)
        self.site.printed.remove(done.stdout)  # Secrets, where it was asked for them
        return done.stdout if check or done.returncode == 0 else done.stdout + done.stderr

    def _write_kubeconfig(self) -> bool:
        """From the state, in which it is before the outputs are."""
        done = self.site.run("pulumi", "stack", "export", "--show-secrets", "-s", NAME, check=False)
        self.site.printed.remove(done.stdout)  # it was asked for the secrets
        if done.returncode:
            return False
        for resource in json.loads(done.stdout)["deployment"].get("resources", ()):
            if resource["type"] == "talos:cluster/kubeconfig:Kubeconfig":
                found = resource["outputs"]["kubeconfigRaw"]
                text = json.loads(found["plaintext"]) if isinstance(found, dict) else found
                write_text(self._kubeconfig, text, mode=0o600)
                return True
        return False

    def get(self, *words: str) -> dict[str, Any]:
        answer: dict[str, Any] = json.loads(self.kubectl("get", "-n", NAMESPACE, *words, "-o", "json"))
        return answer

    def there(self, kinds: str) -> set[str]:
        return set(self.kubectl("get", "-n", NAMESPACE, kinds, "-o", "name", check=False).split())

    def pulumi(self, *words: str, check: bool = True) -> str:
        done = self.site.run("pulumi", *words, "-s", NAME, check=check)
        return done.stdout + done.stderr

    def edit(self, *edits: tuple[str, str]) -> None:
        self.site.edit(NAME, *edits)


def up(cluster: Cluster) -> dict[str, int]:
    changes = cluster.site.up(NAME).changes
    return {name: count for name, count in vars(changes).items() if count and name != "unchanged"}


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    """A cluster with Flux, made by one `up`."""
    site = Site(kubernetes=True)
    made = Cluster(site)
    try:
        site.start()
        site.add_cluster(NAME, CLUSTER)
        site.ensure_stack(NAME)
        play_operator(site)
        yield made
    finally:
        made.operator.ended.set()
        if made.operator.is_alive():
            made.operator.join()
        site.remove()


def play_operator(site: Site) -> None:
    """Give the operator an image that the lab knows no program of, so that its pods only seem to run."""
    file = site.project / operator.FILE.relative_to(REPOSITORY)
    text = file.read_text()
    assert OPERATOR_IMAGE in text
    file.write_text(text.replace(OPERATOR_IMAGE, "registry.lan/flux-operator:"))


def test_settings_that_are_missing_are_named_in_a_preview(cluster: Cluster) -> None:
    said = cluster.pulumi("preview", check=False)
    assert f"clusters/{NAME}/cluster.yaml:24: gitops.flux.ageKeySecret: the stack has no setting fluxAgeKey" in said
    assert f"Run `pulumi config set --secret fluxAgeKey -s {NAME}`" in said
    assert "grafanaPassword" in said
    assert "Traceback" not in said


def test_the_first_preview_shows_every_object_and_asks_nobody(cluster: Cluster) -> None:
    for name, value in SETTINGS.items():
        cluster.site.run("pulumi", "config", "set", "--secret", name, "-s", NAME, answer=value)
    said = cluster.pulumi("preview", "--diff")
    assert "cluster-stack:kubernetes:Object" in said
    for name in ("namespace", "operator-deployment-flux-operator", "secret-sops-age", "components", "instance"):
        assert f"name={NAME}-flux-{name}" in said or f"::{NAME}-flux-{name}" in said
    assert "https://git.lan/fleet" in said
    assert cluster.site.writes() == []


def test_one_up_ends_with_flux(cluster: Cluster) -> None:
    cluster.operator.start()
    result = cluster.site.up(NAME)
    assert result.outputs.flux_version == "v2.9.5"
    instance = cluster.get("fluxinstance", "flux")
    assert instance["spec"]["distribution"]["version"] == "2.9.5"
    assert instance["spec"]["sync"]["ref"] == "refs/heads/main"
    assert cluster.get("configmap", "flux-runtime-info")["data"]["CLUSTER_NAME"] == NAME
    assert cluster.get("deployment", "flux-operator")["status"]["availableReplicas"] == 1
    found = cluster.get("resourceset", "infrastructure")["spec"]["resources"]
    assert [one["metadata"]["name"] for one in found] == [
        "cert-manager",
        "cert-manager-config",
        "kube-prometheus-stack",
    ]
    secrets = {name: cluster.get("secret", name)["data"] for name in ("flux-git-credentials", "sops-age")}
    assert secrets["flux-git-credentials"].keys() == {"username", "password"}
    assert base64.b64decode(secrets["sops-age"]["age.agekey"]).decode() == SETTINGS["fluxAgeKey"]


def test_no_edit_is_no_change(cluster: Cluster) -> None:
    assert up(cluster) == {}
    assert cluster.site.preview(NAME).any is False


def test_another_branch_is_one_line_of_a_preview(cluster: Cluster) -> None:
    cluster.edit(("branch: main", "branch: next"))
    said = shown(cluster.pulumi("preview", "--diff"))
    assert '~ spec: { ~ sync: { ~ ref: "refs/heads/main" => "refs/heads/next" } }' in said
    assert up(cluster) == {"updated": 1}
    assert cluster.get("fluxinstance", "flux")["spec"]["sync"]["ref"] == "refs/heads/next"


def test_a_component_that_is_taken_out_leaves_the_list(cluster: Cluster) -> None:
    cluster.edit(("optional: [kube-prometheus-stack]", "optional: []"))
    # The ResourceSet, and the Secret and the facts of that component alone.
    assert up(cluster).keys() == {"updated", "deleted"}
    found = cluster.get("resourceset", "infrastructure")["spec"]["resources"]
    assert [one["metadata"]["name"] for one in found] == ["cert-manager", "cert-manager-config"]
    assert "secret/flux-runtime-secrets" not in cluster.there("secrets")


LABELLED = """
apiVersion: v1
kind: Namespace
metadata:
  name: flux-system
  labels: {pod-security.kubernetes.io/warn: restricted, app.kubernetes.io/part-of: flux}
  annotations: {fluxcd.controlplane.io/prune: disabled}
"""


def test_what_flux_writes_is_no_change(cluster: Cluster) -> None:
    """flux-operator applies the namespace, too, and everybody may annotate, scale by a label, ask for a look."""
    file = cluster.site.folder / "namespace.yaml"
    file.write_text(LABELLED)
    cluster.kubectl("apply", "--server-side", "--field-manager=flux-operator", "-f", str(file))
    cluster.kubectl("annotate", "-n", NAMESPACE, "fluxinstance/flux", "reconcile.fluxcd.io/requestedAt=now")
    assert cluster.site.up(NAME, refresh=True).changes.any is False
    labels = cluster.get("namespace", NAMESPACE)["metadata"]["labels"]
    assert labels["app.kubernetes.io/part-of"] == "flux"


BY_HAND = ("patch", "-n", NAMESPACE, "fluxinstance/flux", "--type=merge", "-p", '{"spec":{"sync":{"interval":"1m"}}}')


def test_a_change_by_hand_is_not_overwritten_unseen(cluster: Cluster) -> None:
    cluster.kubectl(*BY_HAND)
    cluster.edit(("branch: next", "branch: main"))
    with pytest.raises(ClusterError) as told:
        cluster.site.up(NAME)
    assert 'FluxInstance flux-system/flux was changed by somebody else: .spec.sync.interval: conflict with "' in str(
        told.value
    )
    assert "Run `pulumi up --refresh`" in str(told.value)
    assert cluster.get("fluxinstance", "flux")["spec"]["sync"]["interval"] == "1m"


def test_a_refresh_shows_it_and_puts_it_back(cluster: Cluster) -> None:
    said = shown(cluster.pulumi("preview", "--refresh", "--diff"))
    assert '~ interval: "1m" => "10m"' in said
    assert cluster.site.up(NAME, refresh=True).changes.updated == 1
    assert cluster.get("fluxinstance", "flux")["spec"]["sync"]["interval"] == "10m"


def test_what_somebody_deleted_is_made_again(cluster: Cluster) -> None:
    cluster.kubectl("delete", "-n", NAMESPACE, "configmap", "flux-runtime-info")
    cluster.site.up(NAME, refresh=True)
    assert cluster.get("configmap", "flux-runtime-info")["data"]["CLUSTER_NAME"] == NAME


def test_a_secret_follows_its_setting(cluster: Cluster) -> None:
    cluster.site.run("pulumi", "config", "set", "--secret", "fluxAgeKey", "-s", NAME, answer=OTHER_AGE_KEY)
    assert up(cluster) == {"updated": 1}
    found = cluster.get("secret", "sops-age")["data"]["age.agekey"]
    assert base64.b64decode(found).decode() == OTHER_AGE_KEY


def test_an_instance_that_does_not_become_ready_is_a_sentence_and_the_next_up_goes_on(cluster: Cluster) -> None:
    cluster.operator.paused.set()
    cluster.edit(("gitops:\n", "lifecycle: {healthTimeout: 15s}\ngitops:\n"), ("branch: main", "branch: other"))
    with pytest.raises(ClusterError) as told:
        cluster.site.up(NAME)
    assert (
        "FluxInstance flux-system/flux is not ready after 15 s: flux-operator has not looked at it yet. `pulumi up` "
        "goes on with it." in str(told.value)
    )
    assert cluster.get("fluxinstance", "flux")["spec"]["sync"]["ref"] == "refs/heads/other"
    cluster.operator.paused.clear()
    assert up(cluster) == {"updated": 1}
    assert up(cluster) == {}


def test_an_api_that_is_down_is_a_sentence_and_the_next_up_goes_on(cluster: Cluster) -> None:
    power(cluster, "stop")
    cluster.edit(("branch: other", "branch: main"))
    with pytest.raises(ClusterError) as told:
        cluster.site.up(NAME)
    assert "the Kubernetes API at https://10.42.0.51:6443 does not answer: " in str(told.value)
    assert "FluxInstance flux-system/flux waited 15 s for it." in str(told.value)
    power(cluster, "start")
    cluster.edit(("healthTimeout: 15s", "healthTimeout: 5m"))
    assert up(cluster) == {"updated": 1}
    assert cluster.get("fluxinstance", "flux")["spec"]["sync"]["ref"] == "refs/heads/main"


def test_turned_off_nothing_of_it_is_left_and_the_preview_says_what_stays(cluster: Cluster) -> None:
    cluster.edit(("enabled: true", "enabled: false"))
    said = cluster.pulumi("preview")
    assert "Flux v2.9.5 is removed. What it had installed stays, and nobody looks after it any more." in said
    up(cluster)
    assert "NotFound" in cluster.kubectl("get", "namespace", NAMESPACE, check=False)
    assert "fluxcd" not in cluster.kubectl("get", "crds,clusterroles,clusterrolebindings", "-o", "name")
    assert up(cluster) == {}


def test_turned_on_again_it_is_there_again(cluster: Cluster) -> None:
    cluster.edit(("enabled: false", "enabled: true"))
    up(cluster)
    assert cluster.get("fluxinstance", "flux")["spec"]["sync"]["ref"] == "refs/heads/main"


def test_nothing_secret_is_in_the_state_or_printed(cluster: Cluster) -> None:
    state = cluster.pulumi("stack", "export")
    printed = "\n".join(cluster.site.printed)
    values = SETTINGS | {"the other age key": OTHER_AGE_KEY}
    for text in (state, printed, *logs(cluster)):
        assert [name for name, value in values.items() for form in forms(value) if form in text] == []


def test_the_end_of_the_cluster_asks_nothing_of_an_api_that_is_gone(cluster: Cluster) -> None:
    power(cluster, "stop")
    # A worker that is to shut down would drain itself first, and wait for the API as long as Talos does.
    power(cluster, "stop", 710)
    changes = cluster.site.destroy(NAME)
    assert changes.deleted > 20
    assert not {700, 710} & cluster.site.guests().keys()


def shown(said: str) -> str:
    """What Pulumi prints, whatever room it leaves."""
    return " ".join(said.split()).replace(" :", ":")


def forms(value: str) -> list[str]:
    encoded = base64.b64encode(value.encode()).decode()
    return [value, encoded, base64.b64encode(encoded.encode()).decode()]


def logs(cluster: Cluster) -> list[str]:
    lab = cluster.site.lab
    return [file.read_text(errors="replace") for file in (lab.log, lab.requests, *lab.vms.glob("*/console.log"))]


def power(cluster: Cluster, action: str, guest: int = 700) -> None:
    kubernetes_cluster.power(cluster.site, guest, action)
