"""What is checked beside the components that a cluster has chosen, and what happens where nothing can be built."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from cluster_stack import project
from cluster_stack.cli import main
from cluster_stack.manifests.building import Builder, BuildError
from cluster_stack.plan.gitops.objects import SecretEntry
from cluster_stack.plan.gitops.plan import bootstrap
from cluster_stack.project import Project
from tests.manifests import ROOT, checked, copy, edit, said

pytestmark = pytest.mark.servers


def test_components_with_secrets_read_them_and_no_others_do(tmp_path: Path) -> None:
    planned = Project(copy(tmp_path)).plan("prod")
    assert planned.gitops is not None
    made = bootstrap(planned.file, planned.gitops)
    reading = {
        manifest["metadata"]["name"]
        for manifest in made.components["spec"]["resources"]
        if {"kind": "Secret", "name": "flux-runtime-secrets"} in manifest["spec"]["postBuild"]["substituteFrom"]
    }
    assert reading == {"kube-prometheus-stack", "external-dns", "proxmox-csi", "proxmox-ccm"}
    (secrets,) = made.secrets
    assert secrets.entries["GRAFANA_PASSWORD"] == SecretEntry("grafanaPassword")
    assert secrets.entries["GRAFANA_PASSWORD_BASE64"] == SecretEntry("grafanaPassword", "base64")
    assert len(secrets.entries) == 8


def without_flux(root: Path) -> Path:
    edit(copy(root) / "clusters/prod/cluster.yaml", "enabled: true", "enabled: false")
    return root


def test_a_cluster_without_flux_is_asked_for_all_components_only_on_demand(tmp_path: Path) -> None:
    root = without_flux(tmp_path)
    edit(root / "infrastructure/optional/base/metrics-server/helmrelease.yaml", "args:", "arks:")
    assert said(root) == []
    (problem,) = checked(root, infrastructure=True).problems
    assert str(problem).startswith(
        "infrastructure/optional/base/metrics-server/helmrelease.yaml:29: spec.values.arks: "
    )
    edit(root / "infrastructure/core/base/cert-manager/component.yaml", "title", "tilte")
    problems = checked(root, infrastructure=True).problems
    assert {problem.file for problem in problems} == {"infrastructure/core/base/cert-manager/component.yaml"}


def test_components_that_wait_for_each_other_are_told_of(tmp_path: Path) -> None:
    root = copy(tmp_path)
    edit(root / "infrastructure/core/base/cert-manager/component.yaml", "values:", "after: [envoy-gateway]\nvalues:")
    (problem,) = checked(root, infrastructure=True).problems
    assert "cert-manager waits for envoy-gateway waits for cert-manager" in problem.what


def test_an_overlay_of_a_component_that_is_not_there(tmp_path: Path) -> None:
    root = copy(tmp_path)
    shutil.copytree(
        root / "infrastructure/core/overlays/prod/cert-manager", root / "infrastructure/core/overlays/prod/cert-manger"
    )
    (problem,) = checked(root, infrastructure=True).problems
    assert str(problem) == (
        "infrastructure/core/overlays/prod/cert-manger: it is an overlay of a component that is not in "
        "infrastructure/core/base. Rename or remove it. Components: cert-manager, cilium, envoy-gateway, ingress-nginx."
    )


OWN = """\
apiVersion: source.toolkit.fluxcd.io/v1
kind: GitRepository
metadata: {name: apps, namespace: flux-system}
spec: {interval: 10m, url: "https://github.com/example/apps", ref: {branch: main}}
---
apiVersion: kustomize.toolkit.fluxcd.io/v1
kind: Kustomization
metadata: {name: apps, namespace: flux-system}
spec:
  interval: 1h
  prune: true
  path: ./apps
  sourceRef: {kind: GitRepository, name: apps}
  dependsOn: [{name: cert-manager}]
  postBuild: {substituteFrom: [{kind: ConfigMap, name: flux-runtime-info}]}
"""


def with_own(root: Path, text: str = OWN) -> Path:
    copy(root)
    edit(root / "clusters/prod/cluster.yaml", 'fleet"}', 'fleet", path: ./clusters/prod}')
    (root / "clusters/prod/kustomization.yaml").write_text("resources: [apps.yaml]\n")
    (root / "clusters/prod/apps.yaml").write_text(text)
    return root


def test_the_clusters_own_things_come_last_and_are_checked_too(tmp_path: Path) -> None:
    root = with_own(tmp_path)
    assert said(root) == []
    planned = Project(root).plan("prod")
    assert planned.gitops is not None
    last = bootstrap(planned.file, planned.gitops).components["spec"]["resources"][-1]
    assert (last["metadata"]["name"], last["spec"]["path"]) == ("cluster", "./clusters/prod")
    assert {"name": "envoy-gateway-config"} in last["spec"]["dependsOn"]


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        (
            "{name: cert-manager}",
            "{name: certs}",
            ":14: spec.dependsOn[0].name: for cluster prod, Kustomization flux-system/apps: there is no Kustomization "
            "flux-system/certs in this cluster.",
        ),
        (
            "GitRepository, name: apps",
            "GitRepository, name: app",
            ":13: spec.sourceRef.name: for cluster prod, Kustomization flux-system/apps: there is no GitRepository "
            "flux-system/app in this cluster. There are: flux-system/apps, flux-system/flux-system.",
        ),
        (
            "name: flux-runtime-info",
            "name: runtime-info",
            ":15: spec.postBuild.substituteFrom[0]: for cluster prod, Kustomization flux-system/apps: there is no "
            "ConfigMap runtime-info in flux-system. Add it, or write `optional: true`.",
        ),
    ],
    ids=["dependsOn", "source", "ConfigMap"],
)
def test_what_a_kustomization_of_ones_own_refers_to(tmp_path: Path, old: str, new: str, says: str) -> None:
    root = with_own(tmp_path)
    edit(root / "clusters/prod/apps.yaml", old, new)
    (problem,) = said(root)
    assert problem.startswith(f"clusters/prod/apps.yaml{says}")


def test_what_nobody_here_knows_is_said_to_be_unchecked(tmp_path: Path) -> None:
    thing = "apiVersion: example.org/v1\nkind: Thing\nmetadata: {name: mine}\n"
    found = checked(with_own(tmp_path, thing))
    assert found.problems == ()
    assert [str(warning) for warning in found.warnings if "not checked" in warning.what] == [
        "clusters/prod/apps.yaml:1: for cluster prod, Thing mine is not checked: there is no schema of example.org/v1 "
        "Thing here. Try it in a cluster."
    ]


def test_a_component_may_say_that_its_apis_cannot_be_checked(tmp_path: Path) -> None:
    root = copy(tmp_path)
    folder = root / "infrastructure/optional/base/sealed-secrets"
    edit(
        folder / "helmrelease.yaml",
        "apiVersion",
        "apiVersion: example.org/v1\nkind: Thing\nmetadata: {name: mine}\n---\napiVersion",
    )
    assert "no component brings the API example.org/v1 Thing." in said(root)[0]
    edit(folder / "component.yaml", "namespace:", "unchecked: [example.org]\nnamespace:")
    assert said(root) == []


def test_what_sops_has_encrypted_is_checked_as_what_it_will_be(tmp_path: Path) -> None:
    secret = (
        "apiVersion: v1\nkind: Secret\nmetadata: {name: mine, namespace: default}\n"
        "stringData: {password: 'ENC[AES256_GCM,data:x,type:str]'}\nsops: {version: 3.11.0}\n"
    )
    root = with_own(tmp_path, secret)
    edit(root / "clusters/prod/cluster.yaml", "path: ./clusters/prod", "path: ./clusters/prod, ageKeySecret: fluxAge")
    assert said(root) == []
    edit(root / "clusters/prod/apps.yaml", "stringData", "stringDate")
    (problem,) = said(root)
    assert (
        "clusters/prod/apps.yaml:4: stringDate: for cluster prod, Secret default/mine: there is no such key" in problem
    )


def test_without_kustomize_it_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = copy(tmp_path)
    (root / ".toolchain").unlink()
    monkeypatch.setenv("PATH", str(tmp_path))
    assert said(root) == [
        "clusters/prod/cluster.yaml:12: gitops.enabled: its components cannot be checked: neither kustomize nor "
        "kubectl is on PATH, so infrastructure/ cannot be built. Install one of them, or run `python -m toolchain "
        "ensure kustomize`."
    ]


def test_the_kustomize_in_kubectl_will_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = copy(tmp_path / "project")
    kustomize = shutil.which("kustomize") or str(ROOT / ".toolchain/bin/kustomize")
    programs = tmp_path / "bin"
    programs.mkdir()
    (programs / "kubectl").write_text(f'#!/bin/sh\ntest "$1" = kustomize && shift && exec {kustomize} build "$@"\n')
    (programs / "kubectl").chmod(0o755)
    (root / ".toolchain").unlink()
    monkeypatch.setenv("PATH", f"{programs}:/bin:/usr/bin")
    assert said(root) == []


UNKNOWN_FIELD = 'invalid Kustomization: json: unknown field "resource"'


@pytest.mark.parametrize(
    "message",
    [
        f"Error: {UNKNOWN_FIELD}",
        f"error: {UNKNOWN_FIELD}",
        'E1124 19:14:33.3 28 run.go:72] "command failed" err="{}"'.format(UNKNOWN_FIELD.replace('"', '\\"')),
        'E1124 19:14:33.3 28 run.go:72] "command failed" err=<\n\t{}\n >'.format(UNKNOWN_FIELD.replace(": ", ":\n\t")),
    ],
    ids=["kustomize", "kubectl", "kubectl that logs", "kubectl that logs lines"],
)
def test_whoever_runs_kustomize_the_sentence_is_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, message: str
) -> None:
    program = tmp_path / "bin/kustomize"
    program.parent.mkdir()
    program.write_text(f"#!/bin/sh\ncat >&2 <<'END'\n{message}\nEND\nexit 1\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:/bin:/usr/bin")
    (tmp_path / "infrastructure").mkdir()
    with pytest.raises(BuildError) as told:
        Builder(tmp_path).build("infrastructure")
    assert str(told.value) == UNKNOWN_FIELD


def test_the_command_line_asks_for_all_components(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    root = without_flux(tmp_path)
    (root / "infrastructure/optional/base/metrics-server/helmrelease.yaml").unlink()
    monkeypatch.setattr(project, "ROOT", root)
    assert main(["check"]) == 0
    capsys.readouterr()
    assert main(["check", "--infrastructure"]) == 1
    assert "there is no helmrelease.yaml in infrastructure/optional/base/metrics-server" in capsys.readouterr().err


def test_a_project_without_components_has_none_to_check(tmp_path: Path) -> None:
    root = without_flux(tmp_path)
    shutil.rmtree(root / "infrastructure")
    assert checked(root, infrastructure=True).problems == ()


def test_a_project_without_sources_of_charts(tmp_path: Path) -> None:
    root = copy(tmp_path)
    shutil.rmtree(root / "infrastructure/sources")
    assert said(root) == [
        "infrastructure/sources: for cluster prod, kustomize cannot build infrastructure/sources: there is no such "
        "folder. Mend it until `kustomize build infrastructure/sources` works."
    ]


def test_who_has_no_flux_waits_for_none_of_it(tmp_path: Path) -> None:
    root = without_flux(tmp_path)
    program = (
        "import sys; from pathlib import Path; from cluster_stack.report.check import check; "
        "check(Path(sys.argv[1]), []); print('jsonschema' in sys.modules, 'cluster_stack.manifests' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(root)], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == ["False", "False"]


def test_the_values_that_a_config_map_holds_are_checked_too(tmp_path: Path) -> None:
    root = without_flux(tmp_path)
    edit(root / "infrastructure/core/base/cilium/values.yaml", "k8sServicePort: 7445", "k8sServicePort: [7445]")
    (problem,) = checked(root, infrastructure=True).problems
    assert str(problem).startswith(
        "infrastructure/core/base/cilium/helmrelease.yaml:35: spec.valuesFrom[0]: for cluster prod, "
        "HelmRelease kube-system/cilium: k8sServicePort: "
    )
