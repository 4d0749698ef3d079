"""Templates, clones and snapshots: what the copy has of its original, and what cannot be copied."""

from __future__ import annotations

from typing import Any

import pytest

from lab.proxmox.tasks import Task

from .conftest import VM, Lab

QEMU = "/nodes/ms01/qemu"
CEPH = {"scsi0": "ceph:32", "ide2": "none,media=cdrom"}


async def created(lab: Lab, vmid: int = 800, **changes: object) -> dict[str, Any]:
    assert await lab.task("POST", QEMU, **{**VM, "vmid": vmid, **changes}) == "OK"
    return await config(lab, vmid)


async def config(lab: Lab, vmid: int = 800, node: str = "ms01") -> dict[str, Any]:
    found: dict[str, Any] = await lab.call("GET", f"/nodes/{node}/qemu/{vmid}/config")
    return found


async def clone(lab: Lab, **parameters: object) -> str:
    return await lab.task("POST", f"{QEMU}/800/clone", newid=801, **parameters)


async def refusal(lab: Lab, method: str, path: str, /, **parameters: object) -> str:
    return str((await lab.answer(method, path, **parameters))[1]["reason"])


@pytest.fixture(autouse=True)
async def _as_root(lab: Lab) -> None:
    """The lab's own token may neither clone nor take snapshots."""
    await lab.log_in()


def written(lab: Lab, vmid: int, storage: str, disk: str) -> str:
    """What the guest has written on a disk."""
    return (lab.directory.vms / str(vmid) / "disks" / storage / disk / "data").read_text()


def write(lab: Lab, vmid: int, storage: str, disk: str, text: str) -> None:
    (lab.directory.vms / str(vmid) / "disks" / storage / disk / "data").write_text(text)


async def test_a_clone_is_the_same_and_another_one(lab: Lab) -> None:
    before = await created(lab, ide0="local:cloudinit", ipconfig0="ip=dhcp", unused0="local:800/vm-800-disk-9.raw")
    write(lab, 800, "local", "vm-800-disk-0", "etcd")
    upid = await lab.call("POST", f"{QEMU}/800/clone", newid=801, name="copy", pool="talos", description="second")
    await lab.cluster.tasks.wait_all()
    log = [line["t"] for line in await lab.call("GET", f"/nodes/ms01/tasks/{upid}/log")]
    assert log == [
        "creating a clone of VM 800 with ID 801",
        "create full clone of drive ide0 (local:800/vm-800-cloudinit.qcow2)",
        "create full clone of drive scsi0 (local:800/vm-800-disk-0.raw)",
        "transferred 0.0 B of 32.0 GiB (0.00%)",
        *(f"transferred {8 * part}.0 GiB of 32.0 GiB ({25 * part}.00%)" for part in (1, 2, 3, 4)),
        "TASK OK",
    ]
    after = await config(lab, 801)
    assert (after["name"], after["description"]) == ("copy", "second")
    assert after["scsi0"] == before["scsi0"].replace("800", "801")
    assert after["ide0"] == "local:801/vm-801-cloudinit.qcow2,media=cdrom,size=4M"
    assert (after["ide2"], after["memory"]) == (before["ide2"], before["memory"])
    assert "unused0" not in after
    for option in ("net0", "smbios1", "vmgenid"):
        assert after[option] != before[option], option
    assert after["net0"].endswith(",bridge=vmbr0,firewall=0")
    assert written(lab, 801, "local", "vm-801-disk-0") == "etcd"
    assert [m["vmid"] for m in (await lab.call("GET", "/pools", poolid="talos"))[0]["members"]] == [801]


async def test_a_clone_goes_where_it_is_told(lab: Lab) -> None:
    await created(lab)
    assert await clone(lab, storage="ceph") == "OK"
    assert (await config(lab, 801))["scsi0"].startswith("ceph:vm-801-disk-0,")


@pytest.mark.parametrize(
    ("scsi0", "base", "linked"),
    [
        ("local:32", "local:800/base-800-disk-0.raw", "local:800/base-800-disk-0.raw/801/vm-801-disk-0.qcow2"),
        ("local-lvm:32", "local-lvm:base-800-disk-0", "local-lvm:vm-801-disk-0"),
        ("ceph:32", "ceph:base-800-disk-0", "ceph:base-800-disk-0/vm-801-disk-0"),
    ],
)
async def test_a_template_is_linked_to(lab: Lab, scsi0: str, base: str, linked: str) -> None:
    await created(lab, scsi0=scsi0)
    assert await lab.task("POST", f"{QEMU}/800/template") == "OK"
    template = await config(lab)
    assert (template["template"], template["scsi0"].partition(",")[0]) == (1, base)
    assert await lab.task("POST", f"{QEMU}/800/status/start") == "you can't start a vm if it's a template"
    assert await clone(lab) == "OK"
    assert (await config(lab, 801))["scsi0"].partition(",")[0] == linked
    assert "template" not in await config(lab, 801)
    assert await lab.task("POST", f"{QEMU}/801/status/start") == "OK"
    status = await lab.task("DELETE", f"{QEMU}/800")
    assert status == f"base volume '{base}' is still in use by linked cloned"
    assert await lab.task("POST", f"{QEMU}/801/status/stop") == "OK"
    for vmid in (801, 800):
        assert await lab.task("DELETE", f"{QEMU}/{vmid}") == "OK"


async def test_a_new_disk_of_a_template_is_a_base_image(lab: Lab) -> None:
    await created(lab)
    assert await lab.task("POST", f"{QEMU}/800/template") == "OK"
    await lab.call("PUT", f"{QEMU}/800/config", scsi1="local-lvm:1")
    assert (await config(lab))["scsi1"] == "local-lvm:base-800-disk-0,size=1G"


async def test_a_clone_of_shared_disks_is_born_on_another_host(lab: Lab) -> None:
    await created(lab, 800, **CEPH)
    assert await clone(lab, target="ms02") == "OK"
    assert (await config(lab, 801, "ms02"))["scsi0"].startswith("ceph:vm-801-disk-0,")


async def test_a_locked_vm_is_left_alone_but_for_root(lab: Lab) -> None:
    """As a clone is while it is made: its new VM has the lock `clone`."""
    await created(lab)
    lab.cluster.guests.get("ms01", 800).config["lock"] = "clone"
    assert (await config(lab))["lock"] == "clone"
    for method, path, parameters in (
        ("POST", "clone", {"newid": 802}),
        ("PUT", "config", {"cores": 1}),
        ("POST", "template", {}),
        ("POST", "move_disk", {"disk": "scsi0", "storage": "ceph"}),
        ("POST", "migrate", {"target": "ms02"}),
        ("PUT", "cloudinit", {}),
    ):
        assert await refusal(lab, method, f"{QEMU}/800/{path}", **parameters) == "VM is locked (clone)", path
    for method, path, parameters in (
        ("POST", "status/start", {}),
        ("POST", "snapshot", {"snapname": "x1"}),
        ("PUT", "resize", {"disk": "scsi0", "size": "+1G"}),
    ):
        assert await lab.task(method, f"{QEMU}/800/{path}", **parameters) == "VM is locked (clone)", path
    assert await lab.task("DELETE", f"{QEMU}/800") == "VM is locked (clone)"
    assert await lab.task("POST", f"{QEMU}/800/status/start", skiplock=1) == "OK"
    await lab.call("PUT", f"{QEMU}/800/config", delete="lock", skiplock=1)
    assert await lab.task("POST", f"{QEMU}/800/status/stop") == "OK"


async def test_a_new_clone_has_its_lock(lab: Lab) -> None:
    await created(lab)
    plan = lab.cluster.cloning.check("root@pam", lab.cluster.guests.get("ms01", 800), {"newid": "801"})
    locks: list[object] = []

    class Watching(Task):
        def log(self, line: str) -> None:
            if line.startswith("transferred"):
                locks.append(lab.cluster.guests.get("ms01", 801).config.get("lock"))

    task = Watching("UPID", "ms01", 1, 1, 1, "qmclone", "800", "root@pam")
    await lab.cluster.cloning.run(plan, task)
    assert (set(locks), plan.config["name"]) == ({"clone"}, "Copy-of-VM-homelab-cp1")
    assert "lock" not in await config(lab, 801)


async def test_a_clone_that_fails_leaves_nothing(lab: Lab) -> None:
    await created(lab, scsi1="local:1")
    disk = "local:800/vm-800-disk-1.raw"
    lab.break_things("volume-missing", disk)
    assert await clone(lab) == f"clone failed: volume '{disk}' does not exist"
    assert (await lab.answer("GET", f"{QEMU}/801/config"))[0] == 500
    assert await lab.call("GET", "/nodes/ms01/storage/local/content", vmid=801) == []


@pytest.mark.parametrize(
    ("parameters", "words"),
    [
        ({"newid": 100}, "unable to create VM 100: config file already exists"),
        ({"snapname": "gone"}, "snapshot 'gone' does not exist"),
        ({"full": 0, "storage": "ceph"}, "parameter 'storage' not allowed for linked clones"),
        ({"full": 0}, "Linked clone feature is not supported for 'local:800/vm-800-disk-0.raw' (scsi0)"),
        ({"target": "ms02"}, "can't clone VM to node 'ms02' (VM uses local storage)"),
        ({"target": "ms02", "storage": "local"}, "can't clone to non-shared storage 'local'"),
        ({"target": "ms09"}, "no such cluster node 'ms09'"),
        ({"pool": "nobody"}, "pool 'nobody' does not exist"),
        ({"storage": "c137-isos"}, "Parameter verification failed."),
    ],
)
async def test_what_cannot_be_cloned_is_refused_at_once(lab: Lab, parameters: dict[str, object], words: str) -> None:
    await created(lab)
    assert await refusal(lab, "POST", f"{QEMU}/800/clone", **{"newid": 801, **parameters}) == words


async def test_who_may_not_use_a_storage_clones_nothing_onto_it(lab: Lab) -> None:
    await created(lab)
    await lab.call("POST", "/access/users", userid="ops@pve", password="hunter2-hunter2")
    await lab.call("PUT", "/access/acl", path="/vms", roles="PVEVMAdmin", users="ops@pve")
    await lab.log_in("ops@pve", "hunter2-hunter2")
    words = "Permission check failed (/storage/local, Datastore.AllocateSpace)"
    assert await refusal(lab, "POST", f"{QEMU}/800/clone", newid=801) == words


async def test_back_to_a_snapshot(lab: Lab) -> None:
    await created(lab, scsi0="local-lvm:32")
    write(lab, 800, "local-lvm", "vm-800-disk-0", "before")
    assert await lab.task("POST", f"{QEMU}/800/snapshot", snapname="first", description="it works") == "OK"
    write(lab, 800, "local-lvm", "vm-800-disk-0", "after")
    await lab.call("PUT", f"{QEMU}/800/config", cores=8, scsi1="local-lvm:1")
    assert await lab.task("POST", f"{QEMU}/800/snapshot", snapname="second") == "OK"
    listed = await lab.call("GET", f"{QEMU}/800/snapshot")
    assert [(entry["name"], entry.get("parent"), entry["description"]) for entry in listed] == [
        ("first", None, "it works"),
        ("second", "first", ""),
        ("current", "second", "You are here!"),
    ]
    assert await lab.task("POST", f"{QEMU}/800/status/start") == "OK"
    assert await lab.task("POST", f"{QEMU}/800/snapshot/first/rollback") == "OK"
    now = await config(lab)
    assert (now["cores"], now["parent"], now["unused0"]) == (4, "first", "local-lvm:vm-800-disk-1")
    assert "scsi1" not in now
    assert written(lab, 800, "local-lvm", "vm-800-disk-0") == "before"
    assert (await lab.call("GET", f"{QEMU}/800/status/current"))["status"] == "stopped"
    assert (await lab.call("GET", f"{QEMU}/800/config", snapshot="second"))["cores"] == 8


async def test_a_snapshot_that_goes_leaves_its_children_to_its_parent(lab: Lab) -> None:
    await created(lab, scsi0="local-lvm:32")
    for name in ("a", "b", "c"):
        assert await lab.task("POST", f"{QEMU}/800/snapshot", snapname=name + name) == "OK"
    assert await lab.task("DELETE", f"{QEMU}/800/snapshot/bb") == "OK"
    listed = await lab.call("GET", f"{QEMU}/800/snapshot")
    assert [(e["name"], e.get("parent")) for e in listed] == [("aa", None), ("cc", "aa"), ("current", "cc")]
    await lab.call("PUT", f"{QEMU}/800/snapshot/cc/config", description="the last")
    assert (await lab.call("GET", f"{QEMU}/800/snapshot/cc/config"))["description"] == "the last"


async def test_a_clone_of_a_snapshot_has_what_was_then(lab: Lab) -> None:
    await created(lab, scsi0="local-lvm:32")
    write(lab, 800, "local-lvm", "vm-800-disk-0", "before")
    assert await lab.task("POST", f"{QEMU}/800/snapshot", snapname="then") == "OK"
    write(lab, 800, "local-lvm", "vm-800-disk-0", "after")
    assert await clone(lab, snapname="then") == "OK"
    assert written(lab, 801, "local-lvm", "vm-801-disk-0") == "before"


@pytest.mark.parametrize(
    ("name", "parameters", "words"),
    [
        ("current", {}, "unable to use snapshot name 'current' (reserved name)"),
        ("taken", {}, "snapshot name 'taken' already used"),
    ],
)
async def test_a_snapshot_that_cannot_be(lab: Lab, name: str, parameters: dict[str, object], words: str) -> None:
    await created(lab, scsi0="local-lvm:32")
    assert await lab.task("POST", f"{QEMU}/800/snapshot", snapname="taken") == "OK"
    status, body = await lab.answer("POST", f"{QEMU}/800/snapshot", snapname=name, **parameters)
    if status == 200:
        await lab.cluster.tasks.wait_all()
        assert (await lab.call("GET", f"/nodes/ms01/tasks/{body['data']}/status"))["exitstatus"] == words
    else:
        assert body["reason"] == words


async def test_a_raw_file_has_no_snapshots(lab: Lab) -> None:
    await created(lab)
    assert await lab.task("POST", f"{QEMU}/800/snapshot", snapname="x1") == "snapshot feature is not available"
    for feature, has in (("snapshot", 0), ("copy", 1), ("clone", 0)):
        assert (await lab.call("GET", f"{QEMU}/800/feature", feature=feature))["hasFeature"] == has


async def test_a_disk_that_a_snapshot_has_is_not_removed(lab: Lab) -> None:
    await created(lab, scsi0="local-lvm:32")
    assert await lab.task("POST", f"{QEMU}/800/snapshot", snapname="x1") == "OK"
    await lab.call("PUT", f"{QEMU}/800/config", delete="scsi0")
    words = "unable to delete 'local-lvm:vm-800-disk-0' - volume is still in use (snapshot?)"
    assert await refusal(lab, "PUT", f"{QEMU}/800/config", delete="unused0") == words
    assert await refusal(lab, "POST", f"{QEMU}/800/template") == (
        "unable to create template, because VM contains snapshots"
    )


async def test_the_contents_of_memory_are_not_kept(lab: Lab) -> None:
    await created(lab, scsi0="local-lvm:32")
    assert await lab.task("POST", f"{QEMU}/800/status/start") == "OK"
    status = await lab.task("POST", f"{QEMU}/800/snapshot", snapname="x1", vmstate=1)
    assert status == "snapshots with the contents of the memory are not built in this lab"
