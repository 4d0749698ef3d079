"""High availability: what is configured comes back as it was set, and the manager does what follows from it."""

from __future__ import annotations

from typing import Any

import pytest

from .conftest import Lab, MakeLab

QEMU = "/nodes/ms01/qemu"
RESOURCES, RULES = "/cluster/ha/resources", "/cluster/ha/rules"


async def created(lab: Lab, vmid: int = 800, node: str = "ms01", *, started: bool = True, **options: object) -> None:
    assert await lab.task("POST", f"/nodes/{node}/qemu", vmid=vmid, scsi0="ceph:8", **options) == "OK"
    if started:
        assert await lab.task("POST", f"/nodes/{node}/qemu/{vmid}/status/start") == "OK"


async def managed(lab: Lab, vmid: int = 800, **settings: object) -> None:
    await lab.call("POST", f"{RESOURCES}/", sid=f"vm:{vmid}", **settings)
    await settled(lab)


async def settled(lab: Lab) -> None:
    await lab.cluster.tasks.wait_all()


async def status(lab: Lab, vmid: int = 800) -> dict[str, Any]:
    rows = await lab.call("GET", "/cluster/resources", type="vm")
    return next(row for row in rows if row["vmid"] == vmid)


async def refusal(lab: Lab, method: str, path: str, **parameters: object) -> tuple[int, str]:
    code, body = await lab.answer(method, path, **parameters)
    return code, next(iter(body.get("errors", {}).values()), body["reason"])


async def tasks(lab: Lab, user: str, node: str = "ms01") -> list[str]:
    found = await lab.call("GET", f"/nodes/{node}/tasks", vmid=800)
    return [task["type"] for task in reversed(found) if task["user"] == user]


async def test_a_resource_tells_what_was_set_and_nothing_else(lab: Lab, make_lab: MakeLab) -> None:
    await created(lab)
    await managed(lab, state="started")
    got = await lab.call("GET", f"{RESOURCES}/vm:800")
    assert {**got, "digest": ""} == {"sid": "vm:800", "type": "vm", "state": "started", "digest": ""}
    await lab.call("PUT", f"{RESOURCES}/vm:800", comment="ours", max_restart=3, failback=0, delete="state")
    got = await (await make_lab()).call("GET", f"{RESOURCES}/800")
    assert {**got, "digest": ""} == {
        "sid": "vm:800",
        "type": "vm",
        "comment": "ours",
        "max_restart": 3,
        "failback": 0,
        "digest": "",
    }
    assert [entry["sid"] for entry in await lab.call("GET", RESOURCES)] == ["vm:800"]
    assert await lab.call("GET", RESOURCES, type="ct") == []
    assert await lab.call("DELETE", f"{RESOURCES}/vm:800") is None
    assert await refusal(lab, "GET", f"{RESOURCES}/vm:800") == (500, "no such resource 'vm:800'")


@pytest.mark.parametrize(
    ("method", "path", "parameters", "status", "words"),
    [
        ("POST", RESOURCES, {"sid": "vm:999"}, 500, "resource 'vm:999' does not exists in cluster"),
        (
            "POST",
            RESOURCES,
            {"sid": "vm:800"},
            500,
            "create resource failed: resource ID 'vm:800' already defined",
        ),
        ("POST", RESOURCES, {"sid": "vm:801", "type": "ct"}, 500, "types does not match"),
        (
            "POST",
            RESOURCES,
            {"sid": "vm:801", "group": "all"},
            500,
            "invalid parameter 'group': ha groups have been migrated to rules",
        ),
        ("PUT", f"{RESOURCES}/vm:801", {"state": "stopped"}, 500, "update resource failed: no such resource 'vm:801'"),
        ("PUT", f"{RESOURCES}/vm:800", {"delete": "colour"}, 500, "update resource failed: no such option 'colour'"),
        (
            "PUT",
            f"{RESOURCES}/vm:800",
            {"digest": "0"},
            500,
            "detected modified configuration - file changed by other user? Try again.",
        ),
        ("DELETE", f"{RESOURCES}/vm:801", {}, 500, "cannot delete service 'vm:801', not HA managed!"),
        ("GET", "/cluster/ha/groups", {}, 500, "cannot index groups: ha groups have been migrated to rules"),
        (
            "POST",
            "/cluster/ha/groups",
            {"group": "all", "nodes": "ms01"},
            500,
            "cannot create group: ha groups have been migrated to rules",
        ),
        ("GET", "/cluster/ha/groups/all", {}, 500, "cannot read group: ha groups have been migrated to rules"),
        ("GET", f"{RULES}/apart", {}, 500, "no such ha rule 'apart'"),
        (
            "POST",
            RULES,
            {"rule": "new", "type": "node-affinity", "resources": "vm:800"},
            500,
            "missing value for required option 'nodes'",
        ),
        (
            "POST",
            RULES,
            {"rule": "new", "type": "node-affinity", "resources": "vm:800", "nodes": "ms01", "affinity": "positive"},
            500,
            "unexpected property 'affinity'",
        ),
        (
            "POST",
            RULES,
            {"rule": "new", "type": "resource-affinity", "resources": "vm:800,vm:801", "affinity": "negative"},
            500,
            "create ha rule failed: cannot use unmanaged resource(s) vm:801.",
        ),
        (
            "POST",
            RULES,
            {"rule": "new", "type": "node-affinity", "resources": "vm:800", "nodes": "ms01,ms09:2"},
            500,
            "create ha rule failed: cannot use non-existant node(s) ms09.",
        ),
        (
            "POST",
            RULES,
            {"rule": "new", "type": "resource-affinity", "resources": "vm:800", "affinity": "negative"},
            400,
            "rule is ineffective as there are less than two resources",
        ),
        (
            "PUT",
            f"{RULES}/new",
            {"type": "node-affinity", "strict": 1},
            500,
            "update HA rules failed: HA rule 'new' does not exist",
        ),
    ],
)
async def test_what_proxmox_refuses_is_refused(
    lab: Lab, method: str, path: str, parameters: dict[str, Any], status: int, words: str
) -> None:
    await created(lab)
    await created(lab, 801)
    await managed(lab, state="started")
    assert await refusal(lab, method, path, **parameters) == (status, words)
    assert [entry["sid"] for entry in await lab.call("GET", RESOURCES)] == ["vm:800"]
    assert await lab.call("GET", RULES) == []


@pytest.mark.parametrize(
    ("method", "path", "privilege"),
    [
        ("GET", RESOURCES, "Sys.Audit"),
        ("POST", RESOURCES, "Sys.Console"),
        ("DELETE", f"{RESOURCES}/vm:800", "Sys.Console"),
        ("GET", f"{RULES}/new", "Sys.Audit"),
        ("POST", RULES, "Sys.Console"),
        ("DELETE", f"{RULES}/new", "Sys.Console"),
    ],
)
async def test_high_availability_needs_each_privilege(lab: Lab, method: str, path: str, privilege: str) -> None:
    lab.break_things("privilege-revoked", privilege)
    assert await refusal(lab, method, path) == (403, f"Permission check failed (/, {privilege})")


async def test_a_rule_tells_what_was_set(lab: Lab, make_lab: MakeLab) -> None:
    for vmid, node in ((801, "ms02"), (800, "ms01")):
        await created(lab, vmid, node)
        await managed(lab, vmid)
    await lab.call(
        "POST", f"{RULES}/", rule="apart", type="resource-affinity", affinity="negative", resources="vm:801,vm:800"
    )
    await lab.call(
        "POST", RULES, rule="home", type="node-affinity", nodes="ms02:1,ms01:2,ms03", strict=1, resources="vm:800"
    )
    await lab.call("PUT", f"{RULES}/home", type="node-affinity", comment="near the disks", disable=1, delete="strict")
    again = await make_lab()
    shown = [{**rule, "digest": ""} for rule in await again.call("GET", RULES)]
    assert shown == [
        {
            "rule": "apart",
            "type": "resource-affinity",
            "affinity": "negative",
            "resources": "vm:800,vm:801",
            "order": 1,
            "digest": "",
        },
        {
            "rule": "home",
            "type": "node-affinity",
            "nodes": "ms01:2,ms02:1,ms03",
            "resources": "vm:800",
            "comment": "near the disks",
            "disable": 1,
            "order": 2,
            "digest": "",
        },
    ]
    await lab.call("PUT", f"{RULES}/home", type="node-affinity", disable=0)
    assert "disable" not in await lab.call("GET", f"{RULES}/home")
    assert [rule["rule"] for rule in await lab.call("GET", RULES, resource="vm:801")] == ["apart"]
    assert [rule["rule"] for rule in await lab.call("GET", RULES, type="node-affinity")] == ["home"]
    assert await lab.call("DELETE", f"{RULES}/home") is None
    assert [rule["rule"] for rule in await lab.call("GET", RULES)] == ["apart"]


@pytest.mark.parametrize(
    ("rule", "words"),
    [
        (
            {"type": "node-affinity", "nodes": "ms02", "resources": "vm:800"},
            "resource 'vm:800' is already used in another node affinity rule",
        ),
        (
            {"type": "resource-affinity", "affinity": "negative", "resources": "vm:800,vm:801,vm:802,vm:803"},
            "rule defines more resources than available nodes, "
            "rule shares two or more resources with a positive resource affinity rule",
        ),
        (
            {"type": "resource-affinity", "affinity": "negative", "resources": "vm:800,vm:801"},
            "rule shares two or more resources with a positive resource affinity rule",
        ),
    ],
)
async def test_rules_that_contradict_are_refused(lab: Lab, rule: dict[str, Any], words: str) -> None:
    for vmid in range(800, 804):
        await created(lab, vmid, started=False)
        await managed(lab, vmid, state="ignored")
    await lab.call("POST", RULES, rule="home", type="node-affinity", nodes="ms01", resources="vm:800")
    await lab.call("POST", RULES, rule="near", type="resource-affinity", affinity="positive", resources="vm:800,vm:801")
    assert await refusal(lab, "POST", RULES, rule="new", **rule) == (400, words)
    await lab.call("POST", RULES, rule="new", disable=1, **rule)
    assert await refusal(lab, "PUT", f"{RULES}/new", type=rule["type"], disable=0) == (400, words)
    assert (await lab.call("GET", f"{RULES}/new"))["disable"] == 1


async def test_the_manager_starts_and_stops_what_it_looks_after(lab: Lab) -> None:
    await created(lab, started=False)
    await managed(lab)
    found = await status(lab)
    assert (found["status"], found["hastate"]) == ("running", "started")
    assert (await lab.call("GET", f"{QEMU}/800/status/current"))["ha"] == {"managed": 1, "state": "started"}
    await lab.call("PUT", f"{RESOURCES}/vm:800", state="stopped")
    await settled(lab)
    assert ((await status(lab))["status"], await tasks(lab, "root@pam")) == ("stopped", ["qmstart", "qmshutdown"])


async def test_calls_about_its_power_go_through_the_manager(lab: Lab) -> None:
    await created(lab)
    await managed(lab)
    for path, wanted in (("stop", "stopped"), ("start", "running"), ("shutdown", "stopped")):
        assert await lab.task("POST", f"{QEMU}/800/status/{path}") == "OK"
        assert (await status(lab))["status"] == wanted
    assert (await tasks(lab, "pulumi@pve!cluster-stack"))[-3:] == ["hastop", "hastart", "hastop"]
    assert (await lab.call("GET", f"{RESOURCES}/vm:800"))["state"] == "stopped"


async def test_a_shutdown_that_somebody_asked_for_has_its_time(lab: Lab) -> None:
    """Also after a start, which says nothing of time; a stop is at once."""
    await created(lab, agent="0")
    await managed(lab)
    lab.hypervisor.answers_power_button = False
    assert await lab.task("POST", f"{QEMU}/800/status/stop") == "OK"
    assert (await status(lab))["status"] == "stopped"
    assert await lab.task("POST", f"{QEMU}/800/status/start") == "OK"
    lab.hypervisor.answers_power_button = True
    pressed = lab.hypervisor.pressed
    await lab.call("PUT", f"{RESOURCES}/vm:800", state="stopped")
    await settled(lab)
    assert ((await status(lab))["status"], lab.hypervisor.pressed) == ("stopped", pressed + 1)


async def test_the_manager_tells_what_it_does(lab: Lab) -> None:
    rows = await lab.call("GET", "/cluster/ha/status/current")
    assert [row["id"] for row in rows] == ["quorum", "master", "lrm:ms01", "lrm:ms02", "lrm:ms03"]
    assert rows[1]["status"].startswith("ms01 (idle, ")
    await created(lab)
    await managed(lab)
    await settled(lab)
    rows = {row["id"]: row for row in await lab.call("GET", "/cluster/ha/status/current")}
    assert rows["service:vm:800"]["status"] == "vm:800 (ms01, started)"
    assert (rows["lrm:ms01"]["status"][:12], rows["lrm:ms02"]["status"][:10]) == ("ms01 (active", "ms02 (idle")
    assert "qmstart" in [task["type"] for task in await lab.call("GET", "/cluster/tasks")]


async def test_what_the_manager_ignores_it_does_not_touch(lab: Lab) -> None:
    await created(lab)
    await managed(lab, state="ignored")
    assert await lab.task("POST", f"{QEMU}/800/status/stop") == "OK"
    assert ((await status(lab))["status"], await tasks(lab, "root@pam")) == ("stopped", [])


async def test_a_machine_that_goes_off_by_itself_is_started_again(lab: Lab) -> None:
    await created(lab)
    await managed(lab)
    await lab.hypervisor.power_cut(800)
    await settled(lab)
    assert (await status(lab))["status"] == "running"
    assert await lab.task("POST", f"{QEMU}/800/status/reboot") == "OK"
    assert await tasks(lab, "root@pam") == ["qmstart"], "a reboot is no reason to start it"


async def test_after_a_power_cut_of_the_site_the_manager_goes_on(lab: Lab, make_lab: MakeLab) -> None:
    await created(lab, started=False)
    await lab.call("POST", RESOURCES, sid="vm:800", state="stopped")
    lab.cluster.ha.configuration.update_resource("vm:800", {"state": "started"})
    again = await make_lab()
    await again.cluster.power_on_what_ran()
    await settled(again)
    assert (await status(again))["status"] == "running"


async def test_a_vm_that_does_not_start_is_given_up(lab: Lab) -> None:
    await created(lab, net0="virtio,bridge=vmbr9", started=False)
    await managed(lab, max_restart=2)
    assert (await tasks(lab, "root@pam"), (await status(lab))["hastate"]) == (["qmstart"] * 3, "error")
    await lab.call("PUT", f"{QEMU}/800/config", net0="virtio,bridge=vmbr0")
    await lab.call("PUT", f"{RESOURCES}/vm:800", state="disabled")
    await settled(lab)
    await lab.task("POST", f"{QEMU}/800/status/start")
    assert (await status(lab))["hastate"] == "started"


async def test_a_vm_in_the_manager_s_care_is_purged_or_kept(lab: Lab) -> None:
    await created(lab, started=False)
    await created(lab, 801, started=False)
    for vmid in (800, 801):
        await managed(lab, vmid, state="stopped")
    await lab.call("POST", RULES, rule="home", type="node-affinity", nodes="ms01", resources="vm:800")
    await lab.call(
        "POST", RULES, rule="apart", type="resource-affinity", affinity="negative", resources="vm:800,vm:801"
    )
    assert await refusal(lab, "DELETE", f"{QEMU}/800") == (
        500,
        "unable to remove VM 800 - used in HA resources and purge parameter not set.",
    )
    assert await lab.task("DELETE", f"{QEMU}/800/", purge=1) == "OK"
    assert [entry["sid"] for entry in await lab.call("GET", RESOURCES)] == ["vm:801"]
    (left,) = await lab.call("GET", RULES)
    assert (left["rule"], left["resources"]) == ("apart", "vm:801")
    assert left["errors"] == {"resources": ["rule is ineffective as there are less than two resources"]}


async def test_a_resource_may_leave_its_rules_alone(lab: Lab) -> None:
    await created(lab)
    await managed(lab)
    await lab.call("POST", RULES, rule="home", type="node-affinity", nodes="ms01", resources="vm:800")
    await lab.call("DELETE", f"{RESOURCES}/vm:800", purge=0)
    assert [rule["resources"] for rule in await lab.call("GET", RULES)] == ["vm:800"]


async def test_what_is_to_be_apart_is_moved_apart(lab: Lab) -> None:
    for vmid in (800, 801, 802):
        await created(lab, vmid)
        await managed(lab, vmid)
    await lab.call(
        "POST", RULES, rule="apart", type="resource-affinity", affinity="negative", resources="vm:800,vm:801,vm:802"
    )
    await settled(lab)
    assert [(await status(lab, vmid))["node"] for vmid in (800, 801, 802)] == ["ms01", "ms02", "ms03"]


async def test_what_is_to_be_together_is_moved_together(lab: Lab) -> None:
    for vmid, node in ((800, "ms02"), (801, "ms01")):
        await created(lab, vmid, node)
        await managed(lab, vmid)
    await lab.call("POST", RULES, rule="near", type="resource-affinity", affinity="positive", resources="vm:800,vm:801")
    await settled(lab)
    assert [(await status(lab, vmid))["node"] for vmid in (800, 801)] == ["ms02", "ms02"]


@pytest.mark.parametrize(
    ("settings", "rule", "node"),
    [
        ({}, {"nodes": "ms03"}, "ms03"),
        ({}, {"nodes": "ms02:1,ms03:2"}, "ms03"),
        ({"failback": 0}, {"nodes": "ms03"}, "ms01"),
        ({"failback": 0}, {"nodes": "ms03", "strict": 1}, "ms03"),
        ({}, {"nodes": "ms03", "disable": 1}, "ms01"),
        ({"state": "stopped"}, {"nodes": "ms03"}, "ms01"),
    ],
)
async def test_a_vm_goes_where_it_prefers_to_be(
    lab: Lab, settings: dict[str, Any], rule: dict[str, Any], node: str
) -> None:
    await created(lab)
    await managed(lab, **settings)
    await lab.call("POST", RULES, rule="home", type="node-affinity", resources="vm:800", **rule)
    await settled(lab)
    assert (await status(lab))["node"] == node


@pytest.mark.parametrize(
    ("drives", "node"),
    [({"scsi1": "local-lvm:1"}, "ms03"), ({"ide0": "local:iso/x.iso,media=cdrom"}, "ms01")],
    ids=["disks go along", "a disc of the host keeps it there"],
)
async def test_a_vm_is_moved_with_its_local_disks(lab: Lab, drives: dict[str, Any], node: str) -> None:
    lab.cluster.storages.on("ms01").add_file("local:iso/x.iso", 1 << 20, None, 1 << 20)
    await created(lab, **drives)
    await managed(lab)
    await lab.call("POST", RULES, rule="home", type="node-affinity", resources="vm:800", nodes="ms03")
    await settled(lab)
    assert ((await status(lab))["node"], "qmigrate" in await tasks(lab, "root@pam")) == (node, True)


async def test_a_migration_is_the_manager_s_too(lab: Lab) -> None:
    await created(lab)
    await managed(lab)
    assert await lab.task("POST", f"{QEMU}/800/migrate", target="ms02", online=1) == "OK"
    assert ((await status(lab))["node"], await tasks(lab, "root@pam")) == ("ms02", ["qmigrate"])
    answer = await lab.call("POST", f"{RESOURCES}/vm:800/migrate", node="ms03")
    await settled(lab)
    assert (answer, (await status(lab))["node"]) == ({"sid": "vm:800", "requested-node": "ms03"}, "ms03")
