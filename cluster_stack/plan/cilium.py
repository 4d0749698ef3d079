"""How a cluster with ``cluster.cni.name: cilium`` begins with Cilium, before there is anything that could install it.

A Job among the manifests that Talos applies by itself runs Helm on the network of its node. Chart, version and values
are those of the component ``infrastructure/core/base/cilium``; Flux takes the release over, with the same values, and
so finds nothing to change. docs/components.md says why it is so.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path as FilePath
from typing import Any

import yaml

from cluster_stack.config import ClusterConfig, ClusterFile, ConfigError, Problem
from cluster_stack.config.document import Document, Path, parse
from cluster_stack.plan.nodes import NodePlan

NAME = "cilium"
"""Of the component, the Helm release, and the value of ``cluster.cni.name``."""
NAMESPACE = "kube-system"
VALUES = "cilium-values"
"""The ConfigMap that Flux reads the values from."""
VALUES_KEY = "values.yaml"
"""The key that a HelmRelease reads where it names none."""
FOLDER = f"infrastructure/core/base/{NAME}"
_INSTALLER = "cilium-install"
HELM_IMAGE = "docker.io/alpine/helm:4.3.0"
"""Helm's makers publish no image. This one holds their binary, and is built for each of their releases."""
_API = ("localhost", 7445)
"""KubePrism (Talos 1.6 and later): the API servers, on each machine's own loopback device."""

Manifest = dict[str, Any]


@dataclass(frozen=True)
class Cilium:
    chart: str
    """``oci://`` address."""
    version: str
    values: str
    """Helm values, a YAML text."""


@dataclass(frozen=True)
class Found:
    cilium: Cilium | None
    """None where the cluster has another pod network, or there are problems."""
    problems: tuple[Problem, ...] = ()


def read(file: ClusterFile, root: FilePath, folder: FilePath) -> Found:
    """What a cluster begins with.

    ``root``: the project's folder, for the component. ``folder``: that of cluster.yaml, for ``cluster.cni.valuesFile``;
    a file that is not there is none (``plan.checks`` tells of it).
    """
    if file.config.cluster.cni.name != NAME:
        return Found(None)
    if not (root / FOLDER).is_dir():
        what = f"the project has no {FOLDER}, which says which Cilium is installed, and how."
        fix = "Take it from the repository of this project, or write `name: none` and install Cilium by hand."
        return Found(None, (file.problem("cluster.cni.name", what, fix),))
    return if_chosen(file, root, folder)


def if_chosen(file: ClusterFile, root: FilePath, folder: FilePath) -> Found:
    """The same for any cluster: what it would begin with if it said ``cluster.cni.name: cilium``."""
    cni = file.config.cluster.cni
    try:
        chart, version = _chart(root)
        values = merged(_parse(root, f"{FOLDER}/values.yaml").data, _computed(file.config))
        own = folder / cni.values_file if cni.values_file else None
        if own is not None and own.is_file():
            shown_as = f"clusters/{file.config.metadata.name}/{cni.values_file}"
            document = parse(own.read_bytes(), shown_as, beginning="Write Helm values: `hubble: {enabled: true}`.")
            _refuse_contradiction(document, kube_proxy=cni.kube_proxy)
            values = merged(values, document.data)
    except ConfigError as error:
        return Found(None, tuple(error.problems))
    return Found(Cilium(chart, version, yaml.safe_dump(values, sort_keys=True, width=110)))


def merged(first: Any, second: Any) -> Any:
    """Helm values, of which the second win, as Helm does it: mappings key by key, everything else as a whole."""
    if isinstance(first, dict) and isinstance(second, dict):
        return first | {key: merged(first.get(key), value) for key, value in second.items()}
    return second


def add_to(
    patches: Mapping[str, tuple[str, ...]], nodes: Sequence[NodePlan], cilium: Cilium | None
) -> dict[str, tuple[str, ...]]:
    """The patches of each node's machine configuration, by its name, with the installation among them."""
    if cilium is None:
        return dict(patches)
    text = json.dumps({"cluster": {"inlineManifests": [{"name": NAME, "contents": _text(installer(cilium))}]}})
    # The control planes are who brings manifests to the API. The user's own patches come last.
    roles = {node.name: node.role for node in nodes}
    return {name: ((text, *own) if roles[name] == "controlplane" else own) for name, own in patches.items()}


def values_for_flux(cilium: Cilium) -> Manifest:
    """The ConfigMap that the component's HelmRelease reads. The label has Flux act on a change at once."""
    metadata = {"name": VALUES, "namespace": NAMESPACE, "labels": {"reconcile.fluxcd.io/watch": "Enabled"}}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": {VALUES_KEY: cilium.values}}


def installer(cilium: Cilium) -> list[Manifest]:
    """The objects that install it, in the order in which they must come.

    Talos never changes an object that exists. So the Job and its values carry a name that follows from what they say:
    another version, or other values, are another Job, and Helm upgrades.
    """
    content = json.dumps([cilium.chart, cilium.version, cilium.values, HELM_IMAGE])
    name = f"{_INSTALLER}-{hashlib.sha256(content.encode()).hexdigest()[:8]}"
    account = {"kind": "ServiceAccount", "name": _INSTALLER, "namespace": NAMESPACE}
    return [
        {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": _INSTALLER, "namespace": NAMESPACE}},
        {
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": "ClusterRoleBinding",
            "metadata": {"name": _INSTALLER},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "cluster-admin"},
            "subjects": [account],
        },
        {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {"name": name, "namespace": NAMESPACE},
            "data": {VALUES_KEY: cilium.values},
        },
        {
            "apiVersion": "batch/v1",
            "kind": "Job",
            "metadata": {"name": name, "namespace": NAMESPACE},
            # A site whose internet comes up late has an hour and more: Kubernetes doubles the pauses, to six minutes.
            "spec": {"backoffLimit": 20, "template": {"spec": _pod(cilium, name)}},
        },
    ]


def _text(objects: Sequence[Manifest]) -> str:
    return yaml.safe_dump_all(objects, sort_keys=False, width=110)


def _pod(cilium: Cilium, values: str) -> Manifest:
    host, port = _API
    return {
        "restartPolicy": "OnFailure",
        "serviceAccountName": _INSTALLER,
        # There is no pod network yet, no kube-proxy and no cluster DNS, and no node is ready.
        "hostNetwork": True,
        "tolerations": [{"operator": "Exists"}],
        "nodeSelector": {"node-role.kubernetes.io/control-plane": ""},
        "priorityClassName": "system-cluster-critical",
        "containers": [
            {
                "name": "helm",
                "image": HELM_IMAGE,
                "args": [
                    "upgrade",
                    "--install",
                    NAME,
                    cilium.chart,
                    "--version",
                    cilium.version,
                    "--namespace",
                    NAMESPACE,
                    "--values",
                    f"/values/{VALUES_KEY}",
                    # Server-side apply would leave the fields to a manager whom Flux' Helm would have to fight.
                    "--server-side=false",
                ],
                "env": [
                    {"name": "KUBERNETES_SERVICE_HOST", "value": host},
                    {"name": "KUBERNETES_SERVICE_PORT", "value": str(port)},
                ],
                "securityContext": {
                    "allowPrivilegeEscalation": False,
                    "capabilities": {"drop": ["ALL"]},
                    "seccompProfile": {"type": "RuntimeDefault"},
                },
                "volumeMounts": [{"name": "values", "mountPath": "/values", "readOnly": True}],
            }
        ],
        "volumes": [{"name": "values", "configMap": {"name": values}}],
    }


def _chart(root: FilePath) -> tuple[str, str]:
    """Address and version, of the component's HelmRepository and HelmRelease."""
    source, release = (_parse(root, f"{FOLDER}/{name}") for name in ("chart.yaml", "helmrelease.yaml"))
    url = _text_at(source, ("spec", "url"), "Write the `oci://` address of a HelmRepository.")
    if not url.startswith("oci://"):
        what = f"{url} is not an `oci://` address, and the first installation fetches the chart from one."
        raise ConfigError([source.problem(("spec", "url"), what, "Write `type: oci` and an `oci://` address.")])
    path: Path = ("spec", "chart", "spec")
    name = _text_at(release, (*path, "chart"), "Write the name of the chart.")
    return f"{url.rstrip('/')}/{name}", _text_at(release, (*path, "version"), "Write one version, `1.2.3`.")


def _text_at(document: Document, path: Path, fix: str) -> str:
    value: object = document.data
    for key in path:
        value = value.get(key) if isinstance(value, dict) else None
    if not isinstance(value, str):
        what = "the key is missing: the first installation takes the chart from there too."
        raise ConfigError([document.problem(path, what, fix)])
    return value


def _parse(root: FilePath, name: str) -> Document:
    try:
        return parse((root / name).read_bytes(), name)
    except FileNotFoundError:
        fix = "Take it from the repository of this project."
        raise ConfigError([Problem(name, 0, "", "the file is missing.", fix)]) from None


def _computed(config: ClusterConfig) -> Manifest:
    """What follows from cluster.yaml."""
    values: Manifest = {"kubeProxyReplacement": not config.cluster.cni.kube_proxy}
    if sum(pool.count for pool in config.cluster.topology.pools) == 1:
        # The chart has two, on different nodes.
        values["operator"] = {"replicas": 1}
    return values


def _refuse_contradiction(document: Document, *, kube_proxy: bool) -> None:
    key = "kubeProxyReplacement"
    said = document.data.get(key)
    if said is None or str(said).lower() == str(not kube_proxy).lower():
        return
    path: Path = (key,)
    what = (
        "cluster.yaml has kube-proxy run, and Cilium would replace it."
        if kube_proxy
        else "cluster.yaml has no kube-proxy, and nobody would serve the cluster's services."
    )
    fix = f"Remove it: it follows from cluster.cni.kubeProxy, and is {str(not kube_proxy).lower()}."
    raise ConfigError([document.problem(path, what, fix)])
