"""A whole cluster: its secrets, its nodes, its bootstrap, and the two files that people log in with."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import pulumi
import pulumi_proxmoxve as proxmox
import pulumiverse_talos as talos
from pulumiverse_talos.machine import outputs as machine_outputs

from cluster_stack.components.node import Node, NodeArgs
from cluster_stack.config import ClusterConfig
from cluster_stack.plan.nodes import NodePlan, Role
from cluster_stack.plan.versions import kubernetes_version


@dataclass(frozen=True, kw_only=True)
class ClusterArgs:
    config: ClusterConfig
    nodes: tuple[NodePlan, ...]
    """Control planes first."""
    proxmox_api_token: pulumi.Input[str] | None
    """None: the provider reads it from the environment by itself, and the state never holds it."""
    check_vm_is_ours: Callable[[NodePlan, str], None]
    """See ``NodeArgs``."""


class Cluster(pulumi.ComponentResource):
    """One Talos cluster on Proxmox."""

    kubeconfig: pulumi.Output[str]
    """The administrator's kubeconfig file. Secret."""
    talosconfig: pulumi.Output[str]
    """The administrator's talosconfig file. Secret."""
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
        talos_provider = talos.Provider(f"{name}-talos", opts=pulumi.ResourceOptions(parent=self))
        child = pulumi.ResourceOptions(parent=self, providers=[proxmox_provider, talos_provider])
        secrets = talos.machine.Secrets(
            f"{name}-secrets",
            talos_version=config.cluster.talos.version,
            # The version contract of a cluster is that of its creation; it must not follow later upgrades of Talos.
            opts=pulumi.ResourceOptions.merge(child, pulumi.ResourceOptions(ignore_changes=["talosVersion"])),
        )
        contract = secrets.talos_version
        nodes = {
            plan.name: Node(
                plan.name,
                NodeArgs(
                    config=config,
                    plan=plan,
                    # The engine gives a provider a random id, which is known before anything is made.
                    state_id=proxmox_provider.id,
                    check_vm_is_ours=args.check_vm_is_ours,
                ),
                child,
            )
            for plan in args.nodes
        }
        self.control_planes = {plan.name: nodes[plan.name] for plan in args.nodes if plan.role == "controlplane"}
        self.workers = {plan.name: nodes[plan.name] for plan in args.nodes if plan.role == "worker"}
        first = next(iter(self.control_planes.values()))

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
                cluster_endpoint=pulumi.Output.concat("https://", first.address, ":6443"),
                machine_type=role,
                machine_secrets=machine_secrets,
                talos_version=contract,
                kubernetes_version=contract.apply(kubernetes_version),
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
            )
        bootstrap = talos.machine.Bootstrap(
            f"{name}-bootstrap",
            node=first.address,
            client_configuration=credentials,
            opts=pulumi.ResourceOptions.merge(child, pulumi.ResourceOptions(depends_on=[first.configuration])),
        )
        kubeconfig = talos.cluster.Kubeconfig(
            f"{name}-kubeconfig",
            node=first.address,
            client_configuration=talos.cluster.KubeconfigClientConfigurationArgs(
                ca_certificate=client.ca_certificate,
                client_certificate=client.client_certificate,
                client_key=client.client_key,
            ),
            opts=pulumi.ResourceOptions.merge(child, pulumi.ResourceOptions(depends_on=[bootstrap])),
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
        first = next(iter(self.control_planes.values()))
        return {
            "kubeconfig": self.kubeconfig,
            "talosconfig": self.talosconfig,
            "cluster_endpoint": first.address,
            "control_plane_ips": [node.address for node in self.control_planes.values()],
            "worker_ips": [node.address for node in self.workers.values()],
            "control_plane_vms": _vms(self.control_planes),
            "worker_vms": _vms(self.workers),
            "all_vm_ids": [node.vm_id for node in (*self.control_planes.values(), *self.workers.values())],
        }


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
