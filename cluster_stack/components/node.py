"""One node: its virtual machine on Proxmox, and the machine configuration that Talos on it is given."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import pulumi
import pulumi_proxmoxve as proxmox
import pulumiverse_talos as talos

from cluster_stack.components.claims import AddressClaims
from cluster_stack.config import ClusterConfig
from cluster_stack.plan.addresses import node_address
from cluster_stack.plan.boot import firmware
from cluster_stack.plan.machine_config import node_patches
from cluster_stack.plan.nodes import ExtraDisk, NetworkCard, NodePlan
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
    claims: AddressClaims
    """Those of all machines of the cluster."""
    boot_image: pulumi.Input[str] | None
    """Volume id of the disk image that the machine's disk begins as; None where it boots an ISO."""
    check_vm_is_ours: Callable[[NodePlan, str], None]
    """Called before the VM is created, with the notes that it is to have. Raises where another VM is in its place."""
    check_vm_is_here: Callable[[NodePlan, str], None]
    """Called before the VM is changed, with the host that the state has for it. Raises where it is on another one."""


class Node(pulumi.ComponentResource):
    """A virtual machine, and by ``configure`` its machine configuration.

    Two steps, because the configuration of every node names the address of the first control plane, which is known only
    when that machine runs.
    """

    address: pulumi.Output[str]
    """IPv4 address."""
    vm_id: pulumi.Output[int]
    vm: proxmox.VmLegacy
    made_anew: pulumi.Output[str | None] | None
    """What is another one when the machine is: the MAC address that Proxmox chose. None where cluster.yaml names it."""
    configuration: talos.machine.ConfigurationApply

    def __init__(self, name: str, args: NodeArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("cluster-stack:index:Node", name, {}, opts)
        self._name = name
        self._args = args
        vm = self.vm = _virtual_machine(
            f"{name}-vm",
            args,
            pulumi.ResourceOptions(
                parent=self,
                # A VM id cannot be had twice, so a replacement cannot be made beside what it replaces.
                delete_before_replace=True,
                ignore_changes=_ignored(args.config, args.plan),
                hooks=pulumi.ResourceHookBinding(
                    before_create=[_creation_check(args)], before_update=[_change_check(args)]
                ),
            ),
        )
        self.vm_id = vm.vm_id
        mac = vm.network_devices.apply(lambda devices: devices[0].mac_address if devices else None)
        self.made_anew = mac if args.plan.cards[0].mac is None else None
        plan = args.plan
        if plan.address:
            # Through the VM's id, so that whoever needs the address waits for the machine.
            static = str(plan.address.interface.ip)
            self.address = vm.vm_id.apply(lambda _: args.claims.claim(plan, static, plan.cards[0].mac))
        else:
            self.address = pulumi.Output.all(mac, vm.mac_addresses, vm.ipv4_addresses).apply(
                lambda reported: _reported_address(args, *reported)
            )

    def configure(
        self,
        *,
        client_configuration: pulumi.Input[talos.machine.ClientConfigurationArgs],
        machine_configuration: pulumi.Input[str],
        contract: pulumi.Output[str],
        patches: Sequence[str],
        schematic: pulumi.Resource | None,
    ) -> None:
        """Apply ``machine_configuration`` (that of the node's role) with what follows from cluster.yaml for this node,
        and then the user's own ``patches``. What it installs is there once the Image Factory knows ``schematic``."""
        config, plan = self._args.config, self._args.plan
        self.configuration = talos.machine.ConfigurationApply(
            f"{self._name}-config",
            node=self.address,
            apply_mode=contract.apply(first_apply_mode),
            client_configuration=client_configuration,
            # The write-only input: it is in the state once instead of three times, and its hash shows every change.
            machine_configuration_input_wo=machine_configuration,
            config_patches=contract.apply(lambda version: [*node_patches(config, plan, version), *patches]),
            opts=pulumi.ResourceOptions(
                parent=self,
                depends_on=[schematic] if schematic else [],
                # Another machine at the same address has no configuration yet. Where Proxmox lost the VM, it is created
                # and nothing is replaced: then the trigger tells.
                replace_with=[self.vm],
                replacement_trigger=self.made_anew,
            ),
        )
        self.register_outputs({})


def _ignored(config: ClusterConfig, plan: NodePlan) -> list[str]:
    """What may differ from the program without a change: wildcards do not reach into lists, so each disk is named."""
    return [
        # The provider plans zeros for limits that nobody set and reads none back (pulumi-proxmoxve#664).
        *(f"disks[{number}].speed" for number in range(1 + len(plan.extra_disks))),
        # A machine's disk was made once. A newer image is for machines to come; this one is upgraded in place.
        "disks[0].importFrom",
        # Proxmox' HA manager decides where the machine runs.
        *(["nodeName"] if config.proxmox.vm.ha else []),
    ]


def _creation_check(args: NodeArgs) -> pulumi.ResourceHook:
    def check(hook: pulumi.ResourceHookArgs) -> None:
        args.check_vm_is_ours(args.plan, str((hook.new_inputs or {}).get("description", "")))

    return pulumi.ResourceHook(f"{args.plan.name}-vm-is-ours", check)


def _change_check(args: NodeArgs) -> pulumi.ResourceHook:
    def check(hook: pulumi.ResourceHookArgs) -> None:
        args.check_vm_is_here(args.plan, str((hook.old_outputs or {})["nodeName"]))

    return pulumi.ResourceHook(f"{args.plan.name}-vm-is-here", check)


def _virtual_machine(name: str, args: NodeArgs, opts: pulumi.ResourceOptions) -> proxmox.VmLegacy:
    config, plan = args.config, args.plan
    storage, vm = config.proxmox.storage, config.proxmox.vm
    built = firmware(config, plan)
    return proxmox.VmLegacy(
        name,
        node_name=plan.host,
        # A machine that is to be on another host moves there; made anew it would lose what it holds.
        migrate=True,
        vm_id=plan.vm_id,
        name=plan.name,
        description=pulumi.Output.from_input(args.state_id).apply(lambda found: vm_notes(config, plan, found)),
        tags=list(plan.tags),
        pool_id=vm.pool,
        on_boot=vm.on_boot,
        started=True,
        protection=vm.protection or None,
        stop_on_destroy=vm.force_stop,
        operating_system=proxmox.VmLegacyOperatingSystemArgs(type="l26"),
        bios=built.bios if built.bios != "seabios" else None,
        machine=built.machine,
        efi_disk=_efi_disk(config) if built.bios == "ovmf" else None,
        tpm_state=_tpm_state(config) if built.tpm else None,
        cpu=proxmox.VmLegacyCpuArgs(
            cores=plan.cores,
            sockets=plan.sockets if plan.sockets > 1 else None,
            type=vm.cpu_type,
            numa=vm.numa or None,
        ),
        memory=proxmox.VmLegacyMemoryArgs(dedicated=plan.memory, floating=vm.balloon or None),
        scsi_hardware="virtio-scsi-single",
        disks=[_system_disk(args), *(_extra_disk(disk) for disk in plan.extra_disks)],
        cdrom=proxmox.VmLegacyCdromArgs(interface="ide2", file_id=storage.iso_path) if storage.iso_path else None,
        # The empty disk cannot boot, so a new machine starts from the ISO; an installed one never does again.
        boot_orders=["scsi0", "ide2"] if storage.iso_path else ["scsi0"],
        network_devices=[_network_device(card) for card in plan.cards],
        hostpcis=[
            proxmox.VmLegacyHostpciArgs(device=f"hostpci{number}", mapping=device.mapping, pcie=device.pcie)
            for number, device in enumerate(plan.pci_devices)
        ]
        or None,
        agent=_agent(plan),
        initialization=_cloud_init(config, plan),
        opts=opts,
    )


def _system_disk(args: NodeArgs) -> proxmox.VmLegacyDiskArgs:
    return proxmox.VmLegacyDiskArgs(
        interface="scsi0",
        datastore_id=args.config.proxmox.storage.datastore,
        size=args.plan.disk,
        file_format="raw",
        import_from=args.boot_image,
    )


def _extra_disk(disk: ExtraDisk) -> proxmox.VmLegacyDiskArgs:
    return proxmox.VmLegacyDiskArgs(
        interface=disk.interface,
        datastore_id=disk.datastore,
        size=disk.size,
        file_format="raw",
        serial=disk.serial,
        ssd=disk.ssd or None,
    )


def _efi_disk(config: ClusterConfig) -> proxmox.VmLegacyEfiDiskArgs:
    # Without enrolled keys the firmware is in setup mode, in which Talos enrolls its own.
    return proxmox.VmLegacyEfiDiskArgs(
        datastore_id=config.proxmox.storage.datastore, type="4m", file_format="raw", pre_enrolled_keys=False
    )


def _tpm_state(config: ClusterConfig) -> proxmox.VmLegacyTpmStateArgs:
    return proxmox.VmLegacyTpmStateArgs(datastore_id=config.proxmox.storage.datastore, version="v2.0")


def _network_device(card: NetworkCard) -> proxmox.VmLegacyNetworkDeviceArgs:
    return proxmox.VmLegacyNetworkDeviceArgs(
        bridge=card.bridge, model="virtio", mac_address=card.mac, vlan_id=card.vlan or None, mtu=card.mtu
    )


def _agent(plan: NodePlan) -> proxmox.VmLegacyAgentArgs:
    """On exactly where the machine's image has the agent: Proxmox would wait in vain for one that is not there."""
    waits = plan.address is None
    return proxmox.VmLegacyAgentArgs(
        enabled=plan.guest_agent,
        timeout=AGENT_TIMEOUT,
        type="virtio",
        # A static address is known; the agent is then there to shut the machine down in order.
        wait_for_ip=None if waits else proxmox.VmLegacyAgentWaitForIpArgs(disabled=True),
    )


def _cloud_init(config: ClusterConfig, plan: NodePlan) -> proxmox.VmLegacyInitializationArgs | None:
    """The drive from which the nocloud platform reads its address. Proxmox makes it through the API, without SSH."""
    if plan.address is None:
        return None
    first = proxmox.VmLegacyInitializationIpConfigArgs(
        ipv4=proxmox.VmLegacyInitializationIpConfigIpv4Args(
            address=str(plan.address.interface), gateway=str(plan.address.gateway)
        ),
        ipv6=proxmox.VmLegacyInitializationIpConfigIpv6Args(
            address=str(plan.address.interface6),
            gateway=str(plan.address.gateway6) if plan.address.gateway6 else None,
        )
        if plan.address.interface6
        else None,
    )
    return proxmox.VmLegacyInitializationArgs(
        datastore_id=config.proxmox.storage.datastore,
        interface="ide0",
        dns=proxmox.VmLegacyInitializationDnsArgs(servers=[str(server) for server in plan.address.nameservers]),
        ip_configs=[first],
    )


def _reported_address(
    args: NodeArgs, nic: str | None, macs: Sequence[str] | None, addresses: Sequence[Sequence[str]] | None
) -> str | pulumi.Output[str]:
    plan = args.plan
    address = node_address(nic, macs or (), addresses or ())
    if address is not None:
        return args.claims.claim(plan, address, nic)
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
