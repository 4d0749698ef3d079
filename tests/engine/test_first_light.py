"""The first line through the whole house: from nothing to a cluster, and through the edits of ARCHITECTURE.md."""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Iterator

import pytest
import yaml

from cluster_stack.automation import Result
from tests.engine.site import Site

ONE_CONTROL_PLANE = "count: 1\n      resources: {cores: 4"


@pytest.fixture(scope="module")
def homelab(site: Site) -> Iterator[Result]:
    """The cluster as `up` first makes it. The module's tests go on from there, in their order."""
    yield site.up("homelab")
    site.destroy("homelab")


def test_up_makes_the_machines_of_the_file(site: Site, homelab: Result) -> None:
    guests = site.guests()
    assert {number: (guest["name"], guest["running"]) for number, guest in guests.items() if number >= 800} == {
        800: ("homelab-cp1", True),
        810: ("homelab-worker1", True),
    }
    created = [request for request in site.writes() if request["path"].endswith("/qemu")]
    asked = {request["parameters"]["vmid"]: request["parameters"] for request in created}
    first = asked["800"]
    assert (first["name"], first["cores"], first["memory"], first["cpu"]) == (
        "homelab-cp1",
        "4",
        "8192",
        "x86-64-v2-AES",
    )
    assert first["tags"] == "control-plane;dev;talos"
    assert first["boot"] == "order=scsi0;ide2"
    assert "local:32" in first["scsi0"]
    assert "c137-isos:iso/talos-1.11.5-qemuguest-metal-amd64.iso" in first["ide2"]
    assert (first["scsihw"], first["ostype"], first["onboot"]) == ("virtio-scsi-single", "l26", "0")
    assert asked["810"]["tags"] == "dev;talos;worker"


def test_outputs_mean_what_the_originals_did(site: Site, homelab: Result) -> None:
    outputs = homelab.outputs
    cp, worker = outputs.control_plane_vms["homelab-cp1"], outputs.worker_vms["homelab-worker1"]
    assert (cp.id, cp.name, worker.id, worker.name) == (800, "homelab-cp1", 810, "homelab-worker1")
    assert outputs.control_plane_ips == (cp.ip,)
    assert outputs.worker_ips == (worker.ip,)
    assert outputs.cluster_endpoint == cp.ip
    assert outputs.all_vm_ids == (800, 810)
    assert cp.ip != worker.ip
    assert outputs == site.outputs("homelab")


def test_kubeconfig_and_talosconfig_are_files(site: Site, homelab: Result) -> None:
    kubeconfig = yaml.safe_load(homelab.outputs.kubeconfig)
    assert kubeconfig["current-context"] == "admin@talos-homelab"
    cluster = kubeconfig["clusters"][0]["cluster"]
    assert cluster["server"] == f"https://{homelab.outputs.cluster_endpoint}:6443"
    assert b"BEGIN CERTIFICATE" in base64.b64decode(cluster["certificate-authority-data"])
    talosconfig = yaml.safe_load(homelab.outputs.talosconfig)
    assert talosconfig["context"] == "talos-homelab"
    context = talosconfig["contexts"]["talos-homelab"]
    assert context["endpoints"] == list(homelab.outputs.control_plane_ips)
    assert context["nodes"] == [*homelab.outputs.control_plane_ips, *homelab.outputs.worker_ips]


def test_the_engine_keeps_them_secret(site: Site, homelab: Result) -> None:
    shown = json.loads(site.run("pulumi", "stack", "output", "--json", "-s", "homelab").stdout)
    assert (shown["kubeconfig"], shown["talosconfig"]) == ("[secret]", "[secret]")


def test_talosctl_finds_a_cluster(site: Site, homelab: Result) -> None:
    outputs = homelab.outputs
    everyone = [*outputs.control_plane_ips, *outputs.worker_ips]
    # A worker's API is up once a control plane has signed its certificate.
    versions = site.eventually(lambda: site.talosctl(outputs, everyone, "version"))
    assert versions.count("v1.11.5") == 2
    members = site.talosctl(outputs, outputs.control_plane_ips, "get", "members")
    assert "homelab-cp1" in members
    assert "homelab-worker1" in members
    etcd = site.talosctl(outputs, outputs.control_plane_ips, "etcd", "members")
    assert etcd.count("https://") == 2
    assert "homelab-cp1" in etcd
    services = site.talosctl(outputs, everyone, "services")
    assert "apid" in services
    config = site.talosctl(outputs, outputs.worker_ips, "get", "machineconfig", "-o", "yaml")
    assert "factory.talos.dev/metal-installer/" in config


def test_up_without_an_edit_touches_nothing(site: Site, homelab: Result) -> None:
    before = site.writes()
    again = site.up("homelab")
    assert not again.changes.any
    assert site.writes() == before
    assert again.outputs == homelab.outputs


def test_refresh_finds_no_difference(site: Site, homelab: Result) -> None:
    before = site.writes()
    assert not site.up("homelab", refresh=True).changes.any
    assert site.writes() == before


def test_a_preview_asks_nobody(site: Site, homelab: Result) -> None:
    before = site.requests()
    site.edit("homelab", (ONE_CONTROL_PLANE, ONE_CONTROL_PLANE.replace("1", "3")))
    try:
        assert site.preview("homelab").created > 0
        assert site.preview("prod").created > 0  # a stack that is not there yet
        assert site.requests() == before
        site.stop()
        try:
            assert site.preview("homelab").created > 0
            assert site.preview("dev").created > 0
        finally:
            site.start()
    finally:
        site.edit("homelab", (ONE_CONTROL_PLANE.replace("1", "3"), ONE_CONTROL_PLANE))
    assert [request for request in site.requests()[len(before) :] if "800" in request["path"]] == []


def test_three_control_planes_join_the_one(site: Site, homelab: Result) -> None:
    site.edit("homelab", (ONE_CONTROL_PLANE, ONE_CONTROL_PLANE.replace("1", "3")))
    three = site.up("homelab")
    assert (three.changes.replaced, three.changes.deleted) == (0, 0)
    assert three.outputs.all_vm_ids == (800, 801, 802, 810)
    assert three.outputs.control_plane_ips[0] == homelab.outputs.control_plane_ips[0]
    members = ""
    for _ in range(120):  # a minute and more: each waits until the one before it votes
        members = site.talosctl(three.outputs, three.outputs.control_plane_ips[:1], "etcd", "members", check=False)
        if all(f"homelab-cp{number}" in members for number in (1, 2, 3)) and "true" not in members:
            break
        time.sleep(0.5)
    assert all(f"homelab-cp{number}" in members for number in (1, 2, 3)), members
    assert not site.up("homelab").changes.any


def test_a_preview_warns_of_control_planes_that_have_not_left_etcd(site: Site, homelab: Result) -> None:
    assert site.outputs("homelab").all_vm_ids == (800, 801, 802, 810)
    site.edit("homelab", (ONE_CONTROL_PLANE.replace("1", "3"), ONE_CONTROL_PLANE))
    try:
        said = site.run("pulumi", "preview", "-s", "homelab").stdout
    finally:
        site.edit("homelab", (ONE_CONTROL_PLANE, ONE_CONTROL_PLANE.replace("1", "3")))
    assert "1 of 3 members of etcd stay, and with less than 2 it stops" in said
    assert "`talosctl etcd leave` on homelab-cp2, homelab-cp3" in said


def test_clusters_live_side_by_side(site: Site, homelab: Result) -> None:
    dev = site.up("dev")
    assert dev.outputs.all_vm_ids == (850, 860)
    assert {800, 810, 850, 860} <= set(site.guests())
    assert "talos-dev" in dev.outputs.kubeconfig
    site.destroy("dev")
    left = set(site.guests())
    assert {800, 810} <= left
    assert not {850, 860} & left


def test_destroy_leaves_what_is_not_ours(site: Site, homelab: Result) -> None:
    site.destroy("homelab")
    assert set(site.guests()) == {100}
    assert site.guests()[100]["running"]
    images = json.loads(site.run("pulumi", "stack", "export", "-s", "homelab").stdout)
    assert not images["deployment"].get("resources")
