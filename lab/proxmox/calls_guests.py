"""The calls about VMs as such: which there are, making and removing them, their configuration."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lab.proxmox.accounts import ROOT
from lab.proxmox.cluster import Cluster, Request
from lab.proxmox.errors import ApiError, failure, parameter_error
from lab.proxmox.guest_status import guest_status
from lab.proxmox.guests import Config, Guest
from lab.proxmox.registry import call
from lab.proxmox.tasks import Task

MASK = "**********"
SUBDIRECTORIES = (
    "config cloudinit pending status unlink vncproxy termproxy migrate resize move rrd rrddata monitor agent snapshot "
    "spiceproxy sendkey firewall mtunnel remote_migrate"
)


@call("GET /nodes/{node}/qemu")
async def list_guests(cluster: Cluster, request: Request) -> Any:
    return [
        guest_status(cluster, guest)
        for guest in cluster.guests
        if guest.node == request.node and cluster.access.allowed(request.user, f"/vms/{guest.vmid}", ["VM.Audit"])
    ]


@call("GET /nodes/{node}/qemu/{vmid}")
async def index(_: Cluster, __: Request) -> Any:
    return [{"subdir": name} for name in SUBDIRECTORIES.split()]


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
        if request.flag("ha-managed"):
            task.log("Add as HA resource")
            state = "started" if request.flag("start") else "stopped"
            cluster.ha.configuration.add_resource(f"vm:{vmid}", {"state": state})
            cluster.ha.look()
        if request.flag("start"):
            task.log("Execute autostart")
            cluster.tasks.spawn(node, "qmstart", str(vmid), request.user, lambda inner: start(inner))

    async def start(task: Task) -> None:
        await cluster.machines.start(guest, task)

    return cluster.tasks.spawn(node, "qmcreate", str(vmid), request.user, work)


@call("DELETE /nodes/{node}/qemu/{vmid}")
async def destroy(cluster: Cluster, request: Request) -> Any:
    guest = cluster.guests.get(request.node, request.vmid)
    if request.flag("skiplock") and request.user != ROOT:
        raise parameter_error({"skiplock": "Only root may use this option."})

    def check() -> None:
        guest.check_protection(f"can't remove VM {guest.vmid}")
        if cluster.ha.is_configured(guest.vmid) and not request.flag("purge"):
            raise failure(f"unable to remove VM {guest.vmid} - used in HA resources and purge parameter not set.")
        if cluster.machines.is_running(guest):
            raise failure(f"VM {guest.vmid} is running - destroy failed")

    async def work(task: Task) -> None:
        check()
        if not request.flag("skiplock"):
            guest.check_lock()
        _free_disks(cluster, guest, unreferenced=request.flag("destroy-unreferenced-disks"), task=task)
        if request.flag("purge"):
            task.log(f"purging VM {guest.vmid} from related configurations..")
            if cluster.ha.is_configured(guest.vmid):
                cluster.ha.configuration.remove_resource(f"vm:{guest.vmid}", purge=True)
                task.log(f"NOTE: removed VM {guest.vmid} from HA resource configuration.")
        cluster.guests.remove(guest)
        if not guest.foreign and not cluster.storages.owned_by(guest.vmid):
            cluster.machines.hypervisor.erase(guest.vmid)

    check()
    return cluster.tasks.spawn(guest.node, "qmdestroy", str(guest.vmid), request.user, work)


@call("GET /nodes/{node}/qemu/{vmid}/config")
async def read_config(cluster: Cluster, request: Request) -> Any:
    guest = cluster.guests.get(request.node, request.vmid)
    if "snapshot" in request.parameters:
        if request.flag("current"):
            raise parameter_error(
                dict.fromkeys(("snapshot", "current"), "cannot use 'snapshot' parameter with 'current'")
            )
        return masked(cluster.snapshots.get(guest, request.parameters["snapshot"]))
    config = guest.config if request.flag("current") else guest.effective()
    return {**masked(config), "digest": guest.digest}


@call("GET /nodes/{node}/qemu/{vmid}/pending")
async def read_pending(cluster: Cluster, request: Request) -> Any:
    guest = cluster.guests.get(request.node, request.vmid)
    config, pending = masked(guest.config), masked(guest.pending)
    rows: list[dict[str, Any]] = []
    for key in sorted({*config, *pending}):
        row: dict[str, Any] = {"key": key}
        if key in config:
            row["value"] = config[key]
        if key in pending:
            row["pending"] = pending[key]
        if key in guest.pending_delete:
            row["delete"] = 2 if guest.pending_delete[key] else 1
        rows.append(row)
    return rows


@call("PUT /nodes/{node}/qemu/{vmid}/config")
async def update(cluster: Cluster, request: Request) -> Any:
    _update(cluster, request, request.parameters)


@call("PUT /nodes/{node}/qemu/{vmid}/unlink")
async def unlink(cluster: Cluster, request: Request) -> Any:
    parameters = {name: value for name, value in request.parameters.items() if name != "idlist"}
    _update(cluster, request, {**parameters, "delete": request.parameters["idlist"]})


@call("POST /nodes/{node}/qemu/{vmid}/config")
async def update_in_background(cluster: Cluster, request: Request) -> Any:
    """A task; with `background_delay`, nothing where it ends within that many seconds."""
    guest = cluster.guests.get(request.node, request.vmid)
    wanted = cluster.updates.check(request.user, guest, request.parameters)

    async def work(task: Task) -> None:
        cluster.updates.run(guest, wanted, running=cluster.machines.is_running(guest), task=task)
        cluster.machines.plug(guest)

    upid = cluster.tasks.spawn(guest.node, "qmconfig", str(guest.vmid), request.user, work)
    if "background_delay" in request.parameters:
        task = await cluster.tasks.wait(upid, float(request.parameters["background_delay"]))
        if task is not None and task.exitstatus == "OK":
            return None
        if task is not None:
            raise failure(f"failed to update VM {guest.vmid}: {task.exitstatus}")
    return upid


def masked(config: Config) -> Config:
    """A configuration as everybody may see it."""
    return {**config, "cipassword": MASK} if "cipassword" in config else dict(config)


def _update(cluster: Cluster, request: Request, parameters: Mapping[str, str]) -> None:
    guest = cluster.guests.get(request.node, request.vmid)
    wanted = cluster.updates.check(request.user, guest, parameters)
    cluster.updates.run(guest, wanted, running=cluster.machines.is_running(guest))
    cluster.machines.plug(guest)


def _free_disks(cluster: Cluster, guest: Guest, *, unreferenced: bool, task: Task) -> None:
    """Remove the volumes that a VM owns and its configuration names; where wanted, those that nothing names too."""
    owned = cluster.storages.owned_by(guest.vmid)
    if guest.is_template:
        for _, volume in owned:
            if cluster.storages.linked_clones_of(volume.name):
                raise failure(f"base volume '{volume.name.id}' is still in use by linked cloned")
    configs = (guest.config, guest.pending, *guest.snapshots.values())
    named = {drive["file"] for config in configs for _, drive in cluster.drives.of(config, unused=True)}
    for host, volume in owned:
        if unreferenced or volume.name.id in named:
            try:
                host.free(volume.name.id)
            except ApiError as error:
                task.warn(f"Could not remove disk '{volume.name.id}', check manually: {error.message}")
