"""What only Proxmox can tell, asked before an update touches anything.

Read-only, and only at the beginning of an update: a preview asks nobody. Everything that is wrong is reported at once,
at the key of cluster.yaml that names it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any
from urllib.parse import urlsplit

from cluster_stack.config import ClusterFile, ConfigError, Problem
from cluster_stack.plan.nodes import NodePlan
from cluster_stack.plan.ownership import marked
from cluster_stack.proxmox_api import TOKEN_FORM, ProxmoxApi, ProxmoxRefusedError, ProxmoxUnreachableError

TOKEN_KEY = "proxmoxApiToken"  # noqa: S105 - the name of the setting, not its value
TOKEN_VARIABLE = "PROXMOX_VE_API_TOKEN"  # noqa: S105

_VM_PRIVILEGES = (
    "VM.Allocate",
    "VM.Audit",
    "VM.Config.CDROM",
    "VM.Config.CPU",
    "VM.Config.Disk",
    "VM.Config.HWType",
    "VM.Config.Memory",
    "VM.Config.Network",
    "VM.Config.Options",
    "VM.PowerMgmt",
)
_AGENT_PRIVILEGES = ("VM.GuestAgent.Audit", "VM.GuestAgent.Unrestricted", "VM.Monitor")
"""Reading the guest agent: one of the first two since Proxmox VE 9, the last before."""


def check_token(stack: str, token: str | None) -> None:
    """Refuse a missing or malformed API token. Raises ConfigError; the token is never part of the message."""
    place = f"stacks/Pulumi.{stack}.yaml"
    if not token:
        what = "there is no Proxmox API token."
    elif not TOKEN_FORM.fullmatch(token):
        what = "the Proxmox API token does not look like user@realm!name=secret."
    else:
        return
    fix = f"Run `pulumi config set --secret {TOKEN_KEY} -s {stack}` and paste the token, or set {TOKEN_VARIABLE}."
    raise ConfigError([Problem(place, 0, TOKEN_KEY, what, fix)])


def check_vm_is_ours(cluster: ClusterFile, token: str, node: NodePlan, notes: str) -> None:
    """Refuse to create ``node``'s VM, which is to carry ``notes``, where another VM has its id.

    The Proxmox provider takes a VM that exists for the one that it was asked to create. That is right after an update
    that was cut off (the mark in the notes proves it) and a disaster with anybody else's VM. Raises ConfigError.
    """
    proxmox = cluster.config.proxmox
    try:
        with ProxmoxApi(proxmox.endpoint, token, insecure=proxmox.insecure) as api:
            guests = {int(guest["vmid"]): guest for guest in api.get("cluster", "resources", type="vm")}
            guest = guests.get(node.vm_id)
            # No mark on either side is no proof.
            if guest is None or (marked(notes) and marked(notes_of(guest, api)) == marked(notes)):
                return
    except ProxmoxUnreachableError as error:
        raise ConfigError([_unreachable(cluster, error)]) from None
    except ProxmoxRefusedError as error:
        raise ConfigError([_refused(cluster, error)]) from None
    what = (
        f"VM {node.vm_id} on {guest['node']} is called {guest.get('name')}, but it is not this stack's: "
        f"its notes do not carry the stack's mark."
    )
    fix = "Write an idBase whose ids are free, or remove that VM, or select the state that made it."
    raise ConfigError([cluster.problem("proxmox.vm.idBase", what, fix)])


def notes_of(guest: Mapping[str, Any], api: ProxmoxApi) -> str:
    """The notes of a guest that ``GET /cluster/resources`` lists; a container has none that could be ours."""
    if guest.get("type", "qemu") != "qemu":
        return ""
    config = api.get("nodes", str(guest["node"]), "qemu", str(guest["vmid"]), "config")
    return str(config.get("description", ""))


def check(cluster: ClusterFile, nodes: Sequence[NodePlan], token: str) -> None:
    """Ask Proxmox for everything that ``cluster`` names. Raises ConfigError with all that is wrong."""
    proxmox = cluster.config.proxmox
    try:
        with ProxmoxApi(proxmox.endpoint, token, insecure=proxmox.insecure) as api:
            problems = list(_problems(cluster, nodes, api))
    except ProxmoxUnreachableError as error:
        problems = [_unreachable(cluster, error)]
    except ProxmoxRefusedError as error:
        problems = [_refused(cluster, error)]
    if problems:
        raise ConfigError(problems)


def _unreachable(cluster: ClusterFile, error: ProxmoxUnreachableError) -> Problem:
    endpoint = cluster.config.proxmox.endpoint
    fix = "Is the address right, the host up, its certificate one that this machine trusts?"
    if urlsplit(endpoint).port is None:
        fix += " (Without a port it is 443; Proxmox itself listens on 8006.)"
    return cluster.problem("proxmox.endpoint", f"{endpoint} does not answer: {error}.", fix)


def _refused(cluster: ClusterFile, error: ProxmoxRefusedError) -> Problem:
    if error.status == 401:
        fix = f"Make a new one and run `pulumi config set --secret {TOKEN_KEY}`, or set {TOKEN_VARIABLE}."
        return cluster.problem("proxmox.endpoint", "Proxmox does not accept the API token (expired, deleted?).", fix)
    return cluster.problem(
        "proxmox.endpoint", f"Proxmox refuses: {error}.", "docs/proxmox.md lists what it must allow."
    )


def _problems(cluster: ClusterFile, nodes: Sequence[NodePlan], api: ProxmoxApi) -> Iterator[Problem]:
    permissions: Mapping[str, Mapping[str, int]] = api.get("access", "permissions")
    yield from _privileges(cluster, permissions)
    proxmox = cluster.config.proxmox
    hosts = {str(host["node"]): host for host in api.get("nodes")}
    if proxmox.node not in hosts:
        yield cluster.problem("proxmox.node", f"there is no host {proxmox.node!r}.", f"Hosts: {_listed(hosts)}.")
        return
    if hosts[proxmox.node].get("status") == "offline":
        fix = "Start it, or name a host that is up."
        yield cluster.problem("proxmox.node", f"the host {proxmox.node} is offline.", fix)
        return
    yield from _storages(cluster, api)
    yield from _bridge(cluster, api)
    yield from _vm_ids(cluster, nodes, api)


def privileges_at(permissions: Mapping[str, Mapping[str, int]], path: str) -> set[str]:
    """The privileges that ``GET /access/permissions`` grants at ``path``.

    The nearest path that is listed decides; a privilege listed with 0 holds at that very path only.
    """
    candidate = path
    while candidate not in permissions and candidate != "/":
        candidate = candidate.rsplit("/", 1)[0] or "/"
    granted = permissions.get(candidate, {})
    return {name for name, propagates in granted.items() if propagates or candidate == path}


def _privileges(cluster: ClusterFile, permissions: Mapping[str, Mapping[str, int]]) -> Iterator[Problem]:
    proxmox = cluster.config.proxmox
    iso_storage = proxmox.storage.iso_path.partition(":")[0]
    # A machine with a static address reads it from a cloud-init drive; one with DHCP tells it through its agent.
    address = {"VM.Config.Cloudinit"} if cluster.config.static_addresses else set(_AGENT_PRIVILEGES)
    vm, datastore = f"/vms/{proxmox.vm.id_base}", f"/storage/{proxmox.storage.datastore}"
    bridge = f"/sdn/zones/localnetwork/{proxmox.network.bridge}"
    needed = [
        ("proxmox.vm.idBase", vm, [*({name} for name in _VM_PRIVILEGES), address]),
        ("proxmox.storage.datastore", datastore, [{"Datastore.AllocateSpace"}, {"Datastore.Audit"}]),
        ("proxmox.storage.isoPath", f"/storage/{iso_storage}", [{"Datastore.Audit", "Datastore.AllocateSpace"}]),
        ("proxmox.network.bridge", bridge, [{"SDN.Use"}]),
    ]
    for key, path, alternatives in needed:
        granted = privileges_at(permissions, path)
        missing = [" or ".join(sorted(names)) for names in alternatives if not names & granted]
        if missing:
            what = f"the API token lacks {', '.join(missing)} on {path}."
            yield cluster.problem(key, what, "Add it to the token's role (docs/proxmox.md has the whole role).")


def _storages(cluster: ClusterFile, api: ProxmoxApi) -> Iterator[Problem]:
    proxmox = cluster.config.proxmox
    storages = {str(storage["storage"]): storage for storage in api.get("nodes", proxmox.node, "storage")}
    datastore, iso_path = proxmox.storage.datastore, proxmox.storage.iso_path
    yield from _storage(cluster, "proxmox.storage.datastore", datastore, "images", storages)
    iso_storage = iso_path.partition(":")[0]
    wrong = list(_storage(cluster, "proxmox.storage.isoPath", iso_storage, "iso", storages))
    yield from wrong
    if wrong:
        return
    volumes = [
        str(volume["volid"])
        for volume in api.get("nodes", proxmox.node, "storage", iso_storage, "content", content="iso")
    ]
    if iso_path not in volumes:
        talos = [volume for volume in volumes if "talos" in volume.lower()]
        fix = f"Upload it, or write one of: {_listed(talos or volumes)}."
        yield cluster.problem("proxmox.storage.isoPath", f"there is no ISO {iso_path}.", fix)


def _storage(
    cluster: ClusterFile, key: str, name: str, content: str, storages: Mapping[str, Mapping[str, Any]]
) -> Iterator[Problem]:
    host = cluster.config.proxmox.node
    usable = sorted(
        found for found, storage in storages.items() if content in str(storage.get("content", "")).split(",")
    )
    if name not in storages:
        what = f"there is no storage {name!r} on {host}, or the API token may not see it."
        yield cluster.problem(key, what, f"Storages for {content} there: {_listed(usable)}.")
    elif name not in usable:
        what = f"the storage {name!r} does not hold {content}."
        yield cluster.problem(key, what, f"Allow it in Datacenter > Storage, or write one of: {_listed(usable)}.")
    elif not storages[name].get("active", 1):
        yield cluster.problem(key, f"the storage {name!r} is not active on {host}.", "Mount or enable it there.")


def _bridge(cluster: ClusterFile, api: ProxmoxApi) -> Iterator[Problem]:
    proxmox = cluster.config.proxmox
    bridges = [str(network["iface"]) for network in api.get("nodes", proxmox.node, "network", type="any_bridge")]
    if proxmox.network.bridge not in bridges:
        what = f"there is no bridge {proxmox.network.bridge!r} on {proxmox.node}."
        yield cluster.problem("proxmox.network.bridge", what, f"Bridges there: {_listed(bridges)}.")


def _vm_ids(cluster: ClusterFile, nodes: Sequence[NodePlan], api: ProxmoxApi) -> Iterator[Problem]:
    existing = {int(guest["vmid"]): guest for guest in api.get("cluster", "resources", type="vm")}
    for node in nodes:
        guest = existing.get(node.vm_id)
        # Proxmox tells no name for some seconds after a VM was made. The mark decides then, before a VM is created.
        if guest is not None and guest.get("name") not in (node.name, None):
            what = f"VM id {node.vm_id} of {node.name} is taken: {guest['name']} on {guest.get('node')} has it."
            yield cluster.problem("proxmox.vm.idBase", what, "Write an idBase whose ids are free.")


def _listed(names: Sequence[str] | Mapping[str, object]) -> str:
    return ", ".join(sorted(names)) or "none"
