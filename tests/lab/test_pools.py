"""Resource pools: whose members VMs are, and who may change that."""

from __future__ import annotations

from typing import Any

import pytest

from .conftest import VM, Lab, MakeLab

QEMU = "/nodes/ms01/qemu"


async def members(lab: Lab, pool: str = "talos") -> list[str]:
    (found,) = await lab.call("GET", "/pools", poolid=pool)
    return [member["id"] for member in found["members"]]


async def refusal(lab: Lab, method: str, path: str = "/pools", **parameters: object) -> tuple[int, str]:
    status, body = await lab.answer(method, path, **parameters)
    return status, body["reason"]


async def test_a_vm_is_made_into_a_pool(lab: Lab, make_lab: MakeLab) -> None:
    assert await lab.call("GET", "/pools") == [{"poolid": "talos", "comment": "Talos clusters"}]
    assert await lab.task("POST", QEMU, **VM, pool="talos") == "OK"
    (pool,) = await lab.call("GET", "/pools", poolid="talos")
    (member,) = pool["members"]
    assert (pool["comment"], member["id"], member["vmid"], member["node"], member["type"]) == (
        "Talos clusters",
        "qemu/800",
        800,
        "ms01",
        "qemu",
    )
    assert "pool" not in await lab.call("GET", f"{QEMU}/800/config")
    rows = await lab.call("GET", "/cluster/resources", type="vm")
    assert [row.get("pool") for row in rows] == [None, "talos"]
    assert await members(await make_lab()) == ["qemu/800"], "it survives a restart"
    assert await lab.task("DELETE", f"{QEMU}/800") == "OK"
    assert await members(lab) == []


async def test_a_pool_that_is_not_there_takes_no_vm(lab: Lab) -> None:
    assert await refusal(lab, "POST", QEMU, **VM, pool="nas") == (500, "pool 'nas' does not exist")


async def test_pools_come_and_go(lab: Lab, make_lab: MakeLab) -> None:
    assert await lab.call("POST", "/pools", poolid="prod", comment="ours") is None
    assert await refusal(lab, "POST", poolid="prod") == (500, "create pool failed: pool 'prod' already exists")
    assert await lab.call("PUT", "/pools", poolid="prod", comment="theirs", storage="ceph") is None
    again = await make_lab()
    (pool,) = await again.call("GET", "/pools", poolid="prod")
    assert (pool["comment"], [member["storage"] for member in pool["members"]]) == ("theirs", ["ceph"])
    assert await refusal(again, "DELETE", poolid="prod") == (
        500,
        "delete pool failed: pool 'prod' is not empty (contains storage 'ceph')",
    )
    assert await again.call("PUT", "/pools/prod", storage="ceph", delete=1) is None
    assert await again.call("DELETE", "/pools", poolid="prod") is None
    assert [pool["poolid"] for pool in await again.call("GET", "/pools")] == ["talos"]


async def test_vms_change_their_pool(lab: Lab) -> None:
    assert await lab.task("POST", QEMU, **VM) == "OK"
    await lab.call("POST", "/pools", poolid="prod")
    await lab.call("PUT", "/pools", poolid="talos", vms="800")
    assert await members(lab) == ["qemu/800"]
    await lab.call("PUT", "/pools", poolid="prod", vms="800", allow__move=1)
    assert (await members(lab), await members(lab, "prod")) == ([], ["qemu/800"])
    await lab.call("PUT", "/pools", poolid="prod", vms="800", delete=1)
    assert await members(lab, "prod") == []


@pytest.mark.parametrize(
    ("method", "parameters", "words"),
    [
        ("PUT", {"poolid": "talos", "vms": "800"}, "VM 800 is already a pool member"),
        ("PUT", {"poolid": "talos", "vms": "100", "delete": 1}, "VM 100 is not a pool member"),
        ("PUT", {"poolid": "prod", "vms": "800"}, "VM 800 belongs already to pool 'talos' and 'allow-move' is not set"),
        ("PUT", {"poolid": "nas", "vms": "800"}, "pool 'nas' does not exist"),
        ("PUT", {"poolid": "prod", "storage": "ceph", "delete": 1}, "Storage 'ceph' is not a pool member"),
        ("DELETE", {"poolid": "talos"}, "pool 'talos' is not empty (contains VM 800)"),
        ("DELETE", {"poolid": "nas"}, "pool 'nas' does not exist"),
    ],
)
async def test_a_change_that_cannot_be_is_refused(
    lab: Lab, method: str, parameters: dict[str, Any], words: str
) -> None:
    assert await lab.task("POST", QEMU, **VM, pool="talos") == "OK"
    await lab.call("POST", "/pools", poolid="prod")
    status, reason = await refusal(lab, method, **parameters)
    assert (status, reason.partition(": ")[2]) == (500, words)
    assert await members(lab) == ["qemu/800"]


@pytest.mark.parametrize(
    ("privilege", "method", "parameters", "words"),
    [
        ("Pool.Audit", "GET", {"poolid": "talos"}, "/pool/talos, Pool.Audit"),
        ("Pool.Allocate", "POST", {"poolid": "prod"}, "/pool/prod, Pool.Allocate"),
        ("Pool.Allocate", "PUT", {"poolid": "talos", "vms": "100"}, "/pool/talos, Pool.Allocate"),
        ("VM.Allocate", "PUT", {"poolid": "talos", "vms": "100"}, "/vms/100, Permissions.Modify|VM.Allocate"),
        ("Pool.Allocate", "DELETE", {"poolid": "talos"}, "/pool/talos, Pool.Allocate"),
    ],
)
async def test_pools_need_each_privilege(
    lab: Lab, privilege: str, method: str, parameters: dict[str, Any], words: str
) -> None:
    lab.break_things("privilege-revoked", privilege)
    assert await refusal(lab, method, **parameters) == (403, f"Permission check failed ({words})")


async def test_who_may_not_look_sees_no_pool(lab: Lab) -> None:
    lab.break_things("privilege-revoked", "Pool.Audit")
    assert await lab.call("GET", "/pools") == []
