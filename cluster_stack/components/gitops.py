"""Flux in a cluster: flux-operator, what it installs and what Flux is told, object by object."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pulumi

from cluster_stack.config import ClusterFile, ConfigError
from cluster_stack.lifecycle.names import KUBERNETES_OBJECT, PACKAGE
from cluster_stack.plan.gitops import settings
from cluster_stack.plan.gitops.components import Component
from cluster_stack.plan.gitops.objects import NAMESPACE, WATCHED, Bootstrap, Manifest, SecretEntry, SecretReference

Settings = Mapping[str, pulumi.Output[str]]
"""Name of a stack setting -> its value, secret."""


@dataclass(frozen=True, kw_only=True)
class GitopsArgs:
    bootstrap: Bootstrap
    settings: Settings
    kubeconfig: pulumi.Input[str]
    cluster: pulumi.Resource
    """Whoever deletes this deletes the cluster: nothing in it needs to be deleted one by one."""
    time_limit: str
    """How long to wait for one object, like ``15m``."""


class Gitops(pulumi.ComponentResource):
    """Flux, from an empty cluster to a FluxInstance that is ready."""

    def __init__(self, name: str, args: GitopsArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("cluster-stack:index:Gitops", name, {}, opts)
        self._name, self._args = name, args
        kubeconfig = pulumi.Output.secret(args.kubeconfig)
        self._provider = pulumi.ProviderResource(
            PACKAGE, f"{name}-kubernetes", {"kubeconfig": kubeconfig}, pulumi.ResourceOptions(parent=self)
        )
        bootstrap = args.bootstrap
        namespace = self._object("namespace", bootstrap.namespace, [])
        operator = [manifest for manifest in bootstrap.operator if manifest["kind"] != "Deployment"]
        before = [
            self._object(_suffix(manifest), manifest, [namespace] if manifest["metadata"].get("namespace") else [])
            for manifest in operator
        ]
        deployments = [
            self._object(_suffix(manifest), manifest, before)
            for manifest in bootstrap.operator
            if manifest["kind"] == "Deployment"
        ]
        told = [self._object("runtime-info", bootstrap.runtime_info, [namespace])]
        told += [self._secret(reference, [namespace]) for reference in bootstrap.secrets]
        components = self._object("components", bootstrap.components, [*deployments, *told])
        self._object("instance", bootstrap.instance, [components])
        self.register_outputs({})

    def _object(self, suffix: str, manifest: Manifest, depends_on: Sequence[pulumi.Resource]) -> pulumi.Resource:
        limit = self._args.time_limit
        options = pulumi.ResourceOptions(
            parent=self,
            provider=self._provider,
            depends_on=depends_on,
            deleted_with=self._args.cluster,
            custom_timeouts=pulumi.CustomTimeouts(create=limit, update=limit, delete=limit),
        )
        return pulumi.CustomResource(KUBERNETES_OBJECT, f"{self._name}-flux-{suffix}", dict(manifest), options)

    def _secret(self, reference: SecretReference, depends_on: Sequence[pulumi.Resource]) -> pulumi.Resource:
        data: dict[str, pulumi.Input[str]] = {key: _base64(text) for key, text in reference.texts.items()}
        data |= {key: self._encoded(entry) for key, entry in reference.entries.items()}
        manifest: Manifest = {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {"name": reference.name, "namespace": NAMESPACE, "labels": WATCHED},
            "type": "Opaque",
            "data": data,
        }
        return self._object(f"secret-{reference.name}", manifest, depends_on)

    def _encoded(self, entry: SecretEntry) -> pulumi.Output[str]:
        value = self._args.settings[entry.setting]
        return (value.apply(_base64) if entry.form == "base64" else value).apply(_base64)


def read_settings(file: ClusterFile, components: Sequence[Component]) -> Settings:
    """The settings that Flux and the components want, from the stack. Raises ConfigError."""
    config = pulumi.Config()

    def is_encrypted(setting: str) -> bool:
        return pulumi.runtime.config.is_config_secret(config.full_key(setting))

    if problems := list(settings.check(file, components, config.get, is_encrypted)):
        raise ConfigError(problems)
    return {wanted.name: config.require_secret(wanted.name) for wanted in settings.wanted(file, components)}


def _suffix(manifest: Manifest) -> str:
    """``operator-clusterrole-flux-web-user``: its kind, because names are unique within one only."""
    kind = "crd" if manifest["kind"] == "CustomResourceDefinition" else manifest["kind"].lower()
    return f"operator-{kind}-{manifest['metadata']['name'].partition('.')[0]}"


def _base64(text: str) -> str:
    return base64.b64encode(text.encode()).decode()
