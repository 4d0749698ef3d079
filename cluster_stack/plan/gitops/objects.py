"""The objects that bring Flux into a cluster, as plain data: what an update applies, and Flux then goes on with.

One ResourceSet holds the Flux Kustomizations of all components. The program owns its list; the flux-operator owns the
Kustomizations, puts back what somebody changed, and removes those that are not in the list any more, whereupon Flux
removes what they had brought. docs/components.md says why it is so.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from cluster_stack.config import ClusterConfig
from cluster_stack.plan.gitops import operator
from cluster_stack.plan.gitops.components import SOURCES, Component
from cluster_stack.plan.gitops.selection import Step

Manifest = dict[str, Any]

NAMESPACE = "flux-system"
SOURCE = "flux-system"
"""The GitRepository, and the Flux Kustomization of the chart sources: flux-operator calls both as their namespace."""
RUNTIME_INFO = "flux-runtime-info"
RUNTIME_SECRETS = "flux-runtime-secrets"
AGE_KEY = "sops-age"
CREDENTIALS = "flux-git-credentials"
OWN = "cluster"
"""The Flux Kustomization of the folder of the cluster's own things."""
WATCHED = {"reconcile.fluxcd.io/watch": "Enabled"}
"""A label with which Flux follows a change at once, not when the next hour is over."""

_CANCEL_HEALTH_CHECKS: Manifest = {
    "target": {"kind": "Deployment", "name": "kustomize-controller"},
    "patch": json.dumps(
        [
            {
                "op": "add",
                "path": "/spec/template/spec/containers/0/args/-",
                "value": "--feature-gates=CancelHealthCheckOnNewRevision=true",
            }
        ]
    ),
}
"""Without it a component that does not become ready is neither mended by a push nor removed before its timeout is over.
Flux has it since 2.7."""


@dataclass(frozen=True)
class SecretEntry:
    setting: str
    """The stack setting that holds the value."""
    form: Literal["text", "base64"] = "text"


@dataclass(frozen=True)
class SecretReference:
    """A Secret whose values only the stack knows: what to make, without them."""

    name: str
    entries: Mapping[str, SecretEntry]
    texts: Mapping[str, str] = field(default_factory=dict)
    """Entries that are no secret."""


@dataclass(frozen=True)
class Bootstrap:
    """Everything that an update applies, in the order in which it must be."""

    namespace: Manifest
    """Where flux-operator and Flux run."""
    operator: tuple[Manifest, ...]
    """flux-operator: its definitions and what it may do, and its Deployment."""
    secrets: tuple[SecretReference, ...]
    """In the namespace `NAMESPACE`."""
    runtime_info: Manifest
    components: Manifest
    """Waits in the cluster for the instance. It comes before it, so that it goes after it: docs/gitops.md says why."""
    instance: Manifest


def bootstrap(
    config: ClusterConfig,
    version: str,
    steps: Sequence[Step],
    facts: Mapping[str, str],
    own: str | None,
    given: Sequence[Manifest] = (),
) -> Bootstrap:
    """``facts``: the runtime info. ``own``: the folder of the cluster's own things, None without one. ``given``: what
    the components read beside them."""
    components = list(dict.fromkeys(step.component.name for step in steps))
    by_name = {step.component.name: step.component for step in steps}
    return Bootstrap(
        namespace={"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}},
        operator=operator.manifests(),
        secrets=secrets(config, [by_name[name] for name in components]),
        runtime_info=_named("v1", "ConfigMap", RUNTIME_INFO, labels=WATCHED) | {"data": dict(facts)},
        components=resource_set(config, steps, own, given),
        instance=flux_instance(config, version),
    )


def secrets(config: ClusterConfig, components: Sequence[Component]) -> tuple[SecretReference, ...]:
    flux, found = config.gitops.flux, []
    if flux.credentials_secret:
        ssh = flux.repository.startswith("ssh://")
        key = "identity" if ssh else "password"
        # Git hosts that take a token as the password do not read the name, but want one.
        texts = {"known_hosts": flux.known_hosts} if ssh else {"username": "git"}
        found.append(SecretReference(CREDENTIALS, {key: SecretEntry(flux.credentials_secret)}, texts))
    if flux.age_key_secret:
        found.append(SecretReference(AGE_KEY, {"age.agekey": SecretEntry(flux.age_key_secret)}))
    entries: dict[str, SecretEntry] = {}
    for component in components:
        for name, secret in component.declaration.secrets.items():
            entries[name] = SecretEntry(secret.setting)
            entries[f"{name}_BASE64"] = SecretEntry(secret.setting, "base64")
    if entries:
        found.append(SecretReference(RUNTIME_SECRETS, entries))
    return tuple(found)


def flux_instance(config: ClusterConfig, version: str) -> Manifest:
    flux = config.gitops.flux
    sync = {
        "kind": "GitRepository",
        "url": flux.repository,
        "ref": f"refs/heads/{flux.branch}",
        "path": SOURCES,
        "interval": flux.interval,
    }
    if flux.credentials_secret:
        sync["pullSecret"] = CREDENTIALS
    spec: Manifest = {
        "distribution": {"version": version.removeprefix("v"), "registry": "ghcr.io/fluxcd"},
        "cluster": {
            "type": "kubernetes",
            "size": "small",
            "domain": config.cluster.kubernetes.domain,
            "networkPolicy": True,
        },
        "sync": sync,
        "kustomize": {"patches": [_CANCEL_HEALTH_CHECKS]},
    }
    if flux.components:
        spec["components"] = list(flux.components)
    return _named("fluxcd.controlplane.io/v1", "FluxInstance", "flux") | {"spec": spec}


def resource_set(
    config: ClusterConfig, steps: Sequence[Step], own: str | None, given: Sequence[Manifest] = ()
) -> Manifest:
    """The Flux Kustomizations of a cluster, and what they are given, as the list of which flux-operator keeps an
    inventory."""
    instance = {
        "apiVersion": "fluxcd.controlplane.io/v1",
        "kind": "FluxInstance",
        "name": "flux",
        "namespace": NAMESPACE,
        "ready": True,
    }
    spec = {"dependsOn": [instance], "resources": [*given, *kustomizations(config, steps, own)]}
    return _named("fluxcd.controlplane.io/v1", "ResourceSet", "infrastructure") | {"spec": spec}


def kustomizations(config: ClusterConfig, steps: Sequence[Step], own: str | None) -> list[Manifest]:
    """One for each step, and the cluster's own things behind all of them."""
    found = [_kustomization(config, step.name, step.path, step.depends_on, _has_secrets(step)) for step in steps]
    if own is not None:
        secret = any(_has_secrets(step) for step in steps)
        found.append(_kustomization(config, OWN, own, [step.name for step in steps], secret))
    return found


def _has_secrets(step: Step) -> bool:
    return bool(step.component.declaration.secrets)


def _kustomization(config: ClusterConfig, name: str, path: str, depends_on: Sequence[str], secret: bool) -> Manifest:
    # First the chart sources, which the FluxInstance syncs.
    waits = [SOURCE, *depends_on]
    substitutes = [{"kind": "ConfigMap", "name": RUNTIME_INFO}]
    if secret:
        substitutes.append({"kind": "Secret", "name": RUNTIME_SECRETS})
    spec: Manifest = {
        "interval": "1h",
        "retryInterval": "2m",
        "timeout": "15m",
        "prune": True,
        "wait": True,
        "path": f"./{path}",
        "sourceRef": {"kind": "GitRepository", "name": SOURCE},
        "dependsOn": [{"name": other} for other in waits],
        "postBuild": {"substituteFrom": substitutes},
    }
    if config.gitops.flux.age_key_secret:
        spec["decryption"] = {"provider": "sops", "secretRef": {"name": AGE_KEY}}
    return _named("kustomize.toolkit.fluxcd.io/v1", "Kustomization", name) | {"spec": spec}


def _named(api_version: str, kind: str, name: str, labels: Mapping[str, str] | None = None) -> Manifest:
    metadata: Manifest = {"name": name, "namespace": NAMESPACE}
    if labels:
        metadata["labels"] = dict(labels)
    return {"apiVersion": api_version, "kind": kind, "metadata": metadata}
