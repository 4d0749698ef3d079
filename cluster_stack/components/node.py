"""One node: its virtual machine on Proxmox, and the machine configuration that Talos on it is given."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import pulumi
import pulumi_proxmoxve as proxmox
import pulumiverse_talos as talos

from cluster_stack.config import ClusterConfig
from cluster_stack.plan.addresses import node_address
from cluster_stack.plan.machine_config import node_patches
from cluster_stack.plan.nodes import NodePlan
from cluster_stack.plan.ownership import vm_notes
from cluster_stack.plan.versions import first_apply_mode

AGENT_TIMEOUT = "3m"
"""How long an `up` waits for a booting machine's guest agent to report an address."""


@dataclass(frozen=True, kw_only=True)
class NodeArgs:
    config: ClusterConfig
    plan: NodePlan
    state_id: pulumi.Input[str]
    """A random text that only this stack's state knows; the VM's notes carry a mark derived from it."""
    check_vm_is_ours: Callable[[NodePlan, str], None]
    """Called before the VM is created, with the notes that it is to have. Raises where another VM is in its place."""


class Node(pulumi.ComponentResource):
    """A virtual machine, and by ``configure`` its machine configuration.

    Two steps, because the configuration of every node names the address of the first control plane, which is known only
    when that machine runs.
    """

    address: pulumi.Output[str]
    """IPv4 address."""
    vm_id: pulumi.Output[int]
    configuration: talos.machine.ConfigurationApply

    def __init__(self, name: str, args: NodeArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("cluster-stack:index:Node", name, {}, opts)
        self._name = name
        self._args = args
        vm = _virtual_machine(
            f"{name}-vm",
            args,
            pulumi.ResourceOptions(
                parent=self,
                # A VM id cannot be had twice, so a replacement cannot be made beside what it replaces.
                delete_before_replace=True,
                # The provider plans zeros for limits that nobody set and reads none back (pulumi-proxmoxve#664).
                ignore_changes=["disks[0].speed"],
                hooks=pulumi.ResourceHookBinding(before_create=[_creation_check(args)]),
            ),
        )
        self.vm_id = vm.vm_id
        plan = args.plan
        if plan.address:
            # Through the VM's id, so that whoever needs the address waits for the machine.
            static = str(plan.address.interface.ip)
            self.address = vm.vm_id.apply(lambda _: static)
        else:
            nic = vm.network_devices.apply(lambda devices: devices[0].mac_address if devices else None)
            self.address = pulumi.Output.all(nic, vm.mac_addresses, vm.ipv4_addresses).apply(
                lambda reported: _reported_address(plan, *reported)
            )

    def configure(
        self,
        *,
        client_configuration: pulumi.Input[talos.machine.ClientConfigurationArgs],
        machine_configuration: pulumi.Input[str],
        contract: pulumi.Output[str],
    ) -> None:
        """Apply ``machine_configuration`` (that of the node's role) with this node's patches."""
        config, plan = self._args.config, self._args.plan
        self.configuration = talos.machine.ConfigurationApply(
            f"{self._name}-config",
            node=self.address,
            apply_mode=contract.apply(first_apply_mode),
            client_configuration=client_configuration,
            # The write-only input: it is in the state once instead of three times, and its hash shows every change.
            machine_configuration_input_wo=machine_configuration,
            config_patches=contract.apply(lambda version: node_patches(config, plan, version)),
            opts=pulumi.ResourceOptions(parent=self),
        )
        self.register_outputs({})


def _creation_check(args: NodeArgs) -> pulumi.ResourceHook:
    def check(hook: pulumi.ResourceHookArgs) -> None:
        args.check_vm_is_ours(args.plan, str((hook.new_inputs or {}).get("description", "")))

    return pulumi.ResourceHook(f"{args.plan.name}-vm-is-ours", check)


def _virtual_machine(name: str, args: NodeArgs, opts: pulumi.ResourceOptions) -> proxmox.VmLegacy:
    config, plan = args.config, args.plan
    storage, vm = config.proxmox.storage, config.proxmox.vm
    return proxmox.VmLegacy(
        name,
        node_name=plan.host,
        vm_id=plan.vm_id,
        name=plan.name,
        description=pulumi.Output.from_input(args.state_id).apply(lambda found: vm_notes(config, plan, found)),
        tags=list(plan.tags),
        on_boot=vm.on_boot,
        started=True,
        stop_on_destroy=vm.force_stop,
        operating_system=proxmox.VmLegacyOperatingSystemArgs(type="l26"),
        cpu=proxmox.VmLegacyCpuArgs(cores=plan.cores, type=vm.cpu_type),
        memory=proxmox.VmLegacyMemoryArgs(dedicated=plan.memory),
        scsi_hardware="virtio-scsi-single",
        disks=[
            proxmox.VmLegacyDiskArgs(
                interface="scsi0", datastore_id=storage.datastore, size=plan.disk, file_format="raw"
            )
        ],
        cdrom=proxmox.VmLegacyCdromArgs(interface="ide2", file_id=storage.iso_path),
        # The empty disk cannot boot, so a new machine starts from the ISO; an installed one never does again.
        boot_orders=["scsi0", "ide2"],
        network_devices=[proxmox.VmLegacyNetworkDeviceArgs(bridge=config.proxmox.network.bridge, model="virtio")],
        # Without DHCP nothing needs the agent, and a provider that waits for one that is not there waits in vain.
        agent=proxmox.VmLegacyAgentArgs(enabled=plan.address is None, timeout=AGENT_TIMEOUT, type="virtio"),
        initialization=_cloud_init(config, plan),
        opts=opts,
    )


def _cloud_init(config: ClusterConfig, plan: NodePlan) -> proxmox.VmLegacyInitializationArgs | None:
    """The drive from which the nocloud platform reads its address. Proxmox makes it through the API, without SSH."""
    if plan.address is None:
        return None
    return proxmox.VmLegacyInitializationArgs(
        datastore_id=config.proxmox.storage.datastore,
        interface="ide0",
        dns=proxmox.VmLegacyInitializationDnsArgs(servers=[str(server) for server in plan.address.nameservers]),
        ip_configs=[
            proxmox.VmLegacyInitializationIpConfigArgs(
                ipv4=proxmox.VmLegacyInitializationIpConfigIpv4Args(
                    address=str(plan.address.interface), gateway=str(plan.address.gateway)
                )
            )
        ],
    )


def _reported_address(
    plan: NodePlan, nic: str | None, macs: Sequence[str] | None, addresses: Sequence[Sequence[str]] | None
) -> str | pulumi.Output[str]:
    address = node_address(nic, macs or (), addresses or ())
    if address is not None:
        return address
    if pulumi.runtime.is_dry_run():
        return _unknown()
    raise pulumi.RunError(
        f"{plan.name} (VM {plan.vm_id} on {plan.host}) has no IPv4 address: its guest agent reported none within "
        f"{AGENT_TIMEOUT}. Look at the VM's console: does it boot the Talos ISO, does that ISO contain the extension "
        f"siderolabs/qemu-guest-agent, does a DHCP server answer on its bridge? When the console shows an address, "
        f"run `pulumi up -s {pulumi.get_stack()} --refresh`."
    )


def _unknown() -> pulumi.Output[str]:
    """A value that a preview cannot know."""
    value: asyncio.Future[str] = asyncio.get_running_loop().create_future()
    known: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
    value.set_result("")
    known.set_result(False)
    return pulumi.Output(set(), value, known)
