"""The real ``infrastructure/``: it builds and is right for every cluster, and the overlays differ as documented."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from cluster_stack.config import load
from cluster_stack.manifests.building import Builder, Loader
from cluster_stack.manifests.check import Checker
from cluster_stack.plan.gitops.components import Catalogue
from cluster_stack.plan.gitops.flux_versions import FLUX
from cluster_stack.plan.gitops.selection import steps
from cluster_stack.project import Project
from cluster_stack.report.check import check
from tests.manifests import ROOT, checked, copy, edit, said

pytestmark = pytest.mark.servers

CATALOGUE = Catalogue(ROOT)
KUBERNETES = sorted({number for flux in FLUX.values() for number in flux.kubernetes})


def built(overlay: str, component: str) -> dict[str, Mapping[str, Any]]:
    """The objects of a component for a cluster, by kind and name."""
    found = {}
    for step in steps([CATALOGUE.components[component]], overlay):
        for source in Builder(ROOT).build(step.path):
            manifest = yaml.load(source.text, Loader=Loader)
            found[f"{manifest['kind']} {manifest['metadata']['name']}"] = manifest
    return found


def test_every_component_is_right_for_every_cluster() -> None:
    found = check(ROOT, [], infrastructure=True)
    assert [str(problem) for cluster in found for problem in cluster.problems] == []
    assert {cluster.name for cluster in found} >= {"homelab", "dev", "prod"}


def test_a_cluster_with_every_component(tmp_path: Path) -> None:
    assert said(copy(tmp_path)) == []


@pytest.mark.parametrize("kubernetes", KUBERNETES)
def test_every_component_is_right_on_every_kubernetes_that_flux_runs_on(kubernetes: int) -> None:
    assert Checker(CATALOGUE).check_all(load(ROOT, "prod"), kubernetes).problems == ()


def test_homelab_is_minimal_and_prod_has_three_of_each() -> None:
    def values(overlay: str, name: str) -> Mapping[str, Any]:
        found: Mapping[str, Any] = built(overlay, name)[f"HelmRelease {name}"]["spec"]["values"]
        return found

    certificates = {overlay: values(overlay, "cert-manager") for overlay in ("homelab", "dev", "prod")}
    ingress = {
        overlay: values(overlay, "ingress-nginx")["controller"] for overlay in ("homelab", "dev", "prod", "none")
    }
    proxies = {
        overlay: built(overlay, "envoy-gateway")["EnvoyProxy default"]["spec"]["provider"]["kubernetes"]
        for overlay in ("homelab", "dev", "prod")
    }
    assert {name: found["webhook"]["replicaCount"] for name, found in certificates.items()} == {
        "homelab": 1,
        "dev": 2,
        "prod": 3,
    }
    assert [certificates["prod"][part]["replicaCount"] for part in ("webhook", "cainjector")] == [3, 3]
    assert certificates["prod"]["replicaCount"] == 3
    assert {name: (found["kind"], found.get("replicaCount")) for name, found in ingress.items()} == {
        "homelab": ("Deployment", 1),
        "dev": ("Deployment", 2),
        "prod": ("Deployment", 3),
        "none": ("DaemonSet", None),
    }
    assert {name: found["envoyDeployment"]["replicas"] for name, found in proxies.items()} == {
        "homelab": 1,
        "dev": 2,
        "prod": 3,
    }
    assert values("prod", "envoy-gateway")["deployment"]["replicas"] == 3

    def memory(found: Mapping[str, Any]) -> int:
        return int(found["resources"]["requests"]["memory"].removesuffix("Mi"))

    assert memory(ingress["homelab"]) < memory(ingress["dev"]) < memory(ingress["prod"])


@pytest.mark.parametrize("name", CATALOGUE.components)
def test_every_pin_has_its_source_beside_it(name: str) -> None:
    component = CATALOGUE.components[name]
    files = [ROOT / component.base / file for file in ("chart.yaml", "helmrelease.yaml")]
    text = "\n".join(file.read_text() for file in files if file.is_file())
    pins = re.findall(r"((?:^ *#.*\n)*)^ *(?:tag|version): (\S+)$", text, re.MULTILINE)
    assert pins, "the component pins no chart"
    for comment, version in pins:
        assert re.search(r"https://|Go module", comment), f"{name}: where does {version} come from?"


def test_components_that_listen_on_the_host_are_in_privileged_namespaces() -> None:
    """Talos refuses pods with ports, paths or namespaces of the host in any other."""
    for name, namespace in (
        ("ingress-nginx",) * 2,
        ("kube-prometheus-stack", "monitoring"),
        ("proxmox-csi", "csi-proxmox"),
    ):
        labels = built("prod", name)[f"Namespace {namespace}"]["metadata"]["labels"]
        assert labels["pod-security.kubernetes.io/enforce"] == "privileged"


def test_every_component_is_on_the_page_of_components() -> None:
    page = (ROOT / "docs/components.md").read_text(encoding="utf-8")
    for name, component in CATALOGUE.components.items():
        assert f"| `{name}` |" in page
        for secret in component.declaration.secrets.values():
            assert secret.setting in page


COMPONENT = {
    "component.yaml": """\
title: Headlamp
about: A web page of the cluster.
namespace: headlamp
needs: [envoy-gateway]
crds: [gateway.networking.k8s.io]
values: [CLUSTER_NAME]
settings:
  HEADLAMP_HOST: {about: The name that it is reached by., default: headlamp.home.arpa}
""",
    "kustomization.yaml": """\
apiVersion: kustomize.config.k8s.io/v1beta1
kind: Kustomization
resources: [headlamp.yaml]
""",
    "headlamp.yaml": """\
apiVersion: v1
kind: Namespace
metadata: {name: headlamp}
---
apiVersion: source.toolkit.fluxcd.io/v1
kind: HelmRepository
metadata: {name: headlamp, namespace: headlamp}
spec: {interval: 12h, url: "https://kubernetes-sigs.github.io/headlamp/"}
---
apiVersion: helm.toolkit.fluxcd.io/v2
kind: HelmRelease
metadata: {name: headlamp, namespace: headlamp}
spec:
  interval: 1h
  chart:
    spec: {chart: headlamp, version: 0.40.0, sourceRef: {kind: HelmRepository, name: headlamp}}
  values: {config: {clusterName: "${CLUSTER_NAME}"}}
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: headlamp, namespace: headlamp}
spec:
  parentRefs: [{name: default, namespace: envoy-gateway-system}]
  hostnames: ["${HEADLAMP_HOST}"]
  rules: [{backendRefs: [{name: headlamp, port: 80}]}]
""",
}


def test_adding_a_component_is_one_folder_and_one_line(tmp_path: Path) -> None:
    root = copy(tmp_path)
    folder = root / "infrastructure/optional/base/headlamp"
    folder.mkdir()
    for name, text in COMPONENT.items():
        (folder / name).write_text(text)
    before = set(_kustomizations(root))
    edit(root / "clusters/prod/cluster.yaml", "optional: [", "optional: [headlamp, ")
    assert said(root) == []
    after = _kustomizations(root)
    assert set(after) - before == {"headlamp"}
    assert after["headlamp"] == ("infrastructure/optional/base/headlamp", ("envoy-gateway-config",))
    assert "HEADLAMP_HOST" in _plan(root).facts
    # And it is really looked at.
    edit(folder / "headlamp.yaml", "parentRefs", "parentRef")
    (problem,) = said(root)
    assert "optional/base/headlamp/headlamp.yaml:23: spec.parentRef: for cluster prod, HTTPRoute" in problem


def _plan(root: Path) -> Any:
    return Project(root).plan("prod").gitops


def _kustomizations(root: Path) -> dict[str, tuple[str, tuple[str, ...]]]:
    return {step.name: (step.path, step.depends_on) for step in _plan(root).steps}


def test_an_overlay_that_is_broken_fails_with_the_names_of_cluster_and_file(tmp_path: Path) -> None:
    root = copy(tmp_path)
    file = "infrastructure/core/overlays/prod/ingress-nginx/kustomization.yaml"
    edit(root / file, "controller/replicaCount", "controler/replicaCount")
    found = checked(root, infrastructure=True)
    assert [str(problem) for problem in found.problems] == [
        f"{file}: for cluster prod, kustomize cannot build {Path(file).parent}: add operation does not apply: doc is "
        'missing path: "/spec/values/controler/replicaCount": missing value. Mend it until '
        f"`kustomize build {Path(file).parent}` works."
    ]
