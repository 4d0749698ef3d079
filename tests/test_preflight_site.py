"""The same for a site with several hosts: images, shared storages, pools, devices."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any

import pytest

from cluster_stack import preflight
from cluster_stack.config import ConfigError, load_text
from cluster_stack.plan.nodes import plan_nodes

FILE = "clusters/site/cluster.yaml"
CLUSTER = load_text(
    b"""\
metadata: {name: site}
cluster:
  talos: {version: v1.13.0}
  topology:
    controlPlane: {count: 3}
    workers: {count: 0}
    nodePools:
      - name: gpu
        count: 1
        idBase: 840
        placement: {nodes: [b]}
        disks: [{size: 10, datastore: fast}]
        networkInterfaces: [{bridge: vmbr1}]
        pciDevices: [{mapping: gpu0}]
proxmox:
  endpoint: https://pve.example:8006/
  nodes: [a, b, c]
  storage: {datastore: ceph, imageDatastore: nas, shared: [ceph, nas]}
  vm: {idBase: 800, pool: talos, ha: false}
""",
    FILE,
)
EVERYTHING = dict.fromkeys(
    (
        *preflight._VM_PRIVILEGES, "VM.GuestAgent.Audit", "VM.Migrate", "Datastore.AllocateSpace", "Datastore.Audit",
        "Datastore.AllocateTemplate", "Datastore.Allocate", "Sys.AccessNetwork", "SDN.Use", "Mapping.Use", "Pool.Audit",
    ),
    1,
)  # fmt: skip


NODES = plan_nodes(CLUSTER.config)


class Site:
    """Answers as a Proxmox cluster that has everything; tests change single answers."""

    def __init__(self) -> None:
        self.permissions = {"/": dict(EVERYTHING)}
        self.hosts = dict.fromkeys("abc", "online")
        self.shared = {"ceph": 1, "nas": 1, "fast": 0}
        self.contents = {"ceph": "images", "nas": "import,iso", "fast": "images"}
        self.bridges = {name: ["vmbr0", "vmbr1"] for name in "abc"}
        self.mappings: list[dict[str, Any]] = [
            {"id": "gpu0", "map": ["id=10de:2204,node=b,path=0000:01:00"]},
        ]
        self.pools = ["talos"]
        self.guests: list[dict[str, Any]] = []

    def get(self, *path: str, **parameters: str) -> Any:
        if path[0] == "nodes" and len(path) == 3:
            host, what = path[1:]
            if what == "storage":
                return [
                    {"storage": name, "content": content, "active": 1, "shared": self.shared[name]}
                    for name, content in self.contents.items()
                ]
            return [{"iface": bridge} for bridge in self.bridges[host]]
        return {
            ("access", "permissions"): self.permissions,
            ("nodes",): [{"node": name, "status": status} for name, status in self.hosts.items()],
            ("cluster", "mapping", "pci"): self.mappings,
            ("pools",): [{"poolid": pool} for pool in self.pools],
            ("cluster", "resources"): self.guests,
        }[path]


def found(site: Site) -> list[str]:
    return [str(problem) for problem in preflight._look(CLUSTER, NODES, site)[0]]  # type: ignore[arg-type]


def told(site: Site) -> list[str]:
    return [str(warning) for warning in preflight._look(CLUSTER, NODES, site)[1]]  # type: ignore[arg-type]


def test_a_site_that_has_everything() -> None:
    assert found(Site()) == []


def change(name: str, value: Any) -> Callable[[Site], None]:
    return lambda site: setattr(site, name, value)


WITHOUT_IMAGES = {"ceph": "images", "nas": "iso", "fast": "images"}
CASES: dict[str, tuple[Callable[[Site], object], str]] = {
    "a host that is off": (
        lambda site: site.hosts.update(c="offline"),
        f"{FILE}:17: proxmox.nodes[2]: the host c is offline, and site-cp3 would be made there. Start it, or name a "
        "host that is up.",
    ),
    "an image storage that takes no images": (
        change("contents", WITHOUT_IMAGES),
        f"{FILE}:18: proxmox.storage.imageDatastore: the storage 'nas' does not hold import. Allow it in Datacenter > "
        "Storage, or write one of: none.",
    ),
    "a storage that is not shared": (
        change("shared", {"ceph": 0, "nas": 1, "fast": 0}),
        f"{FILE}:18: proxmox.storage.shared: the storage 'ceph' is not shared by the hosts. Remove it from the list.",
    ),
    "a bridge that one host lacks": (
        lambda site: site.bridges.update(b=["vmbr0"]),
        f"{FILE}:4: cluster.topology: there is no bridge 'vmbr1' on b. Bridges there: vmbr0.",
    ),
    "a mapping that does not exist": (
        change("mappings", []),
        f"{FILE}:14: cluster.topology.nodePools[0].pciDevices: there is no PCI mapping 'gpu0', or the API token may "
        "not see it. Mappings: none.",
    ),
    "a mapping to another host": (
        change("mappings", [{"id": "gpu0", "map": ["id=10de:2204,node=a,path=0000:01:00"]}]),
        f"{FILE}:14: cluster.topology.nodePools[0].pciDevices: the PCI mapping 'gpu0' has no device on b, where "
        "site-gpu1 runs. Place the node on a host that has one (placement.nodes).",
    ),
    "a pool that does not exist": (
        change("pools", ["other"]),
        f"{FILE}:19: proxmox.vm.pool: there is no resource pool 'talos', or the API token may not see it. Pools: "
        "other.",
    ),
    "no right to fetch an image": (
        lambda site: site.permissions["/"].pop("Sys.AccessNetwork"),
        f"{FILE}:18: proxmox.storage.imageDatastore: the API token lacks Sys.AccessNetwork or Sys.Modify on /nodes/a. "
        "Add it to the token's role (docs/proxmox.md has the whole role).",
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_one_thing_that_is_not_there(case: str) -> None:
    alter, expected = CASES[case]
    site = Site()
    alter(site)
    assert found(site) == [expected]


def machines(**moved: str) -> list[dict[str, Any]]:
    """All of the cluster's, on their own hosts or where they were ``moved`` to."""
    return [
        {"vmid": node.vm_id, "name": node.name, "node": moved.get(node.name.replace("-", "_"), node.host)}
        for node in NODES
    ]


def test_a_host_that_is_off_stops_nobody_from_changing_what_runs_elsewhere() -> None:
    site = Site()
    site.guests = machines()
    site.hosts.update(b="offline")
    assert found(site) == []
    assert told(site) == [
        f"{FILE}:17: proxmox.nodes[1]: the host b is offline, and with it site-cp2, site-gpu1. Start it: until then "
        "nothing of them can be changed."
    ]


def test_a_host_that_is_off_and_whose_machines_run_elsewhere_is_no_news() -> None:
    site = Site()
    site.guests = machines(site_cp2="a", site_gpu1="c")
    site.hosts.update(b="offline")
    assert (found(site), told(site)) == ([], [])


@pytest.mark.parametrize("site_cp3", ["c", "b"])
def test_a_machine_is_changed_only_where_the_state_says_that_it_is(
    site_cp3: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    site, (_, _, third, *_) = Site(), NODES
    site.guests = machines(site_cp3=site_cp3)
    monkeypatch.setattr(preflight, "ProxmoxApi", lambda *_, **__: contextlib.nullcontext(site))
    if site_cp3 == "c":
        preflight.check_vm_is_here(CLUSTER, "", third, "c")
        return
    with pytest.raises(ConfigError) as refused:
        preflight.check_vm_is_here(CLUSTER, "", third, "c")
    assert str(refused.value) == (
        f"{FILE}:17: proxmox.nodes[2]: site-cp3 (VM 802) runs on b; the state of this stack says c. Somebody or high "
        "availability moved it: run `pulumi up -s site --refresh`."
    )


def test_a_machine_that_is_gone_is_left_to_the_provider(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(preflight, "ProxmoxApi", lambda *_, **__: contextlib.nullcontext(Site()))
    preflight.check_vm_is_here(CLUSTER, "", NODES[2], "c")
