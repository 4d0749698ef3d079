"""What a client of Proxmox's API sees of the faults: over HTTP, on a site whose machines only count."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import aiohttp
import pytest

from lab.faults.fault import Fault
from tests.lab.conftest import TOKEN, VM, Lab

QEMU = "/nodes/ms01/qemu"
CREATE = "POST:/nodes/*/qemu"


async def broken(lab: Lab, kind: str, target: str | None = None, **more: Any) -> Fault:
    when = {name: more.pop(name) for name in ("match", "at", "times") if name in more}
    return await lab.cluster.ledger.set(Fault(kind=kind, target=target, options=more, **when))


async def created(lab: Lab, **options: object) -> None:
    assert await lab.task("POST", QEMU, **{**VM, **options}) == "OK"


async def started(lab: Lab, **options: object) -> None:
    await created(lab, **options)
    assert await lab.task("POST", f"{QEMU}/800/status/start") == "OK"


async def reason(lab: Lab, method: str, path: str, **parameters: object) -> tuple[int, str]:
    status, body = await lab.answer(method, path, **parameters)
    return status, body["reason"]


async def power(lab: Lab, vmid: int = 800) -> str:
    rows = await lab.call("GET", "/cluster/resources", type="vm")
    return str(next(row["status"] for row in rows if row["vmid"] == vmid))


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, (500, "cluster not ready - no quorum?")),
        ({"status": 595}, (595, "No route to host")),
        ({"status": 503}, (503, "Service Unavailable")),
        ({"status": 500, "message": "got timeout"}, (500, "got timeout")),
    ],
)
async def test_an_error_in_place_of_the_answer(lab: Lab, options: dict[str, Any], expected: tuple[int, str]) -> None:
    fault = await broken(lab, "api-error", match=CREATE, **options)
    assert await reason(lab, "POST", QEMU, **VM) == expected
    assert (await lab.answer("GET", f"{QEMU}/800/config"))[0] == 500, "the call was not carried out"
    assert await reason(lab, "GET", "/version") == (200, "OK"), "other requests are not struck"
    entry = json.loads(lab.directory.requests.read_text().splitlines()[0])
    assert (entry["status"], entry["fault"]) == (expected[0], fault.id)
    await lab.cluster.ledger.clear(fault.id)
    await created(lab)


async def test_an_error_after_the_call_was_carried_out(lab: Lab) -> None:
    await broken(lab, "api-error", match=CREATE, when="after", status=595)
    assert await reason(lab, "POST", QEMU, **VM) == (595, "No route to host")
    await lab.cluster.tasks.wait_all()
    assert (await lab.call("GET", f"{QEMU}/800/config"))["name"] == "homelab-cp1"


async def test_the_third_and_the_fourth_that_match_are_struck(lab: Lab) -> None:
    await broken(lab, "api-error", match="GET:/nodes/**", at=3, times=2)
    assert (await lab.answer("GET", "/version"))[0] == 200
    answers = [(await lab.answer("GET", "/nodes/ms01/version"))[0] for _ in range(6)]
    assert answers == [200, 200, 500, 500, 200, 200]
    (spent,) = lab.cluster.ledger.faults
    assert (spent.seen, spent.condition) == (4, "has struck")


@pytest.mark.parametrize(("when", "done"), [("before", False), ("after", True), ("midway", True)])
async def test_a_connection_that_breaks(lab: Lab, when: str, done: bool) -> None:
    await broken(lab, "api-drop", match=CREATE, when=when)
    expected = aiohttp.ClientPayloadError if when == "midway" else aiohttp.ServerDisconnectedError
    with pytest.raises(expected):
        await lab.answer("POST", QEMU, **VM)
    await lab.cluster.tasks.wait_all()
    assert ((await lab.answer("GET", f"{QEMU}/800/config"))[0] == 200) == done


async def test_an_answer_that_does_not_come_in_time(lab: Lab) -> None:
    fault = await broken(lab, "api-hang", match="GET:/version")
    with pytest.raises(asyncio.TimeoutError):
        await asyncio.wait_for(lab.answer("GET", "/version"), 0.3)
    waiting = asyncio.create_task(lab.answer("GET", "/version"))
    await asyncio.sleep(0.1)
    assert not waiting.done()
    await lab.cluster.ledger.clear(fault.id)
    with pytest.raises(aiohttp.ServerDisconnectedError):
        await waiting
    await broken(lab, "api-hang", match="GET:/version", seconds=0.1, when="after")
    with pytest.raises(aiohttp.ServerDisconnectedError):
        await lab.answer("GET", "/version")


async def test_a_token_that_has_expired(lab: Lab) -> None:
    fault = await broken(lab, "token-expired", TOKEN)
    assert await reason(lab, "GET", "/nodes") == (401, "token 'cluster-stack' access expired")
    await lab.cluster.ledger.clear(fault.id)
    assert (await lab.answer("GET", "/nodes"))[0] == 200


async def test_a_privilege_that_is_missing(lab: Lab) -> None:
    await broken(lab, "privilege-revoked", "VM.Allocate", match="GET:/version", at=1)
    assert (await lab.answer("POST", QEMU, **VM))[0] == 200, "nobody has asked for the version yet"
    await lab.call("GET", "/version")
    assert (await lab.answer("POST", QEMU, **{**VM, "vmid": 801}))[0] == 403
    await lab.call("GET", "/version")
    assert (await lab.answer("POST", QEMU, **{**VM, "vmid": 801}))[0] == 403, "it stays"


async def test_an_id_that_somebody_else_took(lab: Lab) -> None:
    await broken(lab, "vmid-taken", "800")
    words = "unable to create VM 800 - VM 800 already exists on node 'ms01'"
    assert await reason(lab, "POST", QEMU, **VM) == (500, words)


async def test_chance_that_gives_a_mac_address_twice(lab: Lab) -> None:
    async def mac(vmid: int) -> str:
        await lab.task("POST", QEMU, **{**VM, "vmid": str(vmid), "net0": "virtio,bridge=vmbr0"})
        config = await lab.call("GET", f"{QEMU}/{vmid}/config")
        return str(config["net0"]).partition(",")[0]

    assert await mac(800) != await mac(801)
    await broken(lab, "mac-repeated")
    assert await mac(802) == await mac(803) == "virtio=BC:24:11:00:00:01"


@pytest.mark.parametrize(("when", "made"), [("before", False), ("after", True)])
async def test_a_task_that_fails(lab: Lab, when: str, made: bool) -> None:
    await created(lab)
    await broken(lab, "task-fails", "qmstart", message="start failed: QEMU exited with code 1", when=when, times=1)
    assert await lab.task("POST", f"{QEMU}/800/status/start") == "start failed: QEMU exited with code 1"
    assert (await power(lab) == "running") == made
    if not made:
        assert await lab.task("POST", f"{QEMU}/800/status/start") == "OK", "it struck once"


async def test_a_task_is_known_by_the_request_that_starts_it(lab: Lab) -> None:
    await broken(lab, "task-fails", match="POST:/nodes/ms01/qemu/800/**")
    await created(lab)
    assert "got timeout" in await lab.task("POST", f"{QEMU}/800/status/start")


async def test_a_task_hangs_until_it_is_stopped_or_goes_on(lab: Lab) -> None:
    await created(lab)
    fault = await broken(lab, "task-hangs", "qmstart")
    first, second = [await lab.call("POST", f"{QEMU}/800/status/start") for _ in range(2)]

    async def status(upid: str) -> dict[str, Any]:
        found: dict[str, Any] = await lab.call("GET", f"/nodes/ms01/tasks/{upid}/status")
        return found

    await asyncio.sleep(0.1)
    assert [(await status(upid))["status"] for upid in (first, second)] == ["running", "running"]
    await lab.call("DELETE", f"/nodes/ms01/tasks/{first}")
    assert (await status(first))["exitstatus"] == "interrupted by signal"
    assert await power(lab) == "stopped"
    await lab.cluster.ledger.clear(fault.id)
    await lab.cluster.tasks.wait_all()
    assert (await status(second))["exitstatus"] == "OK"
    assert await power(lab) == "running"


async def test_a_delay_of_tasks(lab: Lab) -> None:
    await broken(lab, "delay", "task", seconds=30)
    upid = await lab.call("POST", QEMU, **VM)
    await asyncio.sleep(0.1)
    assert (await lab.call("GET", f"/nodes/ms01/tasks/{upid}/status"))["status"] == "running"
    await lab.call("DELETE", f"/nodes/ms01/tasks/{upid}")


async def test_a_vm_under_somebodys_lock(lab: Lab) -> None:
    await created(lab)
    fault = await broken(lab, "vm-locked", "800", lock="snapshot")
    assert (await lab.call("GET", f"{QEMU}/800/config"))["lock"] == "snapshot"
    assert await lab.task("POST", f"{QEMU}/800/status/start") == "VM is locked (snapshot)"
    await lab.cluster.ledger.clear(fault.id)
    assert "lock" not in await lab.call("GET", f"{QEMU}/800/config")
    assert await lab.task("POST", f"{QEMU}/800/status/start") == "OK"


async def test_an_agent_that_is_silent(lab: Lab) -> None:
    await started(lab)
    await broken(lab, "agent-silent", "800")
    assert await reason(lab, "GET", f"{QEMU}/800/agent/info") == (500, "QEMU guest agent is not running")
    status = await lab.task("POST", f"{QEMU}/800/status/shutdown", timeout=1)
    assert status == "VM quit/powerdown failed - VM 800 qga command 'guest-ping' failed - got timeout"


async def test_a_volume_that_vanishes_under_a_vm(lab: Lab) -> None:
    await created(lab)
    volume = "c137-isos:iso/talos-1.11.5-qemuguest-metal-amd64.iso"
    fault = await broken(lab, "volume-missing", volume)
    assert await lab.task("POST", f"{QEMU}/800/status/start") == f"volume '{volume}' does not exist"
    listed = await lab.call("GET", "/nodes/ms01/storage/c137-isos/content")
    assert volume not in [entry["volid"] for entry in listed]
    await lab.cluster.ledger.clear(fault.id)
    assert await lab.task("POST", f"{QEMU}/800/status/start") == "OK"


@pytest.mark.parametrize(
    ("storage", "words"),
    [
        ("local", "No space left on device"),
        ("local-lvm", "free space in thin pool pve/data reached threshold"),
        ("ceph", "(28) No space left on device"),
    ],
)
async def test_a_storage_that_is_full(lab: Lab, storage: str, words: str) -> None:
    await broken(lab, "storage-full", storage)
    assert words in await lab.task("POST", QEMU, vmid=800, scsi0=f"{storage}:1")
    assert (await lab.call("GET", f"/nodes/ms01/storage/{storage}/status"))["avail"] == 0


async def test_dhcp_gives_another_address(lab: Lab) -> None:
    await started(lab)
    before = lab.hypervisor.machines[800]["nics"][0]["dhcp"]
    await broken(lab, "dhcp-renumber", "800")
    nics = lab.cluster.machines.assembly.nics(lab.cluster.guests.get("ms01", 800))
    assert before
    assert nics[0]["dhcp"]
    assert (before["address"], nics[0]["dhcp"]["address"]) == ("10.42.0.100/24", "10.42.0.101/24")


async def test_dhcp_is_silent_for_one(lab: Lab) -> None:
    await broken(lab, "dhcp-silent", "800")
    await started(lab)
    await lab.task("POST", QEMU, vmid=801, net0="virtio,bridge=vmbr0")
    await lab.task("POST", f"{QEMU}/801/status/start")
    offers = {vmid: machine["nics"][0]["dhcp"] for vmid, machine in lab.hypervisor.machines.items()}
    assert (offers[800], offers[801] is None) == (None, False)


async def test_a_vm_that_is_killed_before_an_answer(lab: Lab) -> None:
    await started(lab)
    await broken(lab, "vm-kill", "800", match="GET:/nodes/ms01/qemu/800/status/current", at=2)
    path = f"{QEMU}/800/status/current"
    assert [(await lab.call("GET", path))["status"] for _ in range(3)] == ["running", "stopped", "stopped"]
    assert await lab.task("POST", f"{QEMU}/800/status/start") == "OK"


async def test_a_host_that_dies(lab: Lab) -> None:
    for vmid, onboot in ((800, 1), (801, 0)):
        await lab.task("POST", "/nodes/ms02/qemu", vmid=vmid, onboot=onboot)
        await lab.task("POST", f"/nodes/ms02/qemu/{vmid}/status/start")
    await created(lab, vmid=802)
    fault = await broken(lab, "host-down", "ms02")
    assert lab.hypervisor.machines == {}
    assert await reason(lab, "GET", "/nodes/ms02/qemu/800/config") == (595, "No route to host")
    assert [row["status"] for row in await lab.call("GET", "/nodes")] == ["online", "offline", "online"]
    online = {row["name"]: row["online"] for row in await lab.call("GET", "/cluster/status") if row["type"] == "node"}
    assert online == {"ms01": 1, "ms02": 0, "ms03": 1}
    assert (await power(lab), await power(lab, 802)) == ("unknown", "stopped")
    rows = await lab.call("GET", "/cluster/resources", type="storage")
    assert {row["status"] for row in rows if row["node"] == "ms02"} == {"unknown"}
    status = await lab.task("POST", f"{QEMU}/802/migrate", target="ms02")
    assert status == "migration aborted"
    await lab.cluster.ledger.clear(fault.id)
    await lab.cluster.tasks.wait_all()
    assert (await power(lab), await power(lab, 801)) == ("running", "stopped")


async def test_what_ha_looks_after_waits_for_its_host(lab: Lab) -> None:
    await started(lab)
    await lab.log_in()
    await lab.call("POST", "/cluster/ha/resources", sid="vm:800")
    fault = await broken(lab, "host-down", "ms01")
    await lab.cluster.tasks.wait_all()
    assert lab.hypervisor.machines == {}
    await lab.cluster.ledger.clear(fault.id)
    await lab.cluster.tasks.wait_all()
    assert list(lab.hypervisor.machines) == [800]


async def test_a_host_that_reboots(lab: Lab) -> None:
    for vmid, onboot in ((800, 1), (801, 0)):
        await lab.task("POST", QEMU, vmid=vmid, onboot=onboot)
        await lab.task("POST", f"{QEMU}/{vmid}/status/start")
    await broken(lab, "host-reboot", "ms01")
    await lab.cluster.tasks.wait_all()
    assert list(lab.hypervisor.machines) == [800]
    assert list(lab.cluster.ledger.faults) == []
