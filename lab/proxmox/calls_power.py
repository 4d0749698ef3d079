"""The calls about a VM's power, and about the host that it runs on."""

from __future__ import annotations

from typing import Any

from lab.proxmox.accounts import ROOT
from lab.proxmox.cluster import Cluster, Request
from lab.proxmox.errors import failure, parameter_error
from lab.proxmox.guest_status import guest_status
from lab.proxmox.guests import Guest
from lab.proxmox.ha_manager import SHUTDOWN_SECONDS
from lab.proxmox.registry import call
from lab.proxmox.tasks import Task

FOR_ROOT = (
    "skiplock stateuri migratedfrom migration_type migration_network targetstorage force-cpu with-conntrack-state "
    "nets-host-mtu keepActive"
)
NOT_BUILT = ("stateuri", "migratedfrom", "machine", "force-cpu", "overrule-shutdown")


@call("GET /nodes/{node}/qemu/{vmid}/status/current")
async def status(cluster: Cluster, request: Request) -> Any:
    guest = cluster.guests.get(request.node, request.vmid)
    answer = guest_status(cluster, guest) | {"ha": _ha_status(cluster, guest)}
    answer["qmpstatus"] = "io-error" if cluster.machines.hypervisor.is_paused(guest.vmid) else answer["status"]
    if cluster.machines.agent_enabled(guest):
        answer["agent"] = 1
    return answer


@call("POST /nodes/{node}/qemu/{vmid}/status/start")
async def start(cluster: Cluster, request: Request) -> Any:
    guest = cluster.guests.get(request.node, request.vmid)
    _check_options(request)
    if cluster.ha.manages(guest.vmid):
        return _ask_manager(cluster, request, "hastart", "started")

    async def work(task: Task) -> None:
        await cluster.machines.start(guest, task, ignore_lock=request.flag("skiplock"))

    return cluster.tasks.spawn(guest.node, "qmstart", str(guest.vmid), request.user, work)


@call("POST /nodes/{node}/qemu/{vmid}/status/stop")
async def stop(cluster: Cluster, request: Request) -> Any:
    guest = cluster.guests.get(request.node, request.vmid)
    _check_options(request)
    if cluster.ha.manages(guest.vmid):
        return _ask_manager(cluster, request, "hastop", "stopped", 0)

    async def work(_: Task) -> None:
        _check_lock(request, guest)
        await cluster.machines.stop(guest)

    return cluster.tasks.spawn(guest.node, "qmstop", str(guest.vmid), request.user, work)


@call("POST /nodes/{node}/qemu/{vmid}/status/shutdown")
async def shutdown(cluster: Cluster, request: Request) -> Any:
    guest = cluster.guests.get(request.node, request.vmid)
    _check_options(request)
    timeout = _seconds(request)
    if cluster.ha.manages(guest.vmid):
        return _ask_manager(cluster, request, "hastop", "stopped", SHUTDOWN_SECONDS if timeout is None else timeout)

    async def work(task: Task) -> None:
        _check_lock(request, guest)
        await cluster.machines.shutdown(guest, task, timeout=timeout, force=request.flag("forceStop"))

    return cluster.tasks.spawn(guest.node, "qmshutdown", str(guest.vmid), request.user, work)


@call("POST /nodes/{node}/qemu/{vmid}/status/reboot")
async def reboot(cluster: Cluster, request: Request) -> Any:
    guest = cluster.guests.get(request.node, request.vmid)
    if not cluster.machines.is_running(guest):
        raise failure(f"VM {guest.vmid} not running")
    timeout = _seconds(request)

    async def work(task: Task) -> None:
        await cluster.machines.reboot(guest, task, timeout=timeout)

    return cluster.tasks.spawn(guest.node, "qmreboot", str(guest.vmid), request.user, work)


@call("POST /nodes/{node}/qemu/{vmid}/status/reset")
async def reset(cluster: Cluster, request: Request) -> Any:
    guest = cluster.guests.get(request.node, request.vmid)
    _check_options(request)
    if not cluster.machines.is_running(guest):
        raise failure(f"VM {guest.vmid} not running")

    async def work(_: Task) -> None:
        _check_lock(request, guest)
        await cluster.machines.reset(guest)

    return cluster.tasks.spawn(guest.node, "qmreset", str(guest.vmid), request.user, work)


@call("GET /nodes/{node}/qemu/{vmid}/migrate")
async def migration_preconditions(cluster: Cluster, request: Request) -> Any:
    return cluster.migration.preconditions(cluster.guests.get(request.node, request.vmid))


@call("POST /nodes/{node}/qemu/{vmid}/migrate")
async def migrate(cluster: Cluster, request: Request) -> Any:
    guest, wanted = cluster.guests.get(request.node, request.vmid), request.parameters
    target = wanted["target"]
    for option in ("force", "migration_type", "migration_network"):
        if wanted.get(option, "0") != "0" and request.user != ROOT:
            raise parameter_error({option: "Only root may use this option."})
    storages = cluster.migration.storage_map(request.user, guest, target, wanted.get("targetstorage"))
    cluster.migration.check(guest, target, storages, online=request.flag("online"))

    async def ask_manager(task: Task) -> None:
        task.log(f"Requesting HA migration for VM {guest.vmid} to node {target}")
        cluster.ha.migrate(guest, target)

    async def work(task: Task) -> None:
        cluster.migration.run(guest, target, task, storages, local_disks=request.flag("with-local-disks"))

    if cluster.ha.manages(guest.vmid):
        return cluster.tasks.spawn(guest.node, "hamigrate", str(guest.vmid), request.user, ask_manager)
    return cluster.tasks.spawn(guest.node, "qmigrate", str(guest.vmid), request.user, work)


def _ask_manager(cluster: Cluster, request: Request, kind: str, state: str, timeout: float = SHUTDOWN_SECONDS) -> str:
    """For a VM that the HA manager looks after: a task that ends once the manager knows, not once it is done."""

    async def work(task: Task) -> None:
        task.log(f"Requesting HA {kind.removeprefix('ha')} for VM {request.vmid}")
        cluster.ha.request(request.vmid, state, timeout)

    return cluster.tasks.spawn(request.node, kind, str(request.vmid), request.user, work)


def _check_options(request: Request) -> None:
    for option in FOR_ROOT.split():
        if request.parameters.get(option, "0") != "0" and request.user != ROOT:
            raise parameter_error({option: "Only root may use this option."})
    for option in NOT_BUILT:
        if request.parameters.get(option, "0") != "0":
            raise failure(f"parameter '{option}' is not built in this lab")


def _check_lock(request: Request, guest: Guest) -> None:
    if not request.flag("skiplock"):
        guest.check_lock()


def _ha_status(cluster: Cluster, guest: Guest) -> dict[str, Any]:
    if not cluster.ha.is_configured(guest.vmid):
        return {"managed": 0}
    return {"managed": 1, "state": cluster.ha.state(guest)}


def _seconds(request: Request) -> float | None:
    return float(request.parameters["timeout"]) if "timeout" in request.parameters else None
