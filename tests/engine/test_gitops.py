"""Flux by `pulumi up` alone, and nothing of it played: flux-operator, the controllers and the Git server are real.

One cluster for the whole module, whose tests are its life: their order is that of the file. A HelmRelease is applied
and stays waiting, because its chart cannot be had here. notification-controller is not among the programs of the lab,
and without an answer from it the others pause for 15 seconds at each event, so there is none.
"""

from __future__ import annotations

import json
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from cluster_stack.automation import ClusterError
from lab.directory import write_text
from lab.git_server import TOKEN_FILE
from tests.engine.repository import Repository
from tests.engine.site import Site
from tests.engine.static_cluster import static_cluster

NAME = "fleet"
CLUSTER = (
    static_cluster(NAME)
    + """
lifecycle: {healthTimeout: 5m}
gitops:
  enabled: true
  flux:
    repository: https://git.lan/clusters.git
    branch: main
    path: ./clusters/fleet
    components: [source-controller, kustomize-controller, helm-controller]
  infrastructure:
    optional: [metrics-server, welcome]
    settings: {WELCOME_WORD: hello}
"""
)
WELCOME = "infrastructure/optional/base/welcome"
OWN = f"clusters/{NAME}"
FILES = {
    f"{WELCOME}/component.yaml": "title: Welcome\nabout: A word of welcome.\nnamespace: default\n"
    "values: [CLUSTER_NAME]\nsettings: {WELCOME_WORD: {about: The word., default: welcome}}\n",
    f"{WELCOME}/kustomization.yaml": "resources: [welcome.yaml]\n",
    f"{WELCOME}/welcome.yaml": "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: welcome, namespace: default}\n"
    "data: {cluster: '${CLUSTER_NAME}', word: '${WELCOME_WORD}'}\n",
    f"{OWN}/kustomization.yaml": "resources: [greeting.yaml]\n",
    f"{OWN}/greeting.yaml": "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: greeting, namespace: default}\n"
    "data: {from: main}\n",
}
"""What a person adds to the project: a component, and things of the cluster's own."""
TOKEN = "glpat-Lp09oKi87uJy"
NAMESPACE = "flux-system"
PATIENCE = 180.0


class Cluster:
    """The cluster, as its administrator sees it, and the repository that it follows."""

    def __init__(self, site: Site) -> None:
        self.site = site
        # The project itself, as docs/gitops.md tells people to do it.
        self.repository = Repository(site, site.project, ("infrastructure", "clusters"))
        self._kubeconfig = site.folder / "kubeconfig"

    def kubectl(self, *words: str) -> str:
        if not self._kubeconfig.exists():
            write_text(self._kubeconfig, self.site.outputs(NAME).kubeconfig, mode=0o600)
        return self.site.run("kubectl", "--kubeconfig", str(self._kubeconfig), "--request-timeout=20s", *words).stdout

    def get(self, *words: str, namespace: str = NAMESPACE) -> Any:
        """The object; None without one."""
        found = self.kubectl(
            "get", "-n", namespace, *words, "--ignore-not-found", "--show-managed-fields", "-o", "json"
        )
        return json.loads(found) if found else None

    def ready(self, kind: str, name: str) -> tuple[str, str]:
        """The status and the message of the condition Ready, of what is declared now."""
        found = self.get(kind, name) or {}
        for one in found.get("status", {}).get("conditions", []):
            if one["type"] == "Ready" and one["observedGeneration"] == found["metadata"]["generation"]:
                return one["status"], one["message"]
        return "", ""

    def data(self, name: str) -> Any:
        """Of a ConfigMap that Flux applies; None without one."""
        found = self.get("configmap", name, namespace="default")
        return found and found["data"]

    def until(self, what: str, is_so: Callable[[], bool]) -> None:
        def ask() -> str:
            assert is_so(), what
            return what

        self.site.eventually(ask, PATIENCE)

    def edit(self, *edits: tuple[str, str]) -> None:
        self.site.edit(NAME, *edits)

    def up(self, **keywords: Any) -> dict[str, int]:
        changes = self.site.up(NAME, **keywords).changes
        return {name: count for name, count in vars(changes).items() if count and name != "unchanged"}

    def pulumi(self, *words: str) -> tuple[int, str]:
        done = self.site.run("pulumi", *words, "-s", NAME, check=False)
        return done.returncode, " ".join((done.stdout + done.stderr).split())


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    site = Site(kubernetes=True)
    try:
        site.start()
        site.add_cluster(NAME, CLUSTER)
        for name, text in FILES.items():
            write_text(site.project / name, text)
        made = Cluster(site)
        made.repository.push("clusters")
        yield made
    finally:
        site.remove()


def test_one_up_ends_with_flux_and_its_repository(cluster: Cluster) -> None:
    assert cluster.site.up(NAME).outputs.flux_version == "v2.9.5"
    for kind, name in (
        ("fluxinstance", "flux"),
        ("gitrepository", NAMESPACE),
        ("kustomization", NAMESPACE),  # the sources of charts
    ):
        assert cluster.ready(kind, name)[0] == "True", f"{kind} {name}"
    # Without another `up`, the components follow.
    cluster.until("the ResourceSet is ready", lambda: cluster.ready("resourceset", "infrastructure")[0] == "True")
    cluster.until("a component is ready", lambda: cluster.ready("kustomization", "welcome")[0] == "True")
    assert cluster.data("welcome") == {"cluster": NAME, "word": "hello"}
    cluster.until("a chart is asked for", lambda: cluster.get("helmrelease", "metrics-server", namespace="kube-system"))


def test_up_and_flux_do_not_fight(cluster: Cluster) -> None:
    assert cluster.up() == {}
    file = cluster.site.project / WELCOME / "welcome.yaml"
    file.write_text(file.read_text().replace("word:", "pushed: 'yes', word:"))
    cluster.repository.push("clusters")
    now = f"reconcile.fluxcd.io/requestedAt={time.time()}"
    kinds = ("fluxinstance/flux", "resourceset/infrastructure", f"gitrepository/{NAMESPACE}")
    cluster.kubectl("annotate", "-n", NAMESPACE, "--overwrite", *kinds, now)
    cluster.until("Flux has looked again", lambda: all(handled(cluster, kind) in now for kind in kinds))
    cluster.until("it has applied what was pushed", lambda: "pushed" in cluster.data("welcome"))
    assert cluster.up() == {}
    assert cluster.up(refresh=True) == {}
    code, said = cluster.pulumi("preview", "--refresh", "--diff", "--expect-no-changes")
    assert code == 0, said


def handled(cluster: Cluster, kind: str) -> str:
    """The request that its controller has dealt with."""
    return str(cluster.get(kind)["status"].get("lastHandledReconcileAt", "nothing yet"))


def test_no_field_has_two_owners(cluster: Cluster) -> None:
    kinds = "namespaces,configmaps,deployments,fluxinstances,resourcesets,gitrepositories,kustomizations,services"
    everything = cluster.get(f"{kinds},serviceaccounts,secrets")["items"] + cluster.get("crds,clusterroles")["items"]
    shared: list[tuple[str, str, str]] = []
    owners: set[str] = set()
    for found in everything:
        owned: dict[str, set[str]] = defaultdict(set)
        for entry in found["metadata"].get("managedFields", []):
            owned[entry["manager"]].update(leaves(entry["fieldsV1"]))
        ours = owned.pop("cluster-stack", set())
        owners |= owned.keys() if ours else set()
        shared += [(found["kind"], name, field) for name, others in owned.items() for field in others & ours]
    assert {"flux-operator", "kube-controller-manager"} <= owners, "they have fields of our objects"
    assert shared == []


def leaves(fields: dict[str, Any], path: str = "") -> Iterator[str]:
    """The paths of the fields that an entry of managedFields names."""
    for name, below in fields.items():
        if name == ".":
            continue
        yield from leaves(below, f"{path}/{name}") if below else [f"{path}/{name}"]


def test_a_component_that_waits_is_removed_at_once(cluster: Cluster) -> None:
    """The HelmRelease never becomes ready, and the Kustomization would wait for it for fifteen minutes."""
    assert "metrics-server" in cluster.ready("kustomization", "cluster")[1], "the cluster's own things wait for it"
    assert cluster.data("greeting") is None
    cluster.edit(("optional: [metrics-server, welcome]", "optional: [welcome]"))
    assert cluster.up() == {"updated": 1}
    cluster.until("it is gone", lambda: cluster.get("kustomization", "metrics-server") is None)
    assert cluster.get("helmrelease", "metrics-server", namespace="kube-system") is None
    cluster.until("what waited for it is there", lambda: cluster.data("greeting") == {"from": "main"})


def test_another_fact_reaches_the_component(cluster: Cluster) -> None:
    cluster.edit(("WELCOME_WORD: hello", "WELCOME_WORD: good evening"))
    assert cluster.up() == {"updated": 1}
    cluster.until("it is applied", lambda: cluster.data("welcome")["word"] == "good evening")


def test_another_branch_is_there_when_the_update_ends(cluster: Cluster) -> None:
    file = cluster.site.project / OWN / "greeting.yaml"
    file.write_text(file.read_text().replace("main", "next"))
    cluster.repository.push("clusters", "next")
    cluster.edit(("branch: main", "branch: next"))
    assert cluster.up() == {"updated": 1}
    assert cluster.get("gitrepository", NAMESPACE)["status"]["artifact"]["revision"].startswith("refs/heads/next@")
    cluster.until("its things are applied", lambda: cluster.data("greeting") == {"from": "next"})


def test_a_branch_that_is_not_there_is_told_in_the_words_of_flux(cluster: Cluster) -> None:
    cluster.edit(("branch: next", "branch: nowhere"), ("healthTimeout: 5m", "healthTimeout: 30s"))
    why = (
        "GitRepository flux-system/flux-system: GitOperationFailed (failed to checkout and determine revision: unable "
        "to resolve ref 'refs/heads/nowhere' to a specific commit)"
    )
    code, said = cluster.pulumi("up", "--yes", "--skip-preview")
    assert code != 0
    assert f"waiting for FluxInstance flux-system/flux: {why}" in said, "it is shown while one waits"
    assert (
        f"FluxInstance flux-system/flux is not ready after 30 s: {why}. Look at repository, branch and "
        "credentialsSecret of gitops.flux in cluster.yaml. `pulumi up` goes on with it." in said
    )
    assert "Traceback" not in said
    assert cluster.data("greeting") == {"from": "next"}, "what is there stays"


def test_a_private_repository_without_its_token_is_told_in_the_words_of_flux(cluster: Cluster) -> None:
    cluster.repository.push("private")
    write_text(cluster.repository.served("private") / TOKEN_FILE, TOKEN, mode=0o600)
    cluster.edit(("clusters.git", "private.git"), ("branch: nowhere", "branch: main"))
    with pytest.raises(ClusterError) as told:
        cluster.up()
    assert "FluxInstance flux-system/flux is not ready after 30 s: GitRepository flux-system/flux-system: " in str(
        told.value
    )
    assert "authentication required" in str(told.value)
    assert "credentialsSecret of gitops.flux in cluster.yaml" in str(told.value)


def test_with_its_token_it_is_followed(cluster: Cluster) -> None:
    cluster.site.run("pulumi", "config", "set", "--secret", "fluxToken", "-s", NAME, answer=TOKEN)
    cluster.edit(
        ("branch: main", "branch: main\n    credentialsSecret: fluxToken"), ("healthTimeout: 30s", "healthTimeout: 5m")
    )
    assert cluster.up() == {"created": 1, "updated": 1}
    assert cluster.ready("gitrepository", NAMESPACE)[0] == "True"
    assert cluster.get("gitrepository", NAMESPACE)["spec"]["url"] == "https://git.lan/private.git"
    assert cluster.up(refresh=True) == {}
    assert TOKEN not in "\n".join(cluster.site.printed)


def test_turned_off_all_of_flux_goes_and_what_it_had_applied_stays(cluster: Cluster) -> None:
    cluster.edit(("enabled: true", "enabled: false"))
    _, said = cluster.pulumi("preview")
    assert "gitops.enabled: Flux v2.9.5 is removed. What it had installed stays" in said
    cluster.up()
    assert cluster.get("namespace", NAMESPACE) is None
    assert "flux" not in cluster.kubectl("get", "crds,clusterroles,clusterrolebindings", "-o", "name")
    assert cluster.data("welcome")["word"] == "good evening"
    assert cluster.data("greeting") is not None
    assert cluster.up(refresh=True) == {}


def test_turned_on_again_it_takes_over_what_it_finds(cluster: Cluster) -> None:
    cluster.edit(("enabled: false", "enabled: true"), ("good evening", "good morning"))
    cluster.up()
    cluster.until("it is applied", lambda: cluster.data("welcome")["word"] == "good morning")
    assert cluster.up(refresh=True) == {}


def test_the_end_of_the_cluster_waits_for_no_finalizer(cluster: Cluster) -> None:
    state = json.loads(cluster.site.run("pulumi", "stack", "export", "-s", NAME).stdout)
    ours = [one for one in state["deployment"]["resources"] if one["type"] == "cluster-stack:kubernetes:Object"]
    assert ours
    _, said = cluster.pulumi("destroy", "--yes", "--skip-preview")
    assert "waiting for" not in said
    assert not {700, 710} & cluster.site.guests().keys()
