"""The calls under /nodes/{node}/qemu: VMs from creation to removal."""

from __future__ import annotations

from typing import Any

from lab.proxmox import formats
from lab.proxmox.assembly import memory_mib, processors
from lab.proxmox.cluster import Cluster, Request
from lab.proxmox.drives import is_cdrom, is_drive
from lab.proxmox.errors import ApiError, failure, parameter_error
from lab.proxmox.guests import Guest
from lab.proxmox.registry import call
from lab.proxmox.tasks import Task

MIB = 1 << 20


def guest_status(cluster: Cluster, guest: Guest) -> dict[str, Any]:
    """What Proxmox tells of a VM in lists and in its status."""
    running = cluster.machines.is_running(guest)
    largest = 0
    if boot_disk := _first_disk(cluster, guest):
        largest = (
            formats.parse_size(
                cluster.configuration.drives.parse(boot_disk, str(guest.config[boot_disk])).get("size", "0")
            )
            or 0
        )
    status: dict[str, Any] = {
        "vmid": guest.vmid,
        "name": guest.name,
        "status": "running" if running else "stopped",
        "cpus": processors(guest.config),
        "maxmem": memory_mib(guest.config) * MIB,
        "maxdisk": largest,
        "mem": memory_mib(guest.config) * MIB // 4 if running else 0,
        "disk": 0,
        "cpu": 0.01 if running else 0,
        "uptime": cluster.machines.hypervisor.uptime(guest.vmid) if running else 0,
        "netin": 0,
        "netout": 0,
        "diskread": 0,
        "diskwrite": 0,
    }
    if running:
        status["pid"] = cluster.machines.hypervisor.pid(guest.vmid) or 1
    for key in ("tags", "lock", "template"):
        if key in guest.config:
            status[key] = guest.config[key]
    return status


@call("GET /nodes/{node}/qemu")
async def list_guests(cluster: Cluster, request: Request) -> Any:
    return [
        guest_status(cluster, guest)
        for guest in cluster.guests
        if guest.node == request.node and cluster.access.allowed(request.user, f"/vms/{guest.vmid}", ["VM.Audit"])
    ]


@call("POST /nodes/{node}/qemu")
async def create(cluster: Cluster, request: Request) -> Any:
    vmid, node = request.vmid, request.node
    options = cluster.configuration.check_creation(request.user, vmid, request.parameters)
    guest = cluster.guests.create_and_lock(vmid, node)

    async def work(task: Task) -> None:
        try:
            cluster.configuration.create(guest, options, task)
        except ApiError as error:
            cluster.guests.remove(guest)
            raise ApiError(error.status, f"unable to create VM {vmid} - {error.message}", error.errors) from None
        guest.pool = request.parameters.get("pool")
        cluster.guests.save(guest)

    return cluster.tasks.spawn(node, "qmcreate", str(vmid), request.user, work)


@call("DELETE /nodes/{node}/qemu/{vmid}")
async def destroy(cluster: Cluster, request: Request) -> Any:
    guest = cluster.guests.get(request.node, request.vmid)
    if request.flag("skiplock"):
        raise parameter_error({"skiplock": "Only root may use this option."})

    def check() -> None:
        guest.check_protection(f"can't remove VM {guest.vmid}")
        if cluster.ha.is_configured(guest.vmid) and not request.flag("purge"):
            raise failure(f"unable to remove VM {guest.vmid} - used in HA resources and purge parameter not set.")
        if cluster.machines.is_running(guest):
            raise failure(f"VM {guest.vmid} is running - destroy failed")

    async def work(task: Task) -> None:
        check()
        guest.check_lock()
        cluster.storages.free_all_of(guest.vmid)
        if request.flag("purge"):
            task.log(f"purging VM {guest.vmid} from related configurations..")
            cluster.ha.configuration.remove_resource(f"vm:{guest.vmid}", purge=True)
        cluster.guests.remove(guest)
        if not guest.foreign:
            cluster.machines.hypervisor.erase(guest.vmid)

    check()
    return cluster.tasks.spawn(guest.node, "qmdestroy", str(guest.vmid), request.user, work)


@call("GET /nodes/{node}/qemu/{vmid}/config")
async def read_config(cluster: Cluster, request: Request) -> Any:
    guest = cluster.guests.get(request.node, request.vmid)
    if "snapshot" in request.parameters:
        raise failure(f"snapshot '{request.parameters['snapshot']}' does not exist")
    config = guest.config if request.flag("current") else guest.effective()
    shown = {key: value for key, value in config.items() if key != "cipassword"}
    if "cipassword" in config:
        shown["cipassword"] = "**********"
    return {**shown, "digest": guest.digest}


@call("GET /nodes/{node}/qemu/{vmid}/pending")
async def read_pending(cluster: Cluster, request: Request) -> Any:
    guest = cluster.guests.get(request.node, request.vmid)
    rows: list[dict[str, Any]] = []
    for key in sorted({*guest.config, *guest.pending}):
        row: dict[str, Any] = {"key": key}
        if key in guest.config:
            row["value"] = guest.config[key]
        if key in guest.pending:
            row["pending"] = guest.pending[key]
        if key in guest.pending_delete:
            row["delete"] = 1
        rows.append(row)
    return rows


@call("PUT /nodes/{node}/qemu/{vmid}/config")
async def update(cluster: Cluster, request: Request) -> Any:
    guest = cluster.guests.get(request.node, request.vmid)
    cluster.configuration.update(request.user, guest, request.parameters, running=cluster.machines.is_running(guest))
    return None


@call("POST /nodes/{node}/qemu/{vmid}/config")
async def update_in_background(cluster: Cluster, request: Request) -> Any:
    guest = cluster.guests.get(request.node, request.vmid)

    async def work(_: Task) -> None:
        cluster.configuration.update(
            request.user, guest, request.parameters, running=cluster.machines.is_running(guest)
        )

    return cluster.tasks.spawn(guest.node, "qmconfig", str(guest.vmid), request.user, work)


@call("PUT /nodes/{node}/qemu/{vmid}/resize")
async def resize(cluster: Cluster, request: Request) -> Any:
    guest = cluster.guests.get(request.node, request.vmid)
    option, wanted = request.parameters["disk"], request.parameters["size"]
    if option not in guest.config:
        raise failure(f"disk '{option}' does not exist")
    drives = cluster.configuration.drives
    drive = drives.parse(option, str(guest.config[option]))
    if is_cdrom(drive):
        raise failure("cannot resize a cdrom")
    cluster.access.check(request.user, f"/storage/{drive['file'].partition(':')[0]}", ["Datastore.AllocateSpace"])
    before = cluster.storages.on(guest.node).require(drive["file"]).size
    size = formats.parse_size(wanted.removeprefix("+"))
    assert size is not None, "the schema's pattern has let a wrong size through"
    size = before + size if wanted.startswith("+") else size
    if size < before:
        raise failure("shrinking disks is not supported")

    async def work(_: Task) -> None:
        guest.check_lock()
        cluster.storages.on(guest.node).resize(drive["file"], size)
        guest.config[option] = drives.render(option, {**drive, "size": formats.format_size(size)})
        cluster.guests.save(guest)

    return cluster.tasks.spawn(guest.node, "resize", str(guest.vmid), request.user, work)


@call("PUT /nodes/{node}/qemu/{vmid}/cloudinit")
async def regenerate_cloudinit(cluster: Cluster, request: Request) -> Any:
    cluster.guests.get(request.node, request.vmid)  # a machine reads its cloud-init data whenever it powers on
    return None


@call("GET /nodes/{node}/qemu/{vmid}/status/current")
async def status(cluster: Cluster, request: Request) -> Any:
    guest = cluster.guests.get(request.node, request.vmid)
    answer = guest_status(cluster, guest) | {"ha": _ha_status(cluster, guest)}
    answer["qmpstatus"] = answer["status"]
    if cluster.machines.agent_enabled(guest):
        answer["agent"] = 1
    return answer


@call("POST /nodes/{node}/qemu/{vmid}/status/start")
async def start(cluster: Cluster, request: Request) -> Any:
    guest = cluster.guests.get(request.node, request.vmid)
    if cluster.ha.manages(guest.vmid):
        return _ask_manager(cluster, request, "hastart", "started")

    async def work(task: Task) -> None:
        await cluster.machines.start(guest, task)

    return cluster.tasks.spawn(guest.node, "qmstart", str(guest.vmid), request.user, work)


@call("POST /nodes/{node}/qemu/{vmid}/status/stop")
async def stop(cluster: Cluster, request: Request) -> Any:
    guest = cluster.guests.get(request.node, request.vmid)
    if cluster.ha.manages(guest.vmid):
        return _ask_manager(cluster, request, "hastop", "stopped")

    async def work(_: Task) -> None:
        await cluster.machines.stop(guest)

    return cluster.tasks.spawn(guest.node, "qmstop", str(guest.vmid), request.user, work)


@call("POST /nodes/{node}/qemu/{vmid}/status/shutdown")
async def shutdown(cluster: Cluster, request: Request) -> Any:
    guest = cluster.guests.get(request.node, request.vmid)
    timeout = _seconds(request)
    if cluster.ha.manages(guest.vmid):
        return _ask_manager(cluster, request, "hashutdown", "stopped")

    async def work(task: Task) -> None:
        await cluster.machines.shutdown(guest, task, timeout=timeout, force=request.flag("forceStop"))

    return cluster.tasks.spawn(guest.node, "qmshutdown", str(guest.vmid), request.user, work)


@call("POST /nodes/{node}/qemu/{vmid}/status/reboot")
async def reboot(cluster: Cluster, request: Request) -> Any:
    guest = cluster.guests.get(request.node, request.vmid)
    if not cluster.machines.is_running(guest):
        raise failure("VM is not running")
    timeout = _seconds(request)

    async def work(task: Task) -> None:
        await cluster.machines.reboot(guest, task, timeout=timeout)

    return cluster.tasks.spawn(guest.node, "qmreboot", str(guest.vmid), request.user, work)


@call("POST /nodes/{node}/qemu/{vmid}/status/reset")
async def reset(cluster: Cluster, request: Request) -> Any:
    guest = cluster.guests.get(request.node, request.vmid)
    if not cluster.machines.is_running(guest):
        raise failure(f"VM {guest.vmid} not running")

    async def work(_: Task) -> None:
        await cluster.machines.reset(guest)

    return cluster.tasks.spawn(guest.node, "qmreset", str(guest.vmid), request.user, work)


@call("POST /nodes/{node}/qemu/{vmid}/migrate")
async def migrate(cluster: Cluster, request: Request) -> Any:
    guest, target = cluster.guests.get(request.node, request.vmid), request.parameters["target"]
    if request.flag("force"):
        raise parameter_error({"force": "Only root may use this option."})
    if "targetstorage" in request.parameters:
        raise failure("parameter 'targetstorage' is not built in this lab")
    cluster.migration.check(guest, target, online=request.flag("online"))

    async def ask_manager(task: Task) -> None:
        task.log(f"Requesting HA migration for VM {guest.vmid} to node {target}")
        cluster.ha.migrate(guest, target)

    async def work(task: Task) -> None:
        cluster.migration.run(guest, target, task, local_disks=request.flag("with-local-disks"))

    if cluster.ha.manages(guest.vmid):
        return cluster.tasks.spawn(guest.node, "hamigrate", str(guest.vmid), request.user, ask_manager)
    return cluster.tasks.spawn(guest.node, "qmigrate", str(guest.vmid), request.user, work)


@call("GET /nodes/{node}/qemu/{vmid}/agent/network-get-interfaces")
async def agent_interfaces(cluster: Cluster, request: Request) -> Any:
    guest = cluster.guests.get(request.node, request.vmid)
    return {"result": await cluster.machines.ask_agent(guest, "guest-network-get-interfaces")}


@call("GET /nodes/{node}/qemu/{vmid}/agent/info")
async def agent_info(cluster: Cluster, request: Request) -> Any:
    guest = cluster.guests.get(request.node, request.vmid)
    return {"result": await cluster.machines.ask_agent(guest, "guest-info")}


@call("POST /nodes/{node}/qemu/{vmid}/agent/ping")
async def agent_ping(cluster: Cluster, request: Request) -> Any:
    guest = cluster.guests.get(request.node, request.vmid)
    return {"result": await cluster.machines.ask_agent(guest, "guest-ping")}


def _ask_manager(cluster: Cluster, request: Request, kind: str, state: str) -> str:
    """For a VM that the HA manager looks after: a task that ends once the manager knows, not once it is done."""

    async def work(task: Task) -> None:
        task.log(f"Requesting HA {kind.removeprefix('ha')} for VM {request.vmid}")
        cluster.ha.request(request.vmid, state)

    return cluster.tasks.spawn(request.node, kind, str(request.vmid), request.user, work)


def _ha_status(cluster: Cluster, guest: Guest) -> dict[str, Any]:
    if not cluster.ha.is_configured(guest.vmid):
        return {"managed": 0}
    return {"managed": 1, "state": cluster.ha.state(guest)}


def _seconds(request: Request) -> float | None:
    return float(request.parameters["timeout"]) if "timeout" in request.parameters else None


def _first_disk(cluster: Cluster, guest: Guest) -> str | None:
    """The first disk of the boot order, by whose size Proxmox tells a VM's."""
    order = formats.split_list(str(guest.config.get("boot", "")).removeprefix("order="))
    for option in order:
        if is_drive(option) and option in guest.config:
            drive = cluster.configuration.drives.parse(option, str(guest.config[option]))
            if not is_cdrom(drive):
                return option
    return None
