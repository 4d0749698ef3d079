"""What Proxmox is asked before an update, and what a person reads when its answers do not fit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from cluster_stack import preflight
from cluster_stack.config import ConfigError, load
from cluster_stack.plan.nodes import plan_nodes
from cluster_stack.proxmox_api import ProxmoxRefusedError

ROOT = Path(__file__).parents[1]
HOMELAB = load(ROOT, "homelab")
FILE = "clusters/homelab/cluster.yaml"
ISO = "c137-isos:iso/talos-1.11.5-qemuguest-metal-amd64.iso"
FULL = dict.fromkeys((*preflight._VM_PRIVILEGES, "VM.GuestAgent.Audit"), 1)


class Site:
    """Answers as a Proxmox host that has everything; tests change single answers."""

    def __init__(self) -> None:
        self.permissions: dict[str, dict[str, int]] = {
            "/vms": dict(FULL),
            "/storage": {"Datastore.AllocateSpace": 1, "Datastore.Audit": 1},
            "/sdn": {"SDN.Use": 1},
        }
        self.hosts: list[dict[str, Any]] = [{"node": "ms01", "status": "online"}]
        self.storages: list[dict[str, Any]] = [
            {"storage": "local", "content": "images,rootdir", "active": 1},
            {"storage": "c137-isos", "content": "iso", "active": 1},
        ]
        self.bridges: list[dict[str, Any]] = [{"iface": "vmbr0"}]
        self.volumes: list[dict[str, Any]] = [{"volid": ISO}]
        self.guests: list[dict[str, Any]] = [{"vmid": 100, "name": "pfsense", "node": "ms01"}]

    def get(self, *path: str, **parameters: str) -> Any:
        return {
            ("access", "permissions"): self.permissions,
            ("nodes",): self.hosts,
            ("nodes", "ms01", "storage"): self.storages,
            ("nodes", "ms01", "network"): self.bridges,
            ("nodes", "ms01", "storage", "c137-isos", "content"): self.volumes,
            ("cluster", "resources"): self.guests,
        }[path]


def found(site: Site) -> list[str]:
    return [str(problem) for problem in preflight._look(HOMELAB, plan_nodes(HOMELAB.config), site)[0]]  # type: ignore[arg-type]


def test_a_site_that_has_everything() -> None:
    assert found(Site()) == []


def test_a_missing_privilege_is_named_with_its_place() -> None:
    site = Site()
    del site.permissions["/vms"]["VM.Config.Disk"]
    del site.permissions["/vms"]["VM.GuestAgent.Audit"]
    assert found(site) == [
        f"{FILE}:29: proxmox.vm.idBase: the API token lacks VM.Config.Disk, VM.GuestAgent.Audit or "
        "VM.GuestAgent.Unrestricted or VM.Monitor on /vms/800. Add it to the token's role (docs/proxmox.md has the "
        "whole role).",
    ]


def test_older_proxmox_calls_the_agents_privilege_otherwise() -> None:
    site = Site()
    site.permissions["/vms"] = {**dict.fromkeys(preflight._VM_PRIVILEGES, 1), "VM.Monitor": 1}
    assert found(site) == []


@pytest.mark.parametrize(
    ("permissions", "path", "granted"),
    [
        ({"/": {"A": 1}}, "/vms/800", {"A"}),
        ({"/": {"A": 0}}, "/vms/800", set()),
        ({"/": {"A": 1}, "/vms": {"B": 1}}, "/vms/800", {"B"}),
        ({"/vms/800": {"A": 0}}, "/vms/800", {"A"}),
        ({}, "/vms/800", set()),
    ],
)
def test_the_nearest_path_decides(permissions: dict[str, dict[str, int]], path: str, granted: set[str]) -> None:
    assert preflight.privileges_at(permissions, path) == granted


def test_everything_that_does_not_exist_is_told_at_once() -> None:
    site = Site()
    site.storages[0]["storage"] = "local-zfs"
    site.volumes = [{"volid": "c137-isos:iso/talos-1.12.0.iso"}, {"volid": "c137-isos:iso/debian.iso"}]
    site.bridges = [{"iface": "vmbr1"}]
    site.guests.append({"vmid": 810, "name": "nas", "node": "ms01"})
    assert found(site) == [
        f"{FILE}:24: proxmox.storage.datastore: there is no storage 'local' on ms01, or the API token may not see it. "
        "Storages for images there: local-zfs.",
        f"{FILE}:25: proxmox.storage.isoPath: there is no ISO {ISO}. Upload it, or write one of: "
        "c137-isos:iso/talos-1.12.0.iso.",
        f"{FILE}:27: proxmox.network.bridge: there is no bridge 'vmbr0' on ms01. Bridges there: vmbr1.",
        f"{FILE}:29: proxmox.vm.idBase: VM id 810 of homelab-worker1 is taken: nas on ms01 has it. Write ids "
        "that are free.",
    ]


def test_a_storage_of_another_kind() -> None:
    site = Site()
    site.storages[0]["content"] = "iso,vztmpl"
    assert found(site) == [
        f"{FILE}:24: proxmox.storage.datastore: the storage 'local' does not hold images. Allow it in Datacenter > "
        "Storage, or write one of: none."
    ]


def test_an_unknown_host_lists_the_hosts() -> None:
    site = Site()
    site.hosts = [{"node": "pve1"}, {"node": "pve2"}]
    assert found(site) == [f"{FILE}:21: proxmox.node: there is no host 'ms01'. Hosts: pve1, pve2."]


def test_our_own_vm_is_not_in_the_way() -> None:
    site = Site()
    site.guests.append({"vmid": 800, "name": "homelab-cp1", "node": "ms01"})
    assert found(site) == []


def test_a_vm_whose_name_proxmox_does_not_tell_yet_is_not_in_the_way() -> None:
    site = Site()
    site.guests.append({"vmid": 800, "node": "ms01"})
    assert found(site) == []


def test_a_container_is_never_ours() -> None:
    assert preflight.notes_of({"vmid": 800, "node": "ms01", "type": "lxc"}, Site()) == ""  # type: ignore[arg-type]


def test_a_token_that_proxmox_does_not_know() -> None:
    problem = preflight._refused(HOMELAB, ProxmoxRefusedError(401, "no such token"))
    assert "does not accept the API token" in str(problem)


SECRET = "aaaaaaaa-bbbb-cccc-dddd-eeeeeeeeeeee"


@pytest.mark.parametrize("token", [None, "", f"pulumi@pve!x={SECRET}\n", f"PVEAPIToken=root@pam!x {SECRET}", SECRET])
def test_a_token_that_cannot_be_one_is_refused_without_being_shown(token: str | None) -> None:
    with pytest.raises(ConfigError) as caught:
        preflight.check_token("homelab", token)
    assert "pulumi config set --secret proxmoxApiToken -s homelab" in str(caught.value)
    assert SECRET not in str(caught.value)


def test_a_well_formed_token_passes() -> None:
    preflight.check_token("homelab", f"pulumi@pve!cluster-stack={SECRET}")
