"""The small parts: DHCP leases, tasks that a power cut interrupts, the Image Factory, the control socket."""

from __future__ import annotations

import asyncio
import hashlib
import socket

import pytest
from aiohttp.test_utils import TestClient, TestServer

from lab import control, datacentre
from lab.control import Client, ControlError, Faults
from lab.datacentre import Bridge
from lab.dhcp import Leases, PoolExhaustedError
from lab.directory import LabDirectory
from lab.image_factory import ImageFactory, canonical_schematic
from lab.proxmox.tasks import Task, Tasks

SITE = datacentre.load()
AGENT = "ce4c980550dd2ab1b17bbf2b08801c7eb59418eafe8f279833297925d67c7515"


def bridge(first: str = "10.42.0.100", last: str = "10.42.0.101") -> Bridge:
    usual = SITE.proxmox.bridges[0].model_dump()
    return Bridge.model_validate({**usual, "dhcp": {**usual["dhcp"], "first": first, "last": last}})


def test_a_mac_keeps_its_address(directory: LabDirectory) -> None:
    leases = Leases(directory.leases)
    first = leases.offer(bridge(), "A", {"A"})
    second = leases.offer(bridge(), "B", {"A", "B"})
    assert first
    assert second
    assert (first["address"], second["address"]) == ("10.42.0.100/24", "10.42.0.101/24")
    again = Leases(directory.leases)
    assert again.offer(bridge(), "B", {"A", "B"}) == second
    assert again.offer(bridge(), "A", {"A", "B"}) == first


def test_an_exhausted_pool_gives_the_oldest_lease_that_nobody_has(directory: LabDirectory) -> None:
    leases = Leases(directory.leases)
    for mac in ("A", "B"):
        leases.offer(bridge(), mac, {"A", "B"})
    with pytest.raises(PoolExhaustedError, match=r"no free address between 10.42.0.100 and 10.42.0.101 on vmbr0"):
        leases.offer(bridge(), "C", {"A", "B", "C"})
    offer = leases.offer(bridge(), "C", {"B", "C"})
    assert offer
    assert offer["address"] == "10.42.0.100/24"


def test_a_bridge_without_dhcp_is_silent(directory: LabDirectory) -> None:
    silent = SITE.proxmox.bridges[0].model_copy(update={"dhcp": None})
    assert Leases(directory.leases).offer(silent, "A", {"A"}) is None


async def test_a_task_that_the_power_cut_ended_is_found_ended(directory: LabDirectory) -> None:
    tasks = Tasks(directory.proxmox / "tasks", lambda: 60)

    async def never(task: Task) -> None:
        raise AssertionError(task.upid)

    upid = tasks.spawn("ms01", "qmcreate", "800", "pulumi@pve!cluster-stack", never)
    assert tasks.get("ms01", upid).running
    again = Tasks(directory.proxmox / "tasks", lambda: 0).get("ms01", upid)
    assert (again.status()["status"], again.exitstatus) == ("stopped", "unexpected status")


@pytest.mark.parametrize(
    ("document", "identifier"),
    [
        ({}, SITE.factory.default_schematic),
        ({"customization": {"systemExtensions": {"officialExtensions": ["siderolabs/qemu-guest-agent"]}}}, AGENT),
    ],
)
def test_a_schematic_has_the_real_factory_s_id(document: object, identifier: str) -> None:
    assert hashlib.sha256(canonical_schematic(document).encode()).hexdigest() == identifier


async def test_the_factory_knows_its_images(directory: LabDirectory) -> None:
    factory = ImageFactory(directory, SITE.factory)
    async with TestClient(TestServer(factory.application("factory.talos.dev"))) as client:
        async with client.get(f"/schematics/{AGENT}") as response:
            assert "siderolabs/qemu-guest-agent" in await response.text()
        statuses: list[int] = []
        for image in (
            f"metal-installer/{AGENT}/manifests/v1.11.5",
            f"nocloud-installer-secureboot/{AGENT}/manifests/v1.13.0",
            f"installer/{AGENT}/manifests/v1.11.5",
            f"toaster-installer/{AGENT}/manifests/v1.11.5",
            f"metal-installer/{AGENT}/manifests/v9.9.9",
            f"metal-installer/{'0' * 64}/manifests/v1.11.5",
        ):
            async with client.head(f"/v2/{image}") as response:
                statuses.append(response.status)
        assert statuses == [200, 200, 200, 404, 404, 404]
        body = "customization:\n  systemExtensions:\n    officialExtensions: [siderolabs/zfs]\n"
        async with client.post("/schematics", data=body) as response:
            made = (await response.json())["id"]
        async with client.head(f"/v2/metal-installer/{made}/manifests/v1.11.5") as response:
            assert response.status == 200


async def test_the_generic_installer_ended_with_talos_1_13(directory: LabDirectory) -> None:
    known = SITE.factory.model_copy(update={"versions": (*SITE.factory.versions, "v1.14.0")})
    async with TestClient(TestServer(ImageFactory(directory, known).application("ghcr.io"))) as client:
        for version, status in (("v1.13.0", 200), ("v1.14.0", 404), ("v1.9.9", 404)):
            async with client.get(f"/v2/siderolabs/installer/manifests/{version}") as response:
                assert response.status == status


def test_faults_can_be_set_before_a_start(directory: LabDirectory) -> None:
    client = Client(directory)
    client.set(dhcp_silent=True)
    client.set(occupied_vmids=[800])
    assert client.faults() == Faults(dhcp_silent=True, occupied_vmids=frozenset({800}))
    client.clear()
    assert Client(directory).faults() == Faults()


def test_a_fault_that_does_not_exist_is_refused(directory: LabDirectory) -> None:
    with pytest.raises(ValueError, match="meteor"):
        Client(directory).set(meteor=True)


async def test_a_change_holds_when_it_is_acknowledged(directory: LabDirectory) -> None:
    server = control.Server(directory, lambda: {"guests": []})
    heard: list[bool] = []

    async def listen() -> None:
        heard.append(server.faults.proxmox_unreachable)

    server.on_change(listen)
    await server.start()
    await asyncio.to_thread(Client(directory).set, proxmox_unreachable=True)
    assert heard == [True]
    assert Client(directory).faults().proxmox_unreachable
    assert await asyncio.to_thread(Client(directory).status) == {"guests": []}
    await server.stop()


def test_a_daemon_that_was_killed_is_gone_though_its_socket_is_there(directory: LabDirectory) -> None:
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(directory.control_socket))
    with pytest.raises(ControlError, match="no lab is running in"):
        Client(directory).status()
    assert Client(directory).set(dhcp_silent=True) == control.load_faults(directory)
