"""One Proxmox cluster: its parts, put together. Every call handler works on this and on nothing else."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Any

from lab.datacentre import Datacentre, Delays, Node
from lab.dhcp import Leases
from lab.directory import LabDirectory
from lab.faults.ledger import Ledger
from lab.hypervisor import Hypervisor
from lab.internet import Fetch
from lab.proxmox import ha
from lab.proxmox.access import Access
from lab.proxmox.accounts import Accounts
from lab.proxmox.assembly import Assembly
from lab.proxmox.cloning import Cloning
from lab.proxmox.config_update import ConfigUpdate
from lab.proxmox.config_values import ConfigValues
from lab.proxmox.copies import DiskCopies
from lab.proxmox.description import Description
from lab.proxmox.disk_moves import DiskMoves
from lab.proxmox.drives import Drives
from lab.proxmox.errors import ApiError, failure
from lab.proxmox.guest_config import GuestConfiguration
from lab.proxmox.guests import Guests
from lab.proxmox.ha_manager import HaManager
from lab.proxmox.hotplug import Hotplug
from lab.proxmox.machines import Machines
from lab.proxmox.mappings import Mappings
from lab.proxmox.migration import Migration
from lab.proxmox.pending import PendingChanges
from lab.proxmox.pools import Pools
from lab.proxmox.settings import Settings
from lab.proxmox.snapshots import Snapshots
from lab.proxmox.storage import Storages
from lab.proxmox.tasks import Tasks
from lab.proxmox.tickets import Tickets
from lab.proxmox.uploads import Upload

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Request:
    """One verified call: who, and with what."""

    user: str
    parameters: dict[str, str]
    upload: Upload | None = None

    @property
    def node(self) -> str:
        return self.parameters["node"]

    @property
    def vmid(self) -> int:
        return int(self.parameters["vmid"])

    def flag(self, name: str) -> bool:
        return self.parameters.get(name) == "1"


@dataclass(frozen=True)
class Cluster:
    datacentre: Datacentre
    description: Description
    access: Access
    settings: Settings
    mappings: Mappings
    storages: Storages
    drives: Drives
    guests: Guests
    pools: Pools
    tasks: Tasks
    machines: Machines
    configuration: GuestConfiguration
    updates: ConfigUpdate
    cloning: Cloning
    disk_moves: DiskMoves
    snapshots: Snapshots
    migration: Migration
    ha: HaManager
    fetch: Fetch
    ledger: Ledger

    def node(self, name: str) -> Node:
        for node in self.datacentre.proxmox.nodes:
            if node.name == name:
                return node
        raise failure(
            f"hostname lookup '{name}' failed - failed to get address info for: {name}: Name or service not known"
        )

    def members_of(self, pool: str) -> list[Any]:
        return [guest for guest in self.guests if guest.pool == pool]

    async def power_on_what_ran(self) -> None:
        """After a power cut of the whole site, what had power gets it back."""
        for guest in self.guests:
            if guest.powered and not guest.foreign:
                try:
                    await self.machines.start(guest)
                except ApiError as error:
                    log.error("VM %s ran before and does not start again: %s", guest.vmid, error.message)
                    self.machines.power_lost(guest)
        self.ha.look()


def build(
    directory: LabDirectory,
    datacentre: Datacentre,
    description: Description,
    hypervisor: Hypervisor,
    ledger: Ledger,
    fetch: Fetch,
) -> Cluster:
    site = datacentre.proxmox
    found = description.find("POST", f"/nodes/{site.nodes[0].name}/qemu")
    assert found is not None, "the API description has no call that creates a VM"
    properties = found[0].parameters["properties"]

    def delays() -> Delays:
        usual, seconds = datacentre.delays, ledger.faults.seconds
        now = {step: seconds(step) for step in Delays.model_fields}
        return usual.model_copy(update={step: value for step, value in now.items() if value is not None})

    accounts = Accounts(directory.proxmox / "access.json", site, directory.token_secret(), directory.root_password())
    access = Access(accounts, Tickets(directory.ticket_key()), lambda: ledger.faults)
    storages = Storages(directory, site, lambda: ledger.faults)
    guests = Guests(directory.proxmox / "guests", site, lambda: ledger.faults.occupied_vmids)
    pools = Pools(directory.proxmox / "pools.json", site)
    drives = Drives(properties, storages, access)
    mappings = Mappings(directory.proxmox / "mappings.json", site)
    values = ConfigValues(properties, lambda: ledger.faults.mac_is_repeated)
    assembly = Assembly(
        datacentre=datacentre,
        guests=guests,
        drives=drives,
        mappings=mappings,
        leases=Leases(directory.leases),
        properties=properties,
        delays=delays,
        dhcp_answers=lambda vmid: ledger.faults.dhcp_answers(vmid),
        kubelets=str(directory.kubelets_socket) if datacentre.kubernetes else "",
    )
    pending = PendingChanges(guests, drives)
    machines = Machines(guests, assembly, hypervisor, pending, lambda: ledger.faults)
    migration = Migration(datacentre, guests, machines, drives)
    tasks = Tasks(directory.proxmox / "tasks", lambda: delays().task, ledger)
    configuration = ha.Configuration(directory.proxmox / "ha.json", [node.name for node in site.nodes])
    manager = HaManager(datacentre, configuration, guests, machines, migration, tasks)

    def pool_of(vmid: int) -> str | None:
        guest = guests.find(vmid)
        return guest.pool if guest else None

    def power_lost(vmid: int) -> None:
        guest = guests.find(vmid)
        if guest is not None:
            machines.power_lost(guest)
            manager.look()

    access.pool_of = pool_of
    hypervisor.on_power_lost = power_lost
    updates = ConfigUpdate(values, drives, access, pending, Hotplug(properties, drives, pending))
    copies = DiskCopies(drives, lambda: delays().task)
    return Cluster(
        datacentre=datacentre,
        description=description,
        access=access,
        settings=Settings(directory.proxmox / "settings.json"),
        mappings=mappings,
        storages=storages,
        drives=drives,
        guests=guests,
        pools=pools,
        tasks=tasks,
        machines=machines,
        migration=migration,
        ha=manager,
        fetch=fetch,
        ledger=ledger,
        configuration=GuestConfiguration(values, guests, drives, access, pools.__contains__),
        updates=updates,
        cloning=Cloning(
            values=values,
            guests=guests,
            drives=drives,
            access=access,
            copies=copies,
            is_running=machines.is_running,
            pool_exists=pools.__contains__,
            node_exists=[node.name for node in site.nodes].__contains__,
        ),
        disk_moves=DiskMoves(values, guests, drives, copies, updates, machines.is_running),
        snapshots=Snapshots(guests, drives, machines),
    )
