"""The small parts: DHCP leases, tasks that a power cut interrupts, the control socket."""

from __future__ import annotations

import asyncio
import socket
from ipaddress import IPv4Address
from typing import Any

import pytest

from lab import control, datacentre
from lab.control import Client, ControlError
from lab.datacentre import Dhcp
from lab.dhcp import Leases, PoolExhaustedError
from lab.directory import LabDirectory
from lab.faults import fault
from lab.faults.fault import Faults
from lab.faults.kinds import FaultError
from lab.faults.ledger import Ledger
from lab.network.bridges import NetworkError
from lab.proxmox.tasks import Task, Tasks
from lab.schematics import Schematics

SITE = datacentre.load()


def pool(network: str = "10.42.0") -> Dhcp:
    usual = SITE.proxmox.bridges[0].dhcp
    assert usual
    return usual.model_copy(
        update={"first": IPv4Address(f"{network}.100"), "last": IPv4Address(f"{network}.101")},
    )


def test_a_mac_keeps_its_address(directory: LabDirectory) -> None:
    leases = Leases(directory.leases)
    first = leases.offer(pool(), "A", {"A"})
    second = leases.offer(pool(), "B", {"A", "B"})
    assert (first["address"], second["address"]) == ("10.42.0.100/24", "10.42.0.101/24")
    again = Leases(directory.leases)
    assert again.offer(pool(), "B", {"A", "B"}) == second
    assert again.offer(pool(), "A", {"A", "B"}) == first


def test_an_exhausted_pool_gives_the_oldest_lease_that_nobody_has(directory: LabDirectory) -> None:
    leases = Leases(directory.leases)
    for mac in ("A", "B"):
        leases.offer(pool(), mac, {"A", "B"})
    with pytest.raises(PoolExhaustedError, match=r"no free address between 10.42.0.100 and 10.42.0.101"):
        leases.offer(pool(), "C", {"A", "B", "C"})
    offer = leases.offer(pool(), "C", {"B", "C"})
    assert offer["address"] == "10.42.0.100/24"


def test_a_pool_takes_no_lease_of_another_network(directory: LabDirectory) -> None:
    leases = Leases(directory.leases)
    for network in ("10.42.0", "10.43.0"):
        for mac in ("A", "B"):
            leases.offer(pool(network), f"{network}-{mac}", ())
    offer = leases.offer(pool("10.43.0"), "C", ())
    assert offer["address"] == "10.43.0.100/24"


async def test_a_task_that_the_power_cut_ended_is_found_ended(directory: LabDirectory) -> None:
    tasks = Tasks(directory.proxmox / "tasks", lambda: 60, Ledger(directory))

    async def never(task: Task) -> None:
        raise AssertionError(task.upid)

    upid = tasks.spawn("ms01", "qmcreate", "800", "pulumi@pve!cluster-stack", never)
    assert tasks.get("ms01", upid).running
    again = Tasks(directory.proxmox / "tasks", lambda: 0, Ledger(directory)).get("ms01", upid)
    assert (again.status()["status"], again.exitstatus) == ("stopped", "unexpected status")


def test_faults_can_be_set_before_a_start(directory: LabDirectory) -> None:
    client = Client(directory)
    client.set_fault("dhcp-silent")
    client.set_fault("vmid-taken", 800)
    assert not client.faults().dhcp_answers(801)
    assert client.faults().occupied_vmids == {800}
    client.clear_faults()
    assert Client(directory).faults() == Faults()


def test_a_fault_that_does_not_exist_is_refused(directory: LabDirectory) -> None:
    with pytest.raises(FaultError, match="meteor"):
        Client(directory).set_fault("meteor")


def served(directory: LabDirectory, status: dict[str, Any]) -> tuple[control.Server, Ledger]:
    ledger = Ledger(directory)
    return control.Server(directory, SITE, ledger, lambda: status, Schematics(directory, {}).post), ledger


async def test_a_change_holds_when_it_is_acknowledged(directory: LabDirectory) -> None:
    server, ledger = served(directory, {"guests": []})
    heard: list[bool] = []

    async def listen() -> None:
        heard.append(ledger.faults.proxmox_unreachable)

    ledger.on_change(listen)
    await server.start()
    await asyncio.to_thread(Client(directory).set_fault, "api-unreachable")
    assert heard == [True]
    assert Client(directory).faults().proxmox_unreachable
    assert await asyncio.to_thread(Client(directory).status) == {"guests": []}
    await server.stop()


@pytest.mark.parametrize(
    ("problem", "words"),
    [
        (NetworkError("no more bridges"), "^no more bridges$"),
        (RuntimeError("a mistake of ours"), "broke off, see .*log"),
    ],
    ids=["foreseen", "unforeseen"],
)
async def test_a_change_that_cannot_be_made_is_an_error(
    directory: LabDirectory, problem: Exception, words: str
) -> None:
    server, ledger = served(directory, {})

    async def fail() -> None:
        raise problem

    ledger.on_change(fail)
    await server.start()
    with pytest.raises(ControlError, match=words):
        await asyncio.to_thread(Client(directory).set_fault, "api-unreachable")
    await server.stop()


def test_a_daemon_that_was_killed_is_gone_though_its_socket_is_there(directory: LabDirectory) -> None:
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(directory.control_socket))
    with pytest.raises(ControlError, match="no lab is running in"):
        Client(directory).status()
    assert Client(directory).set_fault("dhcp-silent") in fault.load(directory)
