"""The calls about a VM's disks: to make one larger, to move one elsewhere."""

from __future__ import annotations

from typing import Any

from lab.proxmox import formats
from lab.proxmox.accounts import ROOT
from lab.proxmox.cluster import Cluster, Request
from lab.proxmox.drives import is_cdrom
from lab.proxmox.errors import failure, parameter_error
from lab.proxmox.guests import Guest
from lab.proxmox.registry import call
from lab.proxmox.tasks import Task


@call("PUT /nodes/{node}/qemu/{vmid}/resize")
async def resize(cluster: Cluster, request: Request) -> Any:
    guest = cluster.guests.get(request.node, request.vmid)
    if request.flag("skiplock") and request.user != ROOT:
        raise parameter_error({"skiplock": "Only root may use this option."})

    async def work(_: Task) -> None:
        guest.check_digest(request.parameters.get("digest"))
        if not request.flag("skiplock"):
            guest.check_lock()
        _resize(cluster, request, guest)
        cluster.machines.plug(guest)

    return cluster.tasks.spawn(guest.node, "resize", str(guest.vmid), request.user, work)


@call("POST /nodes/{node}/qemu/{vmid}/move_disk")
async def move(cluster: Cluster, request: Request) -> Any:
    guest, wanted = cluster.guests.get(request.node, request.vmid), request.parameters
    storage, target_vmid = wanted.get("storage"), wanted.get("target-vmid")
    if bool(storage) == bool(target_vmid):
        words = "either set 'storage' or 'target-vmid', but not both"
        missing = "both 'storage' and 'target-vmid' missing, either needs to be set"
        raise parameter_error(dict.fromkeys(("target-vmid", "storage"), words if storage else missing))
    if target_vmid:
        return _reassign(cluster, request, guest, int(target_vmid))
    cluster.access.check(request.user, f"/storage/{storage}", ["Datastore.AllocateSpace"])
    cluster.disk_moves.check_move(guest, wanted)

    async def work(task: Task) -> None:
        await cluster.disk_moves.move(guest, wanted, task)
        cluster.machines.plug(guest)

    return cluster.tasks.spawn(guest.node, "qmmove", str(guest.vmid), request.user, work)


def _reassign(cluster: Cluster, request: Request, guest: Guest, target_vmid: int) -> str:
    wanted = request.parameters
    cluster.access.check(request.user, f"/vms/{target_vmid}", ["VM.Config.Disk"])
    if target_vmid == guest.vmid:
        raise parameter_error({"target-vmid": "must be different than source VMID to reassign disk"})
    target = cluster.guests.find(target_vmid)
    if target is None:
        raise failure(f"could not find target VM {target_vmid}")
    found = cluster.disk_moves.check_reassign(guest, target, wanted)
    cluster.access.check(request.user, f"/storage/{found['file'].partition(':')[0]}", ["Datastore.AllocateSpace"])

    async def work(task: Task) -> None:
        cluster.disk_moves.reassign(request.user, guest, target, wanted, task)

    disk = wanted["disk"]
    identifier = f"{guest.vmid}-{disk}>{target_vmid}-{wanted.get('target-disk', disk)}"
    return cluster.tasks.spawn(guest.node, "qmmove", identifier, request.user, work)


def _resize(cluster: Cluster, request: Request, guest: Guest) -> None:
    option, wanted = request.parameters["disk"], request.parameters["size"]
    if option not in guest.config:
        raise failure(f"disk '{option}' does not exist")
    drive = cluster.drives.parse(option, str(guest.config[option]))
    if is_cdrom(drive):
        raise failure("you can't resize a cdrom")
    cluster.access.check(request.user, f"/storage/{drive['file'].partition(':')[0]}", ["Datastore.AllocateSpace"])
    before = cluster.storages.on(guest.node).require(drive["file"]).size
    size = formats.parse_size(wanted.removeprefix("+"))
    assert size is not None, "the schema's pattern has let a wrong size through"
    size = before + size if wanted.startswith("+") else size
    if size < before:
        raise failure("shrinking disks is not supported")
    cluster.storages.on(guest.node).resize(drive["file"], size)
    guest.config[option] = cluster.drives.render(option, {**drive, "size": formats.format_size(size)})
    cluster.guests.save(guest)
