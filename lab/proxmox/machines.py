"""Power: turns a VM's configuration into hardware and switches it on and off.

Owns what Proxmox's start, stop, shutdown, reboot and reset do and what makes a start fail; the processes are the
hypervisor's. Somebody else's VM has power without a process.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from lab import guest_agent, hardware
from lab.datacentre import Bridge, Datacentre, Delays
from lab.dhcp import Leases, Offer, PoolExhaustedError
from lab.guest_agent import AgentError
from lab.hardware import Cidata, CidataNic, Disk, Machine, Nic
from lab.hypervisor import Hypervisor, HypervisorError
from lab.proxmox import formats, schema
from lab.proxmox.description import Schema
from lab.proxmox.drives import Drives, is_cdrom, is_cloudinit, is_drive
from lab.proxmox.errors import failure
from lab.proxmox.formats import PROPERTY_STRINGS
from lab.proxmox.guests import Config, Guest, Guests
from lab.proxmox.tasks import Task

QEMU_FAILED = "start failed: QEMU exited with code 1"
DISK_LETTERS = "abcdefghijklmnopqrstuvwxyz"
DEFAULT_SHUTDOWN_SECONDS = 60.0


@dataclass(frozen=True)
class Machines:
    datacentre: Datacentre
    guests: Guests
    drives: Drives
    leases: Leases
    hypervisor: Hypervisor
    properties: Mapping[str, Schema]  # of the call that creates a VM
    delays: Callable[[], Delays]
    dhcp_answers: Callable[[str], bool]

    def is_running(self, guest: Guest) -> bool:
        return guest.powered if guest.foreign else self.hypervisor.is_running(guest.vmid)

    async def start(self, guest: Guest, task: Task | None = None) -> None:
        if self.is_running(guest):
            raise failure(f"VM {guest.vmid} already running")
        guest.check_lock()
        if guest.config.get("template"):
            raise failure("you can't start a vm if it's a template")
        guest.apply_pending()
        if not guest.foreign:
            machine = self._machine(guest, task)
            try:
                await self.hypervisor.power_on(machine)
            except HypervisorError as error:
                raise failure(str(error)) from None
        guest.powered = True
        self.guests.save(guest)

    async def stop(self, guest: Guest) -> None:
        await self.hypervisor.power_cut(guest.vmid)
        self.power_lost(guest)

    async def shutdown(self, guest: Guest, task: Task, *, timeout: float | None, force: bool) -> None:
        """Ask the guest to power off: through its agent where the configuration has one, else by the power button."""
        if not self.is_running(guest):
            return
        if guest.foreign:
            self.power_lost(guest)
            return
        seconds = DEFAULT_SHUTDOWN_SECONDS if timeout is None else timeout
        try:
            if self.agent_enabled(guest):
                gone = await self.hypervisor.shut_down_by_agent(guest.vmid, seconds)
            else:
                gone = await self.hypervisor.press_power_button(guest.vmid, seconds)
            problem = "got timeout"
        except AgentError as error:
            gone, problem = False, f"VM {guest.vmid} qga command 'guest-ping' failed - {error}"
        if gone:
            return
        if not force:
            raise failure(f"VM quit/powerdown failed - {problem}")
        task.log(f"VM quit/powerdown failed - {problem} - terminating now with SIGTERM")
        await self.hypervisor.power_cut(guest.vmid)

    async def reboot(self, guest: Guest, task: Task, *, timeout: float | None) -> None:
        await self.shutdown(guest, task, timeout=timeout, force=False)
        await self.start(guest, task)

    async def reset(self, guest: Guest) -> None:
        await self.hypervisor.reset(guest.vmid)

    def power_lost(self, guest: Guest) -> None:
        guest.powered = False
        guest.apply_pending()
        self.guests.save(guest)

    def agent_enabled(self, guest: Guest) -> bool:
        return _agent_enabled(self.properties, guest.config)

    async def ask_agent(self, guest: Guest, command: str) -> Any:
        if not self.agent_enabled(guest):
            raise failure("No QEMU guest agent configured")
        if not self.is_running(guest):
            raise failure(f"VM {guest.vmid} is not running")
        try:
            return await guest_agent.ask(self.hypervisor.agent_channel(guest.vmid), command)
        except AgentError:
            raise failure("QEMU guest agent is not running") from None

    def refresh_dhcp(self) -> None:
        """Tell every running machine what DHCP answers now."""
        for guest in self.guests:
            if self.hypervisor.is_running(guest.vmid):
                offers = {nic["mac"]: nic["dhcp"] for nic in self._nics(guest.config)}
                hardware.write_dhcp(self.hypervisor.folder(guest.vmid), offers)

    def _machine(self, guest: Guest, task: Task | None) -> Machine:
        config, delays = guest.config, self.delays()
        disks: dict[str, Disk] = {}
        cdrom: tuple[str, hardware.Cdrom | None] | None = None
        counts = {"sd": 0, "vd": 0}
        has_cidata = False
        for option in sorted(filter(is_drive, config), key=_natural):
            if option in ("efidisk0", "tpmstate0"):
                continue
            drive = self.drives.parse(option, str(config[option]))
            if is_cdrom(drive):
                if is_cloudinit(drive):
                    has_cidata = True
                elif drive["file"] not in ("none", "cdrom"):
                    image = self.drives.storages.require(drive["file"]).image
                    inserted = hardware.Cdrom(device="/dev/sr0", image=hardware.image_file(image)) if image else None
                    cdrom = cdrom or (option, inserted)
                continue
            volume = self.drives.storages.require(drive["file"])
            family = "vd" if option.startswith("virtio") else "sd"
            device = f"/dev/{family}{DISK_LETTERS[counts[family]]}"
            counts[family] += 1
            disks[option] = Disk(
                device=device,
                path=str(self.drives.storages.disk_folder(volume.name)),
                sizeBytes=volume.size,
                transport="virtio-scsi" if option.startswith("scsi") else re.sub(r"\d+", "", option),
            )
        self._check_host(guest, task)
        devices = {option: disk["device"] for option, disk in disks.items()}
        if cdrom and cdrom[1]:
            devices[cdrom[0]] = "/dev/sr0"
        order = formats.split_list(str(config.get("boot", "")).removeprefix("order="))
        smbios = schema.parse_checked(PROPERTY_STRINGS["pve-qm-smbios1"], str(config["smbios1"]), "smbios1")
        return Machine(
            vmid=guest.vmid,
            uuid=smbios["uuid"],
            hypervisor=guest.node,
            cores=_processors(config),
            memoryMiB=memory_mib(config),
            disks=list(disks.values()),
            cdrom=cdrom[1] if cdrom else None,
            bootOrder=[devices[option] for option in order if option in devices],
            nics=self._nics(config),
            cidata=self._cidata(guest) if has_cidata else None,
            agentChannel=_agent_enabled(self.properties, config),
            delays=hardware.MachineDelays(
                bootSeconds=delays.boot, installSeconds=delays.install, serviceSeconds=delays.service
            ),
        )

    def _check_host(self, guest: Guest, task: Task | None) -> None:
        """What makes QEMU itself, or the network script that it calls, fail."""
        host = next(node for node in self.datacentre.proxmox.nodes if node.name == guest.node)
        if _processors(guest.config) > host.cpus:
            raise failure(f"MAX {host.cpus} vcpus allowed per VM on this node")
        for option, device in self._network_devices(guest.config):
            name = device.get("bridge")
            if name and name not in self._bridges:
                if task:
                    task.log(f"bridge '{name}' does not exist")
                    task.log(
                        f"kvm: -netdev type=tap,id={option},ifname=tap{guest.vmid}i{option[3:]},"
                        "script=/usr/libexec/qemu-server/pve-bridge,"
                        "downscript=/usr/libexec/qemu-server/pve-bridgedown,vhost=on: network script "
                        "/usr/libexec/qemu-server/pve-bridge failed with status 512"
                    )
                raise failure(QEMU_FAILED)

    def _nics(self, config: Config) -> list[Nic]:
        return [
            Nic(
                name=f"eth{number}",
                mac=device["macaddr"],
                bridge=device.get("bridge", ""),
                dhcp=self._offer(device),
            )
            for number, (_, device) in enumerate(self._network_devices(config))
        ]

    def _offer(self, device: Mapping[str, str]) -> Offer | None:
        bridge = self._bridges.get(device.get("bridge", ""))
        mac = device["macaddr"]
        if bridge is None or device.get("link_down") == "1" or not self.dhcp_answers(mac):
            return None
        try:
            return self.leases.offer(bridge, mac, self._macs_in_use())
        except PoolExhaustedError:
            return None  # a DHCP server without addresses is silent

    def _cidata(self, guest: Guest) -> Cidata:
        """The cloud-init drive, as far as it is made from the configuration's own fields."""
        nics: list[CidataNic] = []
        for option, device in self._network_devices(guest.config):
            text = str(guest.config.get(f"ipconfig{option[3:]}", ""))
            ip = schema.parse_checked(PROPERTY_STRINGS["pve-qm-ipconfig"], text) if text else {}
            if ip.get("ip", "dhcp") not in ("dhcp", "manual"):
                nic = CidataNic(mac=device["macaddr"], address=ip["ip"])
                if gateway := ip.get("gw"):
                    nic["gateway"] = gateway
                nics.append(nic)
        return Cidata(
            hostname=guest.name,
            nameservers=formats.split_list(str(guest.config.get("nameserver", ""))),
            nics=nics,
        )

    def _network_devices(self, config: Config) -> list[tuple[str, dict[str, str]]]:
        network_format: Mapping[str, Schema] = self.properties["net[n]"]["format"]
        options = sorted((option for option in config if re.fullmatch(r"net\d+", option)), key=_natural)
        return [(option, schema.parse_checked(network_format, str(config[option]), option)) for option in options]

    def _macs_in_use(self) -> set[str]:
        return {device["macaddr"] for guest in self.guests for _, device in self._network_devices(guest.config)}

    @property
    def _bridges(self) -> dict[str, Bridge]:
        return {bridge.name: bridge for bridge in self.datacentre.proxmox.bridges}


def memory_mib(config: Config) -> int:
    return int(str(config.get("memory", "512")).removeprefix("current="))


def _processors(config: Config) -> int:
    return int(config.get("cores", 1)) * int(config.get("sockets", 1))


def _agent_enabled(properties: Mapping[str, Schema], config: Config) -> bool:
    text = config.get("agent")
    return (
        text is not None and schema.parse_checked(properties["agent"]["format"], str(text), "agent")["enabled"] == "1"
    )


def _natural(option: str) -> tuple[int, str, int]:
    """scsi before others, scsi2 before scsi10."""
    stem = option.rstrip("0123456789")
    return (
        ("scsi", "virtio", "sata", "ide").index(stem) if stem in ("scsi", "virtio", "sata", "ide") else 9,
        stem,
        int(option[len(stem) :]),
    )
