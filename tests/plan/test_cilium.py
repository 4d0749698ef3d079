"""A cluster that begins with Cilium: what Talos is given to install it, and that Flux goes on with the same."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml

from cluster_stack.config import ConfigError
from cluster_stack.plan.cilium import FOLDER, merged
from cluster_stack.plan.gitops.plan import bootstrap
from cluster_stack.project import PlannedCluster, Project
from tests.sites import INFRASTRUCTURE, project, text_of

ONE_MACHINE = ("controlPlane: {count: 3}, workers: {count: 3}", "controlPlane: {count: 1}, workers: {count: 0}")
WITH_FLUX = "gitops: {enabled: true, flux: {repository: 'https://example.org/clusters'}}\n"


def site(root: Path, *edits: tuple[str, str], added: str = "", values: str | None = None) -> Project:
    text = text_of("cilium") + added
    for old, new in edits:
        assert text.count(old) == 1
        text = text.replace(old, new)
    found = project(root, "cilium", cilium=text)
    if values is not None:
        (root / "clusters/cilium/cilium-values.yaml").write_text(values, encoding="utf-8")
    return found


def manifests(planned: PlannedCluster, node: str = "cilium-cp1") -> list[Any]:
    """The inline manifests of a node's machine configuration."""
    found = []
    for text in planned.patches[node]:
        for manifest in json.loads(text)["cluster"]["inlineManifests"]:
            found += list(yaml.load_all(manifest["contents"], Loader=yaml.CSafeLoader))
    return found


def values(planned: PlannedCluster) -> Any:
    _, _, config_map, _ = manifests(planned)
    return yaml.load(config_map["data"]["values.yaml"], Loader=yaml.CSafeLoader)


def test_the_control_planes_bring_it_and_the_workers_do_not(tmp_path: Path) -> None:
    planned = site(tmp_path).plan("cilium")
    kinds = ["ServiceAccount", "ClusterRoleBinding", "ConfigMap", "Job"]
    assert [manifest["kind"] for manifest in manifests(planned)] == kinds
    assert manifests(planned, "cilium-cp3") == manifests(planned)
    assert planned.patches["cilium-worker1"] == ()


def test_it_needs_neither_a_pod_network_nor_kube_proxy_nor_a_ready_node(tmp_path: Path) -> None:
    *_, job = manifests(site(tmp_path).plan("cilium"))
    pod = job["spec"]["template"]["spec"]
    assert pod["hostNetwork"] is True
    assert pod["tolerations"] == [{"operator": "Exists"}]
    (helm,) = pod["containers"]
    assert {entry["name"]: entry["value"] for entry in helm["env"]} == {
        "KUBERNETES_SERVICE_HOST": "localhost",
        "KUBERNETES_SERVICE_PORT": "7445",
    }


def test_chart_and_version_are_those_that_flux_goes_on_with(tmp_path: Path) -> None:
    *_, job = manifests(site(tmp_path).plan("cilium"))
    arguments = job["spec"]["template"]["spec"]["containers"][0]["args"]
    source = yaml.safe_load((INFRASTRUCTURE / "core/base/cilium/chart.yaml").read_text())["spec"]
    release = yaml.safe_load((INFRASTRUCTURE / "core/base/cilium/helmrelease.yaml").read_text())
    chart = release["spec"]["chart"]["spec"]
    assert arguments[2:6] == ["cilium", f"{source['url']}/{chart['chart']}", "--version", chart["version"]]
    assert arguments[2] == release["spec"]["releaseName"]
    assert arguments[6:8] == ["--namespace", release["metadata"]["namespace"]]


def test_flux_reads_the_very_values_of_the_installation(tmp_path: Path) -> None:
    planned = site(tmp_path, added=WITH_FLUX, values="hubble: {enabled: false}\n").plan("cilium")
    assert planned.gitops is not None
    assert [step.name for step in planned.gitops.steps] == ["cilium"]
    config_map = bootstrap(planned.file, planned.gitops).components["spec"]["resources"][0]
    _, _, first, _ = manifests(planned)
    assert config_map["data"] == first["data"]
    release = yaml.safe_load((INFRASTRUCTURE / "core/base/cilium/helmrelease.yaml").read_text())
    named = {"kind": config_map["kind"], "name": config_map["metadata"]["name"]}
    assert release["spec"]["valuesFrom"] == [named]
    assert config_map["metadata"]["namespace"] == release["metadata"]["namespace"]


def test_other_values_are_another_job_and_the_same_are_the_same(tmp_path: Path) -> None:
    names = []
    for number, text in enumerate(["a: 1\n", "a: 1\n", "a: 2\n"]):
        (root := tmp_path / str(number)).mkdir()
        _, _, config_map, job = manifests(site(root, values=text).plan("cilium"))
        assert config_map["metadata"] == job["metadata"]
        names.append(job["metadata"]["name"])
    assert names[0] == names[1] != names[2]


def test_what_the_user_writes_wins(tmp_path: Path) -> None:
    found = values(site(tmp_path, values="ipam: {mode: cluster-pool}\n").plan("cilium"))
    assert found["ipam"] == {"mode": "cluster-pool"}
    assert found["k8sServicePort"] == 7445


@pytest.mark.parametrize(("kube_proxy", "replaced"), [("true", False), ("false", True)])
def test_cilium_replaces_the_kube_proxy_that_is_not_there(kube_proxy: str, replaced: bool, tmp_path: Path) -> None:
    edit = ("kubeProxy: false", f"kubeProxy: {kube_proxy}")
    assert values(site(tmp_path, edit, values="a: 1\n").plan("cilium"))["kubeProxyReplacement"] is replaced


def test_one_machine_has_one_operator(tmp_path: Path) -> None:
    assert values(site(tmp_path, ONE_MACHINE).plan("cilium"))["operator"] == {"replicas": 1}


@pytest.mark.parametrize(
    ("cni", "text", "said"),
    [
        (
            "kubeProxy: true",
            "a: 1\nkubeProxyReplacement: true\n",
            "clusters/cilium/cilium-values.yaml:2: kubeProxyReplacement: cluster.yaml has kube-proxy run, and Cilium "
            "would replace it. Remove it: it follows from cluster.cni.kubeProxy, and is false.",
        ),
        (
            "kubeProxy: false",
            'kubeProxyReplacement: "false"\n',
            "clusters/cilium/cilium-values.yaml:1: kubeProxyReplacement: cluster.yaml has no kube-proxy, and nobody "
            "would serve the cluster's services. Remove it: it follows from cluster.cni.kubeProxy, and is true.",
        ),
        (
            "kubeProxy: false",
            "- a\n",
            "clusters/cilium/cilium-values.yaml:1: the file is not a mapping of keys. Write Helm values: "
            "`hubble: {enabled: true}`.",
        ),
    ],
    ids=["both", "neither", "a list"],
)
def test_values_that_cannot_be(cni: str, text: str, said: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as error:
        site(tmp_path, ("kubeProxy: false", cni), values=text).plan("cilium")
    assert str(error.value) == said


def test_a_project_without_the_component_is_told_so(tmp_path: Path) -> None:
    (tmp_path / "bare").mkdir()
    bare = site(tmp_path / "bare", added=WITH_FLUX)
    (tmp_path / "bare/infrastructure").unlink()
    shutil.copytree(INFRASTRUCTURE, tmp_path / "bare/infrastructure", ignore=shutil.ignore_patterns("cilium"))
    with pytest.raises(ConfigError) as error:
        bare.plan("cilium")
    (problem,) = error.value.problems
    assert str(problem).startswith(f"clusters/cilium/cluster.yaml:5: cluster.cni.name: the project has no {FOLDER}, ")


@pytest.mark.parametrize(
    ("file", "old", "new", "said"),
    [
        ("helmrelease.yaml", "      version:", "      versions:", ":15: spec.chart.spec.version: the key is missing"),
        ("helmrelease.yaml", "      chart: cilium", "      name: cilium", "chart.spec.chart: the key is missing"),
        ("chart.yaml", "url: oci:", "url: https:", ":12: spec.url: https://quay.io/cilium/charts is not an `oci://`"),
        ("chart.yaml", "  url:", "  address:", "spec.url: the key is missing"),
    ],
)
def test_a_chart_that_cannot_be_fetched_is_told_of(tmp_path: Path, file: str, old: str, new: str, said: str) -> None:
    found = site(tmp_path)
    (tmp_path / "infrastructure").unlink()
    shutil.copytree(INFRASTRUCTURE, tmp_path / "infrastructure")
    edited = tmp_path / FOLDER / file
    assert edited.read_text().count(old) == 1
    edited.write_text(edited.read_text().replace(old, new), encoding="utf-8")
    with pytest.raises(ConfigError) as error:
        found.plan("cilium")
    assert str(error.value).startswith(f"{FOLDER}/{file}:")
    assert said in str(error.value)


def test_values_are_merged_as_helm_does() -> None:
    first = {"a": {"b": 1, "c": 2}, "list": [1, 2], "gone": 1}
    assert merged(first, {"a": {"c": 3}, "list": [3], "gone": None}) == {
        "a": {"b": 1, "c": 3},
        "list": [3],
        "gone": None,
    }
