"""Turns a VM's configuration into virtual hardware, as a start of the VM does.

Owns which part of the configuration becomes which device, and what makes the host, QEMU or the scripts that it calls
refuse it. Switching on is lab.proxmox.machines' business.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from urllib.parse import unquote

from lab import hardware
from lab.datacentre import Bridge, Datacentre, Delays, Dhcp
from lab.dhcp import Leases, Offer, PoolExhaustedError
from lab.hardware import Cdrom, Cidata, CidataNic, Disk, Firmware, Machine, Nic, PciDevice, Pluggable
from lab.proxmox import formats, schema
from lab.proxmox.config_values import memory_mib, processors
from lab.proxmox.description import Schema
from lab.proxmox.drives import Drives, is_cdrom, is_cloudinit, is_drive
from lab.proxmox.errors import failure
from lab.proxmox.formats import PROPERTY_STRINGS
from lab.proxmox.guests import Config, Guest, Guests
from lab.proxmox.mappings import Device, Mappings, devices_of_host
from lab.proxmox.tasks import Task

QEMU_FAILED = "start failed: QEMU exited with code 1"
DISK_LETTERS = "abcdefghijklmnopqrstuvwxyz"
NO_Q35 = "q35 machine model is not enabled at /usr/share/perl5/PVE/QemuServer/PCI.pm line 514."


@dataclass(frozen=True)
class Assembly:
    datacentre: Datacentre
    guests: Guests
    drives: Drives
    mappings: Mappings
    leases: Leases
    properties: Mapping[str, Schema]  # of the call that creates a VM
    delays: Callable[[], Delays]
    dhcp_answers: Callable[[int], bool]
    kubelets: str
    """The socket of the process that plays kubelets, or nothing."""

    def pluggable(self, guest: Guest) -> Pluggable:
        """The part of the hardware that can change while the machine runs."""
        cdrom = self._cdrom(guest)
        changed = Pluggable(
            disks=list(self._disks(guest).values()),
            cdrom=cdrom[1] if cdrom else None,
            nics=self.nics(guest),
        )
        if not guest.cloudinit:  # else the drive says what it said, until it is made anew
            changed["cidata"] = self._cidata(guest)
        return changed

    def machine(self, guest: Guest, task: Task | None, devices_in_use: Mapping[str, int]) -> Machine:
        """The hardware that a VM has at this start; `devices_in_use` are PCI devices by address, with their VM."""
        config, delays = guest.config, self.delays()
        disks, cdrom = self._disks(guest), self._cdrom(guest)
        self._check_host(guest, task)
        devices = {option: disk["device"] for option, disk in disks.items()}
        if cdrom and cdrom[1]:
            devices[cdrom[0]] = cdrom[1]["device"]
        order = formats.split_list(str(config.get("boot", "")).removeprefix("order="))
        smbios = schema.parse_checked(PROPERTY_STRINGS["pve-qm-smbios1"], str(config["smbios1"]), "smbios1")
        return Machine(
            vmid=guest.vmid,
            uuid=smbios["uuid"],
            hypervisor=guest.node,
            cores=processors(config),
            memoryMiB=memory_mib(config),
            disks=list(disks.values()),
            cdrom=cdrom[1] if cdrom else None,
            bootOrder=[devices[option] for option in order if option in devices],
            firmware=self._firmware(config, task),
            tpm=self._tpm(config),
            nics=self.nics(guest),
            pciDevices=self._pci_devices(guest, devices_in_use),
            cidata=self._cidata(guest),
            agentChannel=self.agent_enabled(config),
            kubelets=self.kubelets,
            delays=hardware.MachineDelays(
                bootSeconds=delays.boot, installSeconds=delays.install, serviceSeconds=delays.service
            ),
        )

    def nics(self, guest: Guest) -> list[Nic]:
        return [
            Nic(
                name=f"eth{number}",
                mac=device["macaddr"],
                bridge=device.get("bridge", ""),
                tag=int(device["tag"]) if "tag" in device else None,
                connected=device.get("link_down") != "1",
                mtu=self._mtu(device),
                dhcp=self._offer(guest.vmid, device),
            )
            for number, (_, device) in enumerate(self._network_devices(guest.config))
        ]

    def renumber(self, guest: Guest) -> None:
        """Let DHCP give the NICs of a VM other addresses from now on."""
        for _, device in self._network_devices(guest.config):
            if pool := self._pool(device):
                try:
                    self.leases.renumber(pool, device["macaddr"], self._macs_in_use())
                except PoolExhaustedError as error:
                    raise failure(str(error)) from None

    def agent_enabled(self, config: Config) -> bool:
        text = config.get("agent")
        return (
            text is not None
            and schema.parse_checked(self.properties["agent"]["format"], str(text), "agent")["enabled"] == "1"
        )

    def pci_addresses(self, guest: Guest) -> list[str]:
        """The host's devices that a VM has for itself when it runs."""
        return [device.path for option in _pci_options(guest.config) for device in self._candidates(guest, option)]

    def _disks(self, guest: Guest) -> dict[str, Disk]:
        """The hard disks, in the order in which the guest finds them."""
        disks: dict[str, Disk] = {}
        counts = {"sd": 0, "vd": 0}
        for option, drive in self._drives(guest.config):
            if is_cdrom(drive):
                continue
            volume = self.drives.storages.on(guest.node).require(drive["file"])
            family = "vd" if option.startswith("virtio") else "sd"
            disks[option] = Disk(
                device=f"/dev/{family}{DISK_LETTERS[counts[family]]}",
                path=str(self.drives.storages.disk_folder(volume.name)),
                sizeBytes=volume.size,
                transport="virtio-scsi" if option.startswith("scsi") else re.sub(r"\d+", "", option),
                serial=unquote(drive.get("serial", "")),
                rotational=drive.get("ssd") != "1",
            )
            counts[family] += 1
        return disks

    def _cdrom(self, guest: Guest) -> tuple[str, Cdrom | None] | None:
        """The first CD drive, with what is in it."""
        for option, drive in self._drives(guest.config):
            if is_cdrom(drive) and not is_cloudinit(drive) and drive["file"] not in ("none", "cdrom"):
                image = self.drives.storages.on(guest.node).require(drive["file"]).image
                return option, Cdrom(device="/dev/sr0", image=hardware.image_file(image)) if image else None
        return None

    def _drives(self, config: Config) -> list[tuple[str, dict[str, str]]]:
        options = sorted(
            (option for option in config if is_drive(option) and option not in ("efidisk0", "tpmstate0")), key=_natural
        )
        return [(option, self.drives.parse(option, str(config[option]))) for option in options]

    def _firmware(self, config: Config, task: Task | None) -> Firmware:
        """OVMF knows Secure Boot only with the larger variable store."""
        if config.get("bios", "seabios") != "ovmf":
            return Firmware(kind="seabios", secureBoot=False, efiDisk=False, keys="none")
        if "efidisk0" not in config:
            if task:
                task.warn("no efidisk configured! Using temporary efivars disk.")
            return Firmware(kind="ovmf", secureBoot=False, efiDisk=False, keys="none")
        disk = self.drives.parse("efidisk0", str(config["efidisk0"]))
        enrolled = disk.get("pre-enrolled-keys") == "1"
        return Firmware(
            kind="ovmf",
            secureBoot=disk.get("efitype") == "4m",
            efiDisk=True,
            keys="microsoft" if enrolled else "none",
        )

    def _tpm(self, config: Config) -> str:
        if "tpmstate0" not in config:
            return ""
        return self.drives.parse("tpmstate0", str(config["tpmstate0"])).get("version", "v1.2")

    def _pci_devices(self, guest: Guest, in_use: Mapping[str, int]) -> list[PciDevice]:
        given: list[PciDevice] = []
        for option in _pci_options(guest.config):
            settings, candidates = self._pci_settings(guest, option), self._candidates(guest, option)
            if not candidates and "mapping" in settings:
                raise failure(f"PCI device mapping not found for '{settings['mapping']}'")
            if not candidates:
                raise failure(f"no PCI device found for '{settings.get('host', '')}'")
            if settings.get("pcie") == "1" and not self._is_q35(guest.config):
                raise failure(NO_Q35)
            taken = [device["address"] for device in given]
            free = [device for device in candidates if device.path not in in_use and device.path not in taken]
            if not free and len(candidates) > 1:
                raise failure(f"could not find a free device for '{option}'")
            if not free and (path := candidates[0].path) in taken:
                raise failure(f"device '{path}' assigned more than once")
            if not free:
                raise failure(f"PCI device '{path}' already in use by VMID '{in_use[path]}'")
            given.append(PciDevice(address=free[0].path, id=free[0].values["id"]))
        return given

    def mapping_of(self, guest: Guest, option: str) -> str | None:
        """The mapping that a PCI device of a VM names, where the site has it."""
        name = self._pci_settings(guest, option).get("mapping")
        return name if name and self.mappings.find("pci", name) else None

    def is_unmapped(self, guest: Guest, option: str) -> bool:
        """Whether a PCI device is named by its place in one host."""
        return "mapping" not in self._pci_settings(guest, option)

    def missing_bridges(self, config: Config, node: str) -> list[str]:
        """The bridges that network devices name and a host does not have."""
        named = [device["bridge"] for _, device in self._network_devices(config) if device.get("bridge")]
        return [name for name in named if name not in self._bridges or node not in self._bridges[name].addresses]

    def _pci_settings(self, guest: Guest, option: str) -> dict[str, str]:
        return schema.parse_checked(PROPERTY_STRINGS["pve-qm-hostpci"], str(guest.config[option]), option)

    def _candidates(self, guest: Guest, option: str) -> list[Device]:
        """The devices of the VM's host that may serve for a PCI device."""
        settings = self._pci_settings(guest, option)
        if mapping := settings.get("mapping"):
            return [device for device in self.mappings.devices("pci", mapping) if device.node == guest.node]
        named = devices_of_host(settings.get("host", ""))
        host = next(node for node in self.datacentre.proxmox.nodes if node.name == guest.node)
        return [
            Device(device.path, {"path": device.path, "id": device.id, "node": guest.node})
            for device in host.pci
            if device.path in named or device.path.rpartition(".")[0] in named
        ]

    def _check_host(self, guest: Guest, task: Task | None) -> None:
        """What makes QEMU itself, or the network script that it calls, fail."""
        host = next(node for node in self.datacentre.proxmox.nodes if node.name == guest.node)
        if processors(guest.config) > host.cpus:
            raise failure(f"MAX {host.cpus} vcpus allowed per VM on this node")
        for option, device in self._network_devices(guest.config):
            name = device.get("bridge")
            if not name:
                continue
            if self.missing_bridges({option: guest.config[option]}, guest.node):
                if task:
                    task.log(f"bridge '{name}' does not exist")
                    task.log(
                        f"kvm: -netdev type=tap,id={option},ifname=tap{guest.vmid}i{option[3:]},"
                        "script=/usr/libexec/qemu-server/pve-bridge,"
                        "downscript=/usr/libexec/qemu-server/pve-bridgedown,vhost=on: network script "
                        "/usr/libexec/qemu-server/pve-bridge failed with status 512"
                    )
                raise failure(QEMU_FAILED)
            if device["model"] == "virtio" and (mtu := int(device.get("mtu", 1))) != 1:
                if mtu < formats.SMALLEST_MTU:
                    raise failure(f"netdev {option}: MTU '{mtu}' is smaller than the IP minimum MTU '576'")
                if mtu > (most := self._bridges[name].mtu):
                    raise failure(f"netdev {option}: MTU '{mtu}' is bigger than the bridge MTU '{most}'")

    def _mtu(self, device: Mapping[str, str]) -> int:
        """A virtio NIC has its bridge's MTU unless told otherwise; no other card can be told."""
        bridge = self._bridges.get(device.get("bridge", ""))
        if bridge is None or device["model"] != "virtio":
            return formats.USUAL_MTU
        wanted = int(device.get("mtu", 1))
        return bridge.mtu if wanted == 1 else wanted

    def _offer(self, vmid: int, device: Mapping[str, str]) -> Offer | None:
        pool, mac = self._pool(device), device["macaddr"]
        if pool is None or device.get("link_down") == "1" or not self.dhcp_answers(vmid):
            return None
        try:
            return self.leases.offer(pool, mac, self._macs_in_use())
        except PoolExhaustedError:
            return None  # a DHCP server without addresses is silent

    def _pool(self, device: Mapping[str, str]) -> Dhcp | None:
        """The DHCP server of the network that a network device is in."""
        bridge = self._bridges.get(device.get("bridge", ""))
        return bridge.dhcp_of(int(device["tag"]) if "tag" in device else None) if bridge else None

    def _cidata(self, guest: Guest) -> Cidata | None:
        """The cloud-init drive, where the VM has one, as far as it is made from the configuration's own fields."""
        if not any(is_cloudinit(drive) for _, drive in self._drives(guest.config)):
            return None
        return Cidata(
            hostname=guest.name,
            nameservers=formats.split_list(str(guest.config.get("nameserver", ""))),
            nics=[
                _cidata_nic(device["macaddr"], str(guest.config[configured]))
                for option, device in self._network_devices(guest.config)
                if (configured := f"ipconfig{option[3:]}") in guest.config
            ],
        )

    def _is_q35(self, config: Config) -> bool:
        machine = schema.parse_checked(self.properties["machine"]["format"], str(config.get("machine", "")), "machine")
        return "q35" in machine.get("type", "")

    def _network_devices(self, config: Config) -> list[tuple[str, dict[str, str]]]:
        network_format: Mapping[str, Schema] = self.properties["net[n]"]["format"]
        options = sorted((option for option in config if re.fullmatch(r"net\d+", option)), key=_natural)
        return [(option, schema.parse_checked(network_format, str(config[option]), option)) for option in options]

    def _macs_in_use(self) -> set[str]:
        return {device["macaddr"] for guest in self.guests for _, device in self._network_devices(guest.config)}

    @property
    def _bridges(self) -> dict[str, Bridge]:
        return {bridge.name: bridge for bridge in self.datacentre.proxmox.bridges}


def _pci_options(config: Config) -> list[str]:
    return sorted((option for option in config if re.fullmatch(r"hostpci\d+", option)), key=_natural)


def _cidata_nic(mac: str, text: str) -> CidataNic:
    """What Proxmox writes for a NIC that has an `ipconfig`; the drive says nothing of the others."""
    ip = schema.parse_checked(PROPERTY_STRINGS["pve-qm-ipconfig"], text)
    nic = CidataNic(mac=mac)
    if (address := ip.get("ip", "manual")) != "manual":
        nic["address"] = address
        if gateway := ip.get("gw"):
            nic["gateway"] = gateway
    if (address6 := ip.get("ip6", "manual")) not in ("manual", "auto", "dhcp"):
        nic["address6"] = address6
        if gateway6 := ip.get("gw6"):
            nic["gateway6"] = gateway6
    return nic


def _natural(option: str) -> tuple[int, str, int]:
    """scsi before others, scsi2 before scsi10."""
    stem = option.rstrip("0123456789")
    return (
        ("scsi", "virtio", "sata", "ide").index(stem) if stem in ("scsi", "virtio", "sata", "ide") else 9,
        stem,
        int(option[len(stem) :]),
    )
