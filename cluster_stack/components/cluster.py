"""A whole cluster: its secrets, its nodes, its bootstrap, and the two files that people log in with."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import pulumi
import pulumi_proxmoxve as proxmox
import pulumiverse_talos as talos
from pulumiverse_talos.machine import outputs as machine_outputs

from cluster_stack.components.availability import keep_available
from cluster_stack.components.claims import AddressClaims
from cluster_stack.components.images import fetch, register
from cluster_stack.components.node import Node, NodeArgs
from cluster_stack.components.previous import (
    CONTROL_PLANES,
    KUBERNETES_VERSION,
    TALOS_VERSION,
    VERSION_CONTRACT,
    installation_outputs,
)
from cluster_stack.config import ClusterConfig
from cluster_stack.plan.boot import boot_images, image_of
from cluster_stack.plan.images import DEFAULT_FACTORY, factory_url
from cluster_stack.plan.machine_config import API_PORT
from cluster_stack.plan.nodes import NodePlan, Role
from cluster_stack.plan.versions import kubernetes_version


@dataclass(frozen=True, kw_only=True)
class ClusterArgs:
    config: ClusterConfig
    nodes: tuple[NodePlan, ...]
    """Control planes first."""
    patches: Mapping[str, tuple[str, ...]]
    """Name of a node -> patches of its machine configuration: the pod network's, then the user's."""
    proxmox_api_token: pulumi.Input[str] | None
    """None: the provider reads it from the environment by itself, and the state never holds it."""
    check_vm_is_ours: Callable[[NodePlan, str], None]
    """See ``NodeArgs``."""
    check_vm_is_here: Callable[[NodePlan, str], None]
    """See ``NodeArgs``."""


class Cluster(pulumi.ComponentResource):
    """One Talos cluster on Proxmox."""

    secrets: talos.machine.Secrets
    """The root of trust. It lives as long as the cluster."""
    kubeconfig: pulumi.Output[str]
    """The administrator's kubeconfig file. Secret."""
    talosconfig: pulumi.Output[str]
    """The administrator's talosconfig file. Secret."""
    kubernetes_endpoint: pulumi.Output[str]
    """URL of the Kubernetes API, as machine configurations and kubeconfig have it."""
    versions: dict[str, pulumi.Output[str]]
    """Name of an output -> version; the next update compares with them (``components.previous``)."""
    control_planes: dict[str, Node]
    workers: dict[str, Node]

    def __init__(self, name: str, args: ClusterArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("cluster-stack:index:Cluster", name, {}, opts)
        config = args.config
        proxmox_provider = proxmox.Provider(
            f"{name}-proxmox",
            endpoint=config.proxmox.endpoint,
            insecure=config.proxmox.insecure,
            api_token=args.proxmox_api_token,
            opts=pulumi.ResourceOptions(parent=self),
        )
        factory = config.cluster.talos.image_factory.registry_url
        talos_provider = talos.Provider(
            f"{name}-talos",
            image_factory_url=factory_url(factory) if factory != DEFAULT_FACTORY else None,
            opts=pulumi.ResourceOptions(parent=self),
        )
        child = pulumi.ResourceOptions(parent=self, providers=[proxmox_provider, talos_provider])
        secrets = self.secrets = talos.machine.Secrets(
            f"{name}-secrets",
            talos_version=config.cluster.talos.version,
            # The version contract of a cluster is that of its creation; it must not follow later upgrades of Talos.
            opts=pulumi.ResourceOptions.merge(child, pulumi.ResourceOptions(ignore_changes=["talosVersion"])),
        )
        contract = secrets.talos_version
        self.versions = {
            TALOS_VERSION: pulumi.Output.from_input(config.cluster.talos.version),
            KUBERNETES_VERSION: contract.apply(
                lambda made: config.cluster.kubernetes.version or kubernetes_version(made)
            ),
            VERSION_CONTRACT: contract,
        }
        self._installation = installation_outputs(config)
        schematics = register(config, args.nodes, child)
        images = fetch(boot_images(config, args.nodes), schematics, child)
        claims = AddressClaims()
        nodes = {
            plan.name: Node(
                plan.name,
                NodeArgs(
                    config=config,
                    plan=plan,
                    claims=claims,
                    boot_image=images[image] if (image := image_of(config, plan)) else None,
                    # The engine gives a provider a random id, which is known before anything is made.
                    state_id=proxmox_provider.id,
                    check_vm_is_ours=args.check_vm_is_ours,
                    check_vm_is_here=args.check_vm_is_here,
                ),
                child,
            )
            for plan in args.nodes
        }
        self.control_planes = {plan.name: nodes[plan.name] for plan in args.nodes if plan.role == "controlplane"}
        self.workers = {plan.name: nodes[plan.name] for plan in args.nodes if plan.role == "worker"}
        first = next(iter(self.control_planes.values()))
        self.kubernetes_endpoint = kubernetes_endpoint(config, first.address)
        if config.proxmox.vm.ha:
            keep_available(config, self.control_planes, self.workers, child)

        machine_secrets = secrets.machine_secrets.apply(_machine_secrets_args)
        client = secrets.client_configuration
        credentials = talos.machine.ClientConfigurationArgs(
            ca_certificate=client.ca_certificate,
            client_certificate=client.client_certificate,
            client_key=client.client_key,
        )
        roles: set[Role] = {plan.role for plan in args.nodes}
        configurations = {
            role: talos.machine.get_configuration_output(
                cluster_name=config.talos_cluster_name,
                cluster_endpoint=self.kubernetes_endpoint,
                machine_type=role,
                machine_secrets=machine_secrets,
                talos_version=contract,
                kubernetes_version=self.versions[KUBERNETES_VERSION],
                # Comments and examples would make every configuration in the state several times as large.
                docs=False,
                examples=False,
                opts=pulumi.InvokeOutputOptions(parent=self, provider=talos_provider),
            ).machine_configuration
            for role in sorted(roles)
        }
        for plan in args.nodes:
            nodes[plan.name].configure(
                client_configuration=credentials,
                machine_configuration=configurations[plan.role],
                contract=contract,
                patches=args.patches[plan.name],
                schematic=schematics.get(plan.schematic.id),
            )
        bootstrap = talos.machine.Bootstrap(
            f"{name}-bootstrap",
            node=first.address,
            client_configuration=credentials,
            opts=pulumi.ResourceOptions.merge(
                child, pulumi.ResourceOptions(depends_on=[first.configuration], **_anew(self.control_planes))
            ),
        )
        kubeconfig = talos.cluster.Kubeconfig(
            f"{name}-kubeconfig",
            node=first.address,
            client_configuration=talos.cluster.KubeconfigClientConfigurationArgs(
                ca_certificate=client.ca_certificate,
                client_certificate=client.client_certificate,
                client_key=client.client_key,
            ),
            opts=pulumi.ResourceOptions.merge(
                child,
                pulumi.ResourceOptions(
                    depends_on=[bootstrap],
                    replace_with=[bootstrap],
                    # The provider fetches it once, and these are written in it.
                    replacement_trigger=pulumi.Output.all(self.kubernetes_endpoint, config.talos_cluster_name),
                ),
            ),
        )
        talosconfig = talos.client.get_configuration_output(
            cluster_name=config.talos_cluster_name,
            client_configuration=client.apply(
                lambda found: talos.client.GetConfigurationClientConfigurationArgs(
                    ca_certificate=found.ca_certificate,
                    client_certificate=found.client_certificate,
                    client_key=found.client_key,
                )
            ),
            endpoints=pulumi.Output.all(*(node.address for node in self.control_planes.values())),
            nodes=pulumi.Output.all(*(node.address for node in nodes.values())),
            opts=pulumi.InvokeOutputOptions(parent=self, provider=talos_provider),
        )
        self.kubeconfig = pulumi.Output.secret(kubeconfig.kubeconfig_raw)
        self.talosconfig = pulumi.Output.secret(talosconfig.talos_config)
        self.register_outputs({})

    def outputs(self) -> dict[str, pulumi.Input[object]]:
        """The stack's outputs, under the names and with the meaning of the original system's."""
        return {
            "kubeconfig": self.kubeconfig,
            "talosconfig": self.talosconfig,
            "cluster_endpoint": self.kubernetes_endpoint.apply(lambda url: urlsplit(url).hostname),
            "control_plane_ips": [node.address for node in self.control_planes.values()],
            "worker_ips": [node.address for node in self.workers.values()],
            CONTROL_PLANES: _vms(self.control_planes),
            "worker_vms": _vms(self.workers),
            **self.versions,
            **self._installation,
            "all_vm_ids": [node.vm_id for node in (*self.control_planes.values(), *self.workers.values())],
        }


def kubernetes_endpoint(config: ClusterConfig, first: pulumi.Output[str]) -> pulumi.Output[str]:
    """What cluster.yaml names, else the shared address, else that of the first control plane."""
    kubernetes = config.cluster.kubernetes
    if kubernetes.endpoint is not None:
        return pulumi.Output.from_input(kubernetes.endpoint)
    host = pulumi.Output.from_input(str(kubernetes.vip)) if kubernetes.vip else first
    return pulumi.Output.concat("https://", host, f":{API_PORT}")


def _anew(control_planes: Mapping[str, Node]) -> dict[str, Any]:
    """When a cluster is to be bootstrapped again: its only control plane is another machine, so that there is no etcd.

    One of several joins the etcd of the others; a bootstrap there would begin a second cluster.
    """
    if len(control_planes) > 1:
        return {}
    (only,) = control_planes.values()
    return {"replace_with": [only.vm], "replacement_trigger": only.made_anew}


def _vms(nodes: dict[str, Node]) -> dict[str, dict[str, pulumi.Input[object]]]:
    return {name: {"id": node.vm_id, "name": name, "ip": node.address} for name, node in nodes.items()}


def _machine_secrets_args(found: machine_outputs.MachineSecretsResult) -> talos.machine.MachineSecretsArgs:
    """The secrets as an invoke takes them: it would send an output's own (snake_case) keys, which the provider does not
    know (pulumi-talos#103)."""
    certs, keys = found.certs, found.secrets

    def pair(cert: machine_outputs.CertificateResult) -> talos.machine.CertificateArgs:
        return talos.machine.CertificateArgs(cert=cert.cert, key=cert.key)

    return talos.machine.MachineSecretsArgs(
        certs=talos.machine.CertificatesArgs(
            etcd=pair(certs.etcd),
            k8s=pair(certs.k8s),
            k8s_aggregator=pair(certs.k8s_aggregator),
            k8s_serviceaccount=talos.machine.KeyArgs(key=certs.k8s_serviceaccount.key),
            os=pair(certs.os),
        ),
        cluster=talos.machine.ClusterArgs(id=found.cluster.id, secret=found.cluster.secret),
        secrets=talos.machine.KubernetesSecretsArgs(
            bootstrap_token=keys.bootstrap_token,
            secretbox_encryption_secret=keys.secretbox_encryption_secret,
            aescbc_encryption_secret=keys.aescbc_encryption_secret,
        ),
        trustdinfo=talos.machine.TrustdInfoArgs(token=found.trustdinfo.token),
    )
