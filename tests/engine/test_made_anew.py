"""Machines that are made anew at the address that they had: they get their configuration, and what follows from it."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator

import pytest

from cluster_stack.automation import ClusterError, Result
from tests.engine.site import Site
from tests.engine.static_cluster import static_cluster

NAME = "anew"
TWINS = """
metadata: {name: twins}
cluster:
  talos: {version: v1.13.0}
  topology:
    controlPlane: {count: 1, resources: {cores: 2, memory: 4096, disk: 20}}
    workers: {count: 1, resources: {cores: 2, memory: 4096, disk: 20}}
proxmox:
  endpoint: https://px.wd.ktz.me/
  node: ms01
  storage: {datastore: local, isoPath: "c137-isos:iso/talos-1.13.0-nocloud-amd64.iso"}
  vm: {idBase: 770}
"""
DELETE = """
import os, sys, urllib.request
(vmid,) = sys.argv[1:]
def call(method, path):
    request = urllib.request.Request(f"https://px.wd.ktz.me/api2/json/nodes/ms01/qemu/{vmid}{path}", method=method)
    request.add_header("Authorization", "PVEAPIToken=" + os.environ["PROXMOX_VE_API_TOKEN"])
    urllib.request.urlopen(request, b"" if method == "POST" else None)
call(*{"stop": ("POST", "/status/stop"), "remove": ("DELETE", "")}[os.environ["STEP"]])
"""


@pytest.fixture(scope="module")
def made(site: Site) -> Iterator[Result]:
    folder = site.add_cluster(NAME, static_cluster(NAME, id_base=750))
    try:
        yield site.up(NAME)
    finally:
        site.destroy(NAME)
        shutil.rmtree(folder)


def runs(site: Site, made: Result, address: str) -> None:
    """Its API is up with the cluster's certificates: it was installed."""
    answer = site.eventually(lambda: site.talosctl(made.outputs, [address], "version"))
    assert "Server:" in answer


def delete(site: Site, vmid: int) -> None:
    """As somebody would in Proxmox' own interface."""

    def is_off() -> str:
        assert not site.guests()[vmid]["running"]
        return "off"

    def is_gone() -> str:
        assert vmid not in site.guests()
        return "gone"

    for step, done in (("stop", is_off), ("remove", is_gone)):
        site.run("env", f"STEP={step}", sys.executable, "-c", DELETE, str(vmid))
        site.eventually(done)


def test_a_worker_that_somebody_deleted(site: Site, made: Result) -> None:
    delete(site, 760)
    changes = site.up(NAME, refresh=True).changes
    assert (changes.created, changes.replaced) == (1, 1)
    runs(site, made, "10.42.0.61")
    assert not site.up(NAME).changes.any


def test_a_worker_with_another_id(site: Site, made: Result) -> None:
    nodes = "    nodes: {anew-worker1: {vmId: 765}}\n"
    site.edit(NAME, ("    workers:", f"{nodes}    workers:"))
    changes = site.up(NAME).changes
    assert (changes.created, changes.replaced) == (0, 2)
    runs(site, made, "10.42.0.61")
    assert not site.up(NAME).changes.any


def test_the_only_control_plane_with_another_id(site: Site, made: Result) -> None:
    site.edit(NAME, ("{anew-worker1: {vmId: 765}}", "{anew-worker1: {vmId: 765}, anew-cp1: {vmId: 755}}"))
    before = site.outputs(NAME).kubeconfig
    changes = site.up(NAME).changes
    # The VM, its configuration, the bootstrap, the kubeconfig.
    assert (changes.created, changes.replaced) == (0, 4)
    runs(site, made, "10.42.0.51")
    assert "anew-cp1" in site.eventually(lambda: site.talosctl(made.outputs, ["10.42.0.51"], "etcd", "members"))
    assert site.outputs(NAME).kubeconfig != before
    assert not site.up(NAME).changes.any


def test_more_memory_makes_nothing_anew(site: Site, made: Result) -> None:
    site.edit(
        NAME,
        (
            "workers: {count: 1, resources: {cores: 2, memory: 4096",
            "workers: {count: 1, resources: {cores: 2, memory: 5120",
        ),
    )
    assert site.preview(NAME).replaced == 0
    assert site.up(NAME).changes.replaced == 0


def test_another_endpoint_is_in_the_kubeconfig(site: Site, made: Result) -> None:
    site.edit(NAME, ("  topology:", "  kubernetes: {endpoint: 'https://anew.lan:6443'}\n  topology:"))
    changes = site.up(NAME).changes
    assert changes.replaced == 1
    assert "server: https://anew.lan:6443" in site.outputs(NAME).kubeconfig
    assert not site.up(NAME).changes.any


def test_two_machines_with_one_address(site: Site) -> None:
    folder = site.add_cluster("twins", TWINS)
    site.control.set_fault("mac-repeated")
    try:
        with pytest.raises(ClusterError) as failed:
            site.up("twins")
        site.control.clear_faults()
        said = str(failed.value)
        assert "have the same address" in said
        assert "because they have the same MAC address, BC:24:11:00:00:01" in said
        assert "twins-cp1 (VM 770 on ms01)" in said
        assert "twins-worker1 (VM 780 on ms01)" in said
        # What the sentence says to do.
        delete(site, 770)
        delete(site, 780)
        outputs = site.up("twins", refresh=True).outputs
        assert outputs.control_plane_ips != outputs.worker_ips
    finally:
        site.control.clear_faults()
        site.destroy("twins")
        shutil.rmtree(folder)
