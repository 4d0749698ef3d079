"""Flux' manifests, built and checked: the real ``infrastructure/``, and copies of it with one mistake each."""

from __future__ import annotations

import shutil
from pathlib import Path

from cluster_stack.report.check import CheckedCluster, check

ROOT = Path(__file__).parents[2]

CLUSTER = """\
metadata: {name: prod}
cluster:
  talos: {version: v1.13.0}
  topology: {controlPlane: {count: 3}, workers: {count: 2}}
proxmox:
  endpoint: https://pve.example:8006/
  nodes: [{name: pve1}, {name: pve2}]
  clusterName: lan
  storage: {datastore: local-lvm, imageDatastore: local}
  vm: {idBase: 700}
gitops:
  enabled: true
  flux: {repository: "https://github.com/example/fleet"}
  infrastructure:
    core: [cert-manager, envoy-gateway, ingress-nginx]
    optional: [kube-prometheus-stack, external-dns, sealed-secrets, metrics-server, proxmox-csi, proxmox-ccm]
    settings: {EXTERNAL_DNS_ZONE: example.org}
"""
"""A cluster.yaml with every component."""


def copy(root: Path) -> Path:
    """A project with the real components, and one cluster that has chosen all of them."""
    shutil.copytree(ROOT / "infrastructure", root / "infrastructure")
    (root / ".toolchain").symlink_to(ROOT / ".toolchain")  # where kustomize may be
    (root / "clusters/prod").mkdir(parents=True)
    (root / "clusters/prod/cluster.yaml").write_text(CLUSTER)
    return root


def edit(file: Path, old: str, new: str) -> None:
    """Replace the first occurrence of a text that must be there."""
    text = file.read_text(encoding="utf-8")
    assert old in text, f"{old!r} is not in {file}"
    file.write_text(text.replace(old, new, 1), encoding="utf-8")


def checked(root: Path, *, infrastructure: bool = False) -> CheckedCluster:
    (found,) = check(root, ["prod"], infrastructure=infrastructure)
    return found


def said(root: Path) -> list[str]:
    return [str(problem) for problem in checked(root).problems]
