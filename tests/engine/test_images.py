"""Machines from disk images of the Image Factory: fetched once, never put over a machine, gone in the end."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Iterator

import pytest

from cluster_stack.automation import ClusterError, Result
from tests.engine.site import Site

CLUSTER = """
metadata: {name: imaged}
cluster:
  talos: {version: v1.12.4}
  topology:
    controlPlane: {count: 1, resources: {cores: 2, memory: 4096, disk: 20}}
    workers: {count: 1, resources: {cores: 2, memory: 4096, disk: 20}}
proxmox:
  endpoint: https://px.wd.ktz.me/
  nodes: [ms01, ms02]
  storage: {datastore: ceph, imageDatastore: c137-images, shared: [ceph, c137-images]}
  vm: {idBase: 680, bios: ovmf}
"""
LISTING = """
import json, os
from cluster_stack.proxmox_api import ProxmoxApi
with ProxmoxApi("https://px.wd.ktz.me/", os.environ["PROXMOX_VE_API_TOKEN"], insecure=False) as api:
    found = api.get("nodes", "ms01", "storage", "c137-images", "content", content="import")
print(json.dumps([volume["volid"] for volume in found]))
"""

MOVE = """
import os, sys, urllib.request
here, vmid, there = sys.argv[1:]
url = f"https://px.wd.ktz.me/api2/json/nodes/{here}/qemu/{vmid}/migrate"
token = "PVEAPIToken=" + os.environ["PROXMOX_VE_API_TOKEN"]
urllib.request.urlopen(urllib.request.Request(url, f"target={there}&online=1".encode(), {"Authorization": token}))
"""


def images(site: Site) -> list[str]:
    """The disk images on the shared storage."""
    listed = site.run(sys.executable, "-c", LISTING).stdout
    return [name for name in json.loads(listed) if "/imaged-" in name]


@pytest.fixture(scope="module")
def imaged(site: Site) -> Iterator[Result]:
    folder = site.add_cluster("imaged", CLUSTER)
    try:
        yield site.up("imaged")
    finally:
        site.destroy("imaged")
        shutil.rmtree(folder)
        assert images(site) == []


def test_a_shared_storage_has_the_image_once(site: Site, imaged: Result) -> None:
    (image,) = images(site)
    assert "talos-v1.12.4-amd64" in image
    everyone = [*imaged.outputs.control_plane_ips, *imaged.outputs.worker_ips]
    versions = site.eventually(lambda: site.talosctl(imaged.outputs, everyone, "version", "--short"))
    assert versions.count("v1.12.4") == 2
    assert not site.up("imaged", refresh=True).changes.any


def test_the_firmware_is_that_of_the_file(site: Site, imaged: Result) -> None:
    created = [request["parameters"] for request in site.writes() if request["path"].endswith("/qemu")]
    assert [vm["bios"] for vm in created if vm["vmid"] in {"680", "690"}] == ["ovmf", "ovmf"]


def test_a_new_talos_touches_no_machine(site: Site, imaged: Result) -> None:
    seen = len(site.writes())
    site.edit("imaged", ("v1.12.4", "v1.13.0"))
    try:
        site.up("imaged")
        touched = [request for request in site.writes()[seen:] if "/qemu" in request["path"]]
        assert touched == []
        (image,) = images(site)
        assert "talos-v1.13.0-amd64" in image
        assert not site.up("imaged").changes.any
    finally:
        site.edit("imaged", ("v1.13.0", "v1.12.4"))


def test_a_machine_that_is_to_be_elsewhere_moves(site: Site, imaged: Result) -> None:
    before = {vmid: guest["node"] for vmid, guest in site.guests().items() if vmid in {680, 690}}
    other = "ms02" if before[690] == "ms01" else "ms01"
    site.edit(
        "imaged",
        ("v1.12.4}", "v1.13.0}"),
        ("    workers:", f"    nodes: {{imaged-worker1: {{node: {other}}}}}\n    workers:"),
    )
    seen = len(site.writes())
    changes = site.up("imaged").changes
    assert (changes.created, changes.replaced, changes.deleted) == (0, 0, 0)
    assert [
        request["path"].rpartition("/")[2] for request in site.writes()[seen:] if "/qemu/690" in request["path"]
    ].count("migrate") == 1
    assert site.guests()[690]["node"] == other
    assert not site.up("imaged", refresh=True).changes.any


def test_a_machine_that_somebody_moved_is_looked_for_before_it_is_changed(site: Site, imaged: Result) -> None:
    planned = site.guests()[690]["node"]
    elsewhere = "ms02" if planned == "ms01" else "ms01"
    site.run(sys.executable, "-c", MOVE, planned, "690", elsewhere)

    def arrived() -> str:
        found: str = site.guests()[690]["node"]
        assert found == elsewhere
        return found

    site.eventually(arrived)
    assert not site.up("imaged").changes.any
    workers = "workers: {count: 1, resources: {cores: 2, memory: "
    site.edit("imaged", (f"{workers}4096", f"{workers}5120"))
    with pytest.raises(ClusterError) as refused:
        site.up("imaged")
    assert (
        f"imaged-worker1 (VM 690) runs on {elsewhere}; the state of this stack says {planned}. Somebody or high "
        "availability moved it: run `pulumi up -s imaged --refresh`."
    ) in str(refused.value)
    changes = site.up("imaged", refresh=True).changes
    assert (changes.created, changes.replaced, changes.deleted) == (0, 0, 0)
    assert site.guests()[690]["node"] == planned
    assert not site.up("imaged", refresh=True).changes.any
