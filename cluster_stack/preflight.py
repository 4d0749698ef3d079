"""What only Proxmox can tell, asked before an update touches anything.

Read-only, and only at the beginning of an update: a preview asks nobody. Everything that is wrong is reported at once,
at the key of cluster.yaml that names it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

from cluster_stack.config import ClusterFile, ConfigError, Problem
from cluster_stack.plan.boot import boot_images
from cluster_stack.plan.checks import place_of
from cluster_stack.plan.nodes import NodePlan, Path
from cluster_stack.plan.ownership import marked
from cluster_stack.proxmox_api import TOKEN_FORM, ProxmoxApi, ProxmoxRefusedError, ProxmoxUnreachableError

TOKEN_KEY = "proxmoxApiToken"  # noqa: S105 - the name of the setting, not its value
TOKEN_VARIABLE = "PROXMOX_VE_API_TOKEN"  # noqa: S105

_Hosts = Mapping[str, Mapping[str, Any]]
"""By name, as `GET /nodes` has them."""
_Guests = Mapping[int, Mapping[str, Any]]
"""By VM id, as `GET /cluster/resources` has them."""

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
_AUDIT = {"Datastore.Audit"}
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
    with _asking(cluster, token) as api:
        guest = _guests(api).get(node.vm_id)
        # No mark on either side is no proof.
        if guest is None or (marked(notes) and marked(notes_of(guest, api)) == marked(notes)):
            return
    what = (
        f"VM {node.vm_id} on {guest['node']} is called {guest.get('name')}, but it is not this stack's: "
        f"its notes do not carry the stack's mark."
    )
    fix = "Write ids that are free, or remove that VM, or select the state that made it."
    raise ConfigError([cluster.problem(place_of(cluster, node, "vm_id"), what, fix)])


def check_vm_is_here(cluster: ClusterFile, token: str, node: NodePlan, host: str) -> None:
    """Refuse to change ``node``'s VM where it is on another host than the state says, which is ``host``.

    The Proxmox provider would look for it there and nowhere else. Raises ConfigError.
    """
    with _asking(cluster, token) as api:
        guest = _guests(api).get(node.vm_id)
    if guest is None or guest["node"] == host:
        return
    what = f"{node.name} (VM {node.vm_id}) runs on {guest['node']}; the state of this stack says {host}."
    fix = f"Somebody or high availability moved it: run `pulumi up -s {cluster.config.metadata.name} --refresh`."
    raise ConfigError([cluster.problem(_host_key(cluster, host), what, fix)])


def notes_of(guest: Mapping[str, Any], api: ProxmoxApi) -> str:
    """The notes of a guest that ``GET /cluster/resources`` lists; a container has none that could be ours."""
    if guest.get("type", "qemu") != "qemu":
        return ""
    config = api.get("nodes", str(guest["node"]), "qemu", str(guest["vmid"]), "config")
    return str(config.get("description", ""))


def check(cluster: ClusterFile, nodes: Sequence[NodePlan], token: str) -> list[Problem]:
    """Ask Proxmox for everything that ``cluster`` names. Raises ConfigError with all that is wrong.

    Returns what stops nothing, but a person should know.
    """
    with _asking(cluster, token) as api:
        problems, warnings = _look(cluster, nodes, api)
    if problems:
        raise ConfigError(problems)
    return warnings


@contextmanager
def _asking(cluster: ClusterFile, token: str) -> Iterator[ProxmoxApi]:
    """The API; that it cannot be asked is a ConfigError too."""
    proxmox = cluster.config.proxmox
    try:
        with ProxmoxApi(proxmox.endpoint, token, insecure=proxmox.insecure) as api:
            yield api
    except ProxmoxUnreachableError as error:
        raise ConfigError([_unreachable(cluster, error)]) from None
    except ProxmoxRefusedError as error:
        raise ConfigError([_refused(cluster, error)]) from None


def _guests(api: ProxmoxApi) -> _Guests:
    """By VM id; those of hosts that are offline too."""
    return {int(guest["vmid"]): guest for guest in api.get("cluster", "resources", type="vm")}


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


def _look(cluster: ClusterFile, nodes: Sequence[NodePlan], api: ProxmoxApi) -> tuple[list[Problem], list[Problem]]:
    """All that is wrong, and what a person should know."""
    hosts, guests = {str(host["node"]): host for host in api.get("nodes")}, _guests(api)
    return list(_problems(cluster, nodes, api, hosts, guests)), list(_warnings(cluster, nodes, hosts, guests))


def _problems(
    cluster: ClusterFile, nodes: Sequence[NodePlan], api: ProxmoxApi, hosts: _Hosts, guests: _Guests
) -> Iterator[Problem]:
    permissions: Mapping[str, Mapping[str, int]] = api.get("access", "permissions")
    yield from _privileges(cluster, nodes, permissions)
    wanted = dict.fromkeys(node.host for node in nodes)
    for name in wanted:
        to_come = [node.name for node in nodes if node.host == name and node.vm_id not in guests]
        yield from _host(cluster, name, hosts, to_come)
    usable = [name for name in wanted if name in hosts and not _is_offline(hosts[name])]
    yield from _storages(cluster, nodes, usable, api)
    for name in usable:
        yield from _bridges(cluster, nodes, name, api)
    yield from _mappings(cluster, nodes, api)
    yield from _pool(cluster, api)
    yield from _vm_ids(cluster, nodes, guests)


def _warnings(cluster: ClusterFile, nodes: Sequence[NodePlan], hosts: _Hosts, guests: _Guests) -> Iterator[Problem]:
    for name in filter(lambda name: _is_offline(hosts[name]), hosts):
        lost = [node.name for node in nodes if guests.get(node.vm_id, {}).get("node") == name]
        if lost:
            what = f"the host {name} is offline, and with it {', '.join(lost)}."
            fix = "Start it: until then nothing of them can be changed."
            yield cluster.problem(_host_key(cluster, name), what, fix)


def _host(cluster: ClusterFile, name: str, hosts: _Hosts, to_come: Sequence[str]) -> Iterator[Problem]:
    """Machines that are there already stop nobody from changing the others."""
    key = _host_key(cluster, name)
    if name not in hosts:
        yield cluster.problem(key, f"there is no host {name!r}.", f"Hosts: {_listed(hosts)}.")
    elif _is_offline(hosts[name]) and to_come:
        what = f"the host {name} is offline, and {', '.join(to_come)} would be made there."
        yield cluster.problem(key, what, "Start it, or name a host that is up.")


def _is_offline(host: Mapping[str, Any]) -> bool:
    return host.get("status") == "offline"


def _host_key(cluster: ClusterFile, name: str) -> Path:
    """Where the file names a host."""
    proxmox = cluster.config.proxmox
    if proxmox.node == name:
        return ("proxmox", "node")
    for index, host in enumerate(proxmox.nodes):
        if host.name == name:
            return ("proxmox", "nodes", index)
    return ("proxmox",)


def privileges_at(permissions: Mapping[str, Mapping[str, int]], path: str) -> set[str]:
    """The privileges that ``GET /access/permissions`` grants at ``path``.

    The nearest path that is listed decides; a privilege listed with 0 holds at that very path only.
    """
    candidate = path
    while candidate not in permissions and candidate != "/":
        candidate = candidate.rsplit("/", 1)[0] or "/"
    granted = permissions.get(candidate, {})
    return {name for name, propagates in granted.items() if propagates or candidate == path}


def _privileges(
    cluster: ClusterFile, nodes: Sequence[NodePlan], permissions: Mapping[str, Mapping[str, int]]
) -> Iterator[Problem]:
    for key, path, alternatives in _needed(cluster, nodes):
        granted = privileges_at(permissions, path)
        missing = [" or ".join(sorted(names)) for names in alternatives if not names & granted]
        if missing:
            what = f"the API token lacks {', '.join(missing)} on {path}."
            yield cluster.problem(key, what, "Add it to the token's role (docs/proxmox.md has the whole role).")


def _needed(cluster: ClusterFile, nodes: Sequence[NodePlan]) -> Iterator[tuple[str, str, list[set[str]]]]:
    """(key, path in Proxmox, privileges there: one of each set)."""
    config, proxmox = cluster.config, cluster.config.proxmox
    storage = proxmox.storage
    vm: list[set[str]] = [{name} for name in _VM_PRIVILEGES]
    # A machine with a static address reads it from a cloud-init drive; one with DHCP tells it through its agent.
    vm.append({"VM.Config.Cloudinit"} if config.static_addresses else set(_AGENT_PRIVILEGES))
    if len({node.host for node in nodes}) > 1:
        vm.append({"VM.Migrate"})
    yield "proxmox.vm.idBase", f"/vms/{proxmox.vm.id_base}", vm
    yield "proxmox.storage.datastore", f"/storage/{storage.datastore}", [{"Datastore.AllocateSpace"}, _AUDIT]
    if storage.iso_storage is not None:
        yield (
            "proxmox.storage.isoPath",
            f"/storage/{storage.iso_storage}",
            [{"Datastore.Audit", "Datastore.AllocateSpace"}],
        )
    else:
        key = "proxmox.storage.imageDatastore" if storage.image_datastore else "proxmox.storage.datastore"
        images = storage.image_datastore or storage.datastore
        yield key, f"/storage/{images}", [{"Datastore.AllocateTemplate"}, {"Datastore.Allocate"}, _AUDIT]
        for image in boot_images(config, nodes):
            # Proxmox itself asks the Image Factory for the file.
            yield key, f"/nodes/{image.host}", [{"Sys.AccessNetwork", "Sys.Modify"}]
    for bridge in sorted({card.bridge for node in nodes for card in node.cards}):
        yield "proxmox.network.bridge", f"/sdn/zones/localnetwork/{bridge}", [{"SDN.Use"}]
    for mapping in sorted({device.mapping for node in nodes for device in node.pci_devices}):
        yield "cluster.topology", f"/mapping/pci/{mapping}", [{"Mapping.Use"}]
    if proxmox.vm.pool:
        yield "proxmox.vm.pool", f"/pool/{proxmox.vm.pool}", [{"Pool.Allocate", "VM.Allocate"}, {"Pool.Audit"}]
    if proxmox.vm.ha:
        yield "proxmox.vm.ha", "/", [{"Sys.Console"}, {"Sys.Audit"}]


def _storages(
    cluster: ClusterFile, nodes: Sequence[NodePlan], hosts: Sequence[str], api: ProxmoxApi
) -> Iterator[Problem]:
    config, storage = cluster.config, cluster.config.proxmox.storage
    found = {host: {str(one["storage"]): one for one in api.get("nodes", host, "storage")} for host in hosts}
    wanted = [("proxmox.storage.datastore", storage.datastore, "images", hosts)]
    wanted += [
        ("cluster.topology", disk.datastore, "images", [node.host])
        for node in nodes
        for disk in node.extra_disks
        if node.host in hosts and disk.datastore != storage.datastore
    ]
    if storage.iso_path is None:
        key = "proxmox.storage.imageDatastore" if storage.image_datastore else "proxmox.storage.datastore"
        images = [image for image in boot_images(config, nodes) if image.host in hosts]
        wanted += [(key, image.datastore, "import", [image.host]) for image in images]
    told = set()
    for key, name, content, on in wanted:
        for host in on:
            for problem in _storage(cluster, key, host, name, content, found[host]):
                if problem not in told:
                    told.add(problem)
                    yield problem
    yield from _shared(cluster, found)
    if storage.iso_path is not None:
        for host in hosts:
            yield from _iso(cluster, host, found[host], api)


def _shared(cluster: ClusterFile, found: Mapping[str, Mapping[str, Mapping[str, Any]]]) -> Iterator[Problem]:
    """An image that two hosts fetch to one storage would be in its own way."""
    storage = cluster.config.proxmox.storage
    names = {storage.datastore, storage.image_datastore, *storage.shared} - {None}
    for name in sorted(filter(None, names)):
        shared = {bool(storages[name].get("shared", 0)) for storages in found.values() if name in storages}
        if shared == {False} and name in storage.shared:
            what = f"the storage {name!r} is not shared by the hosts."
            yield cluster.problem("proxmox.storage.shared", what, "Remove it from the list.")
        elif shared == {True} and name not in storage.shared and len(found) > 1:
            what = f"the hosts share the storage {name!r}."
            yield cluster.problem("proxmox.storage", what, f"Write `shared: [{name}]`.")


def _iso(
    cluster: ClusterFile, host: str, storages: Mapping[str, Mapping[str, Any]], api: ProxmoxApi
) -> Iterator[Problem]:
    iso_path, iso_storage = cluster.config.proxmox.storage.iso_path, cluster.config.proxmox.storage.iso_storage
    assert iso_path is not None
    assert iso_storage is not None
    wrong = list(_storage(cluster, "proxmox.storage.isoPath", host, iso_storage, "iso", storages))
    yield from wrong
    if wrong:
        return
    content = api.get("nodes", host, "storage", iso_storage, "content", content="iso")
    volumes = [str(volume["volid"]) for volume in content]
    if iso_path not in volumes:
        talos = [volume for volume in volumes if "talos" in volume.lower()]
        fix = f"Upload it, or write one of: {_listed(talos or volumes)}."
        yield cluster.problem("proxmox.storage.isoPath", f"there is no ISO {iso_path}.", fix)


def _storage(
    cluster: ClusterFile, key: str, host: str, name: str, content: str, storages: Mapping[str, Mapping[str, Any]]
) -> Iterator[Problem]:
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


def _bridges(cluster: ClusterFile, nodes: Sequence[NodePlan], host: str, api: ProxmoxApi) -> Iterator[Problem]:
    bridges = [str(network["iface"]) for network in api.get("nodes", host, "network", type="any_bridge")]
    wanted = {card.bridge: number for node in nodes if node.host == host for number, card in enumerate(node.cards)}
    for bridge, number in wanted.items():
        if bridge not in bridges:
            key = "cluster.topology" if number else "proxmox.network.bridge"
            what = f"there is no bridge {bridge!r} on {host}."
            yield cluster.problem(key, what, f"Bridges there: {_listed(bridges)}.")


def _mappings(cluster: ClusterFile, nodes: Sequence[NodePlan], api: ProxmoxApi) -> Iterator[Problem]:
    wanted = {(device.mapping, node.host): node for node in nodes for device in node.pci_devices}
    if not wanted:
        return
    mappings = {str(found["id"]): found for found in api.get("cluster", "mapping", "pci")}
    for (name, host), node in wanted.items():
        path = place_of(cluster, node, "pci_devices")
        if name not in mappings:
            what = f"there is no PCI mapping {name!r}, or the API token may not see it."
            yield cluster.problem(path, what, f"Mappings: {_listed(mappings)}.")
        elif f"node={host}" not in ",".join(map(str, mappings[name].get("map", ()))).split(","):
            what = f"the PCI mapping {name!r} has no device on {host}, where {node.name} runs."
            yield cluster.problem(path, what, "Place the node on a host that has one (placement.nodes).")


def _pool(cluster: ClusterFile, api: ProxmoxApi) -> Iterator[Problem]:
    name = cluster.config.proxmox.vm.pool
    if name is None:
        return
    pools = [str(pool["poolid"]) for pool in api.get("pools")]
    if name not in pools:
        what = f"there is no resource pool {name!r}, or the API token may not see it."
        yield cluster.problem("proxmox.vm.pool", what, f"Pools: {_listed(pools)}.")


def _vm_ids(cluster: ClusterFile, nodes: Sequence[NodePlan], guests: _Guests) -> Iterator[Problem]:
    for node in nodes:
        guest = guests.get(node.vm_id)
        # Proxmox tells no name for some seconds after a VM was made. The mark decides then, before a VM is created.
        if guest is not None and guest.get("name") not in (node.name, None):
            what = f"VM id {node.vm_id} of {node.name} is taken: {guest['name']} on {guest.get('node')} has it."
            yield cluster.problem(place_of(cluster, node, "vm_id"), what, "Write ids that are free.")


def _listed(names: Sequence[str] | Mapping[str, object]) -> str:
    return ", ".join(sorted(names)) or "none"
