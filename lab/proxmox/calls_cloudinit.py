"""The calls about a VM's cloud-init drive: what is on it, what is not yet, making it anew."""

from __future__ import annotations

from typing import Any

from lab.proxmox import cloudinit
from lab.proxmox.calls_guests import masked
from lab.proxmox.cluster import Cluster, Request
from lab.proxmox.option_rights import CLOUDINIT
from lab.proxmox.registry import call

PATH = "/nodes/{node}/qemu/{vmid}/cloudinit"


@call(f"GET {PATH}")
async def read(cluster: Cluster, request: Request) -> Any:
    """Each option as it stands on the drive, and as it would if the drive were made now."""
    guest = cluster.guests.get(request.node, request.vmid)
    now, then = masked(guest.config), masked({o: v for o, v in guest.cloudinit.items() if v is not None})
    added = [option for option, value in guest.cloudinit.items() if value is None and option in now]
    rows: list[dict[str, Any]] = [{"key": option, "pending": now[option]} for option in added]
    for option in sorted(CLOUDINIT & now.keys() - set(added)):
        pending = {"pending": now[option]} if option in then else {}
        rows.append({"key": option, "value": then.get(option, now[option]), **pending})
    return [*rows, *({"key": option, "delete": 1} for option in guest.cloudinit if option not in now)]


@call(f"PUT {PATH}")
async def renew(cluster: Cluster, request: Request) -> Any:
    guest = cluster.guests.get(request.node, request.vmid)
    guest.check_lock()
    cluster.machines.renew_cloudinit(guest)


@call(f"GET {PATH}/dump")
async def dump(cluster: Cluster, request: Request) -> Any:
    guest, kind = cluster.guests.get(request.node, request.vmid), request.parameters["type"]
    mask = not cluster.access.allowed(request.user, f"/vms/{guest.vmid}", ["VM.Config.Cloudinit"])
    user = cloudinit.user_data(guest.config, guest.vmid, mask_password=mask)
    network = cloudinit.network_data(guest.config, cluster.configuration.values.network_format)
    return {"user": user, "network": network, "meta": cloudinit.meta_data(user, network)}[kind]
