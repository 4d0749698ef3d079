"""Several hosts in one cluster: whose VM and whose volume it is, types of storage, and moving between hosts."""

from __future__ import annotations

from typing import Any

import pytest

from lab.proxmox.errors import ApiError

from .conftest import SITE, VM, Lab, MakeLab

BARE: dict[str, Any] = {"vmid": 800, "name": "vm", "net0": "virtio,bridge=vmbr0", "scsi0": "ceph:8"}


def qemu(node: str) -> str:
    return f"/nodes/{node}/qemu"


async def created(lab: Lab, node: str = "ms01", *, started: bool = True, **changes: object) -> None:
    assert await lab.task("POST", qemu(node), **{**BARE, **changes}) == "OK"
    if started:
        vmid = changes.get("vmid", BARE["vmid"])
        assert await lab.task("POST", f"{qemu(node)}/{vmid}/status/start") == "OK"


async def migrated(lab: Lab, target: str = "ms02", **parameters: object) -> str:
    return await lab.task("POST", f"{qemu('ms01')}/800/migrate", target=target, **parameters)


async def last_log(lab: Lab, kind: str, node: str = "ms01") -> list[str]:
    task = (await lab.call("GET", f"/nodes/{node}/tasks", typefilter=kind))[0]
    return [line["t"] for line in await lab.call("GET", f"/nodes/{node}/tasks/{task['upid']}/log")]


async def test_the_cluster_has_its_hosts(lab: Lab) -> None:
    assert [node["node"] for node in await lab.call("GET", "/nodes")] == ["ms01", "ms02", "ms03"]
    rows = await lab.call("GET", "/cluster/status")
    assert [(row["name"], row.get("ip")) for row in rows] == [
        ("ms01", "10.42.0.2"),
        ("ms02", "10.42.0.12"),
        ("ms03", "10.42.0.13"),
        ("homelab", None),
    ]


async def test_a_vm_is_on_its_host_and_on_no_other(lab: Lab) -> None:
    await created(lab, "ms03", started=False)
    assert [guest["vmid"] for guest in await lab.call("GET", qemu("ms03"))] == [800]
    assert [guest["vmid"] for guest in await lab.call("GET", qemu("ms01"))] == [100]
    rows = await lab.call("GET", "/cluster/resources", type="vm")
    assert {row["vmid"]: row["node"] for row in rows} == {100: "ms01", 800: "ms03"}
    assert (await lab.answer("GET", f"{qemu('ms01')}/800/config"))[1]["reason"] == (
        "Configuration file 'nodes/ms01/qemu-server/800.conf' does not exist"
    )
    assert (await lab.answer("POST", qemu("ms01"), **VM))[1]["reason"] == (
        "unable to create VM 800 - VM 800 already exists on node 'ms03'"
    )


async def test_each_host_has_its_bridges(lab: Lab) -> None:
    found = {}
    for node in ("ms01", "ms02"):
        bridges = await lab.call("GET", f"/nodes/{node}/network", type="any_bridge")
        found[node] = [(bridge["iface"], bridge["cidr"], bridge.get("mtu")) for bridge in bridges]
    assert found == {
        "ms01": [("vmbr0", "10.42.0.1/24", None), ("vmbr1", "10.43.0.1/24", "9000")],
        "ms02": [("vmbr0", "10.42.0.12/24", None), ("vmbr1", "10.43.0.12/24", "9000")],
    }


async def test_the_storages_of_a_host_say_what_they_are(lab: Lab) -> None:
    found = {row["storage"]: row for row in await lab.call("GET", "/nodes/ms02/storage")}
    assert {name: (row["type"], row["shared"]) for name, row in found.items()} == {
        "local": ("dir", 0),
        "local-lvm": ("lvmthin", 0),
        "ceph": ("rbd", 1),
        "c137-isos": ("nfs", 1),
        "c137-images": ("nfs", 1),
    }
    images = [row["storage"] for row in await lab.call("GET", "/nodes/ms02/storage", content="images")]
    assert images == ["local", "local-lvm", "ceph"]
    shared = [row["storage"] for row in await lab.call("GET", "/nodes/ms02/storage", target="ms01")]
    assert shared == ["ceph", "c137-isos", "c137-images"]


@pytest.mark.parametrize(
    ("storage", "volumes"),
    [
        ("ceph", ["ceph:vm-800-cloudinit", "ceph:vm-800-disk-0", "ceph:vm-800-disk-1"]),
        ("local-lvm", ["local-lvm:vm-800-cloudinit", "local-lvm:vm-800-disk-0", "local-lvm:vm-800-disk-1"]),
        (
            "local",
            ["local:800/vm-800-cloudinit.qcow2", "local:800/vm-800-disk-0.raw", "local:800/vm-800-disk-1.raw"],
        ),
    ],
)
async def test_volumes_have_the_names_of_their_storage(lab: Lab, storage: str, volumes: list[str]) -> None:
    await created(lab, scsi0=f"{storage}:8", scsi1=f"{storage}:1", ide2=f"{storage}:cloudinit", started=False)
    content = await lab.call("GET", f"/nodes/ms01/storage/{storage}/content", vmid=800)
    assert sorted(entry["volid"] for entry in content) == volumes
    assert {entry["format"] for entry in content} == ({"raw", "qcow2"} if storage == "local" else {"raw"})
    config = await lab.call("GET", f"{qemu('ms01')}/800/config")
    assert [config["ide2"], config["scsi0"], config["scsi1"]] == [
        f"{volumes[0]},media=cdrom",
        f"{volumes[1]},size=8G",
        f"{volumes[2]},size=1G",
    ]


async def test_the_volumes_of_a_host_are_on_no_other(lab: Lab) -> None:
    await created(lab, "ms02", scsi0="local-lvm:8", scsi1="ceph:8", started=False)
    found = {}
    for node in ("ms01", "ms02"):
        for storage in ("local-lvm", "ceph"):
            content = await lab.call("GET", f"/nodes/{node}/storage/{storage}/content")
            found[node, storage] = [entry["volid"] for entry in content]
    assert found == {
        ("ms01", "local-lvm"): [],
        ("ms01", "ceph"): ["ceph:vm-800-disk-0"],
        ("ms02", "local-lvm"): ["local-lvm:vm-800-disk-0"],
        ("ms02", "ceph"): ["ceph:vm-800-disk-0"],
    }


@pytest.mark.parametrize(
    ("option", "value", "words"),
    [
        ("scsi0", "ceph:8,format=qcow2", "unsupported format 'qcow2'"),
        ("scsi0", "local-lvm:8,format=vmdk", "unsupported format 'vmdk'"),
    ],
)
async def test_block_devices_are_raw(lab: Lab, option: str, value: str, words: str) -> None:
    assert await lab.task("POST", qemu("ms01"), vmid=800, **{option: value}) == f"unable to create VM 800 - {words}"


@pytest.mark.parametrize(
    ("volume", "words"),
    [
        ("ceph:800/vm-800-disk-0.raw", "unable to parse rbd volume name '800/vm-800-disk-0.raw'"),
        ("local-lvm:32G", "unable to parse lvm volume name '32G'"),
        ("local:vm-800-disk-0", "unable to parse directory volume name 'vm-800-disk-0'"),
    ],
)
def test_a_volume_of_another_kind_of_storage_is_not_understood(lab: Lab, volume: str, words: str) -> None:
    with pytest.raises(ApiError, match=words):
        lab.cluster.storages.parse(volume)


async def test_a_storage_that_the_host_lacks_is_refused(make_lab: MakeLab) -> None:
    storages = {storage.id: storage for storage in SITE.proxmox.storages}
    storages["local-lvm"] = storages["local-lvm"].model_copy(update={"nodes": ("ms02",)})
    lab = await make_lab(storages=tuple(storages.values()))
    assert await lab.task("POST", qemu("ms01"), vmid=800, scsi0="local-lvm:8") == (
        "unable to create VM 800 - storage 'local-lvm' is not available on node 'ms01'"
    )
    assert "local-lvm" not in [row["storage"] for row in await lab.call("GET", "/nodes/ms01/storage")]
    assert (await lab.answer("GET", "/nodes/ms01/storage/local-lvm/content"))[0] == 500
    resources = await lab.call("GET", "/cluster/resources", type="storage")
    assert [row["node"] for row in resources if row["storage"] == "local-lvm"] == ["ms02"]
    assert [row["nodes"] for row in await lab.call("GET", "/storage", type="lvmthin")] == ["ms02"]


async def test_a_running_vm_moves_and_goes_on(lab: Lab, make_lab: MakeLab) -> None:
    await created(lab)
    before = lab.hypervisor.machines[800]
    assert await migrated(lab, online=1, with__conntrack__state=1) == "OK"
    status = await lab.call("GET", f"{qemu('ms02')}/800/status/current")
    assert status["status"] == "running"
    assert lab.hypervisor.machines[800] is before, "its process went on"
    assert (await lab.answer("GET", f"{qemu('ms01')}/800/status/current"))[0] == 500
    again = await make_lab()
    assert (await again.call("GET", "/cluster/resources", type="vm"))[1]["node"] == "ms02"


async def test_local_disks_move_along_when_asked(lab: Lab) -> None:
    await created(lab, scsi0="local-lvm:8", scsi1="ceph:8", ide2="local:cloudinit")
    assert await migrated(lab, online=1) == "migration aborted"
    assert await last_log(lab, "qmigrate") == [
        "starting migration of VM 800 to node 'ms02'",
        "can't migrate local disk 'local-lvm:vm-800-disk-0': can't live migrate attached local disks without "
        "with-local-disks option",
        "ERROR: migration aborted: Problem found while scanning volumes - can't migrate VM - check log",
        "TASK ERROR: migration aborted",
    ]
    assert await migrated(lab, online=1, with__local__disks=1) == "OK"
    for storage, volume in (
        ("local-lvm", "local-lvm:vm-800-disk-0"),
        ("local", "local:800/vm-800-cloudinit.qcow2"),
        ("ceph", "ceph:vm-800-disk-0"),
    ):
        there = await lab.call("GET", f"/nodes/ms02/storage/{storage}/content")
        assert [entry["volid"] for entry in there] == [volume]
        here = await lab.call("GET", f"/nodes/ms01/storage/{storage}/content")
        assert len(here) == (1 if storage == "ceph" else 0)
    assert await lab.task("POST", f"{qemu('ms02')}/800/status/stop") == "OK"
    assert await lab.task("POST", f"{qemu('ms02')}/800/status/start") == "OK"


async def test_a_stopped_vm_takes_its_local_disks_along_anyway(lab: Lab) -> None:
    await created(lab, scsi0="local-lvm:8", started=False)
    assert await migrated(lab) == "OK"
    assert len(await lab.call("GET", "/nodes/ms02/storage/local-lvm/content")) == 1


@pytest.mark.parametrize(
    ("parameters", "status", "words"),
    [
        ({"target": "ms02"}, 500, "can't migrate running VM without --online"),
        ({"target": "ms01", "online": 1}, 400, "target is local node."),
        ({"target": "ms09", "online": 1}, 500, "no such cluster node 'ms09'"),
        ({"target": "ms02", "online": 1, "force": 1}, 400, "Only root may use this option."),
        (
            {"target": "ms02", "online": 1, "targetstorage": "c137-isos"},
            500,
            "storage 'c137-isos' does not support vm images",
        ),
    ],
)
async def test_a_migration_that_cannot_be_is_refused_at_once(
    lab: Lab, parameters: dict[str, Any], status: int, words: str
) -> None:
    await created(lab)
    got, body = await lab.answer("POST", f"{qemu('ms01')}/800/migrate", **parameters)
    assert (got, next(iter(body.get("errors", {}).values()), body["reason"])) == (status, words)


async def test_migrating_needs_its_privilege(lab: Lab) -> None:
    await created(lab)
    lab.break_things("privilege-revoked", "VM.Migrate")
    status, body = await lab.answer("POST", f"{qemu('ms01')}/800/migrate", target="ms02", online=1)
    assert (status, body["reason"]) == (403, "Permission check failed (/vms/800, VM.Migrate)")


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"net0": "virtio,bridge=vmbr7"}, "bridge 'vmbr7' does not exist"),
        (
            {"ide2": "local:iso/x.iso,media=cdrom"},
            "Problem found while scanning volumes - can't migrate VM - check log",
        ),
        (
            {"hostpci0": "mapping=gpu7"},
            "can't live migrate running VM which uses following mapped devices: hostpci0:gpu7",
        ),
    ],
)
async def test_what_binds_a_vm_to_its_host_aborts_the_migration(
    make_lab: MakeLab, changes: dict[str, Any], problem: str
) -> None:
    site = SITE.proxmox
    gpu, bridge = site.mappings[0], site.bridges[0]
    everywhere = tuple(gpu.map[0].model_copy(update={"node": node}) for node in ("ms01", "ms02"))
    only_here = {"name": "vmbr7", "addresses": {"ms01": bridge.addresses["ms01"]}}
    lab = await make_lab(
        mappings=(gpu.model_copy(update={"id": "gpu7", "map": everywhere}),),
        bridges=(*site.bridges, bridge.model_copy(update=only_here)),
    )
    lab.cluster.storages.on("ms01").add_file("local:iso/x.iso", 1 << 20, None, 1 << 20)
    await created(lab, **changes)
    assert await migrated(lab, online=1) == "migration aborted"
    assert f"ERROR: migration aborted: {problem}" in await last_log(lab, "qmigrate")


async def test_a_device_that_the_target_lacks_aborts_the_migration(lab: Lab) -> None:
    await created(lab, hostpci0="mapping=gpu0", started=False)
    assert await migrated(lab, "ms03") == "migration aborted"
    assert "ERROR: migration aborted: can't migrate to 'ms03': missing mapped devices hostpci0" in (
        await last_log(lab, "qmigrate")
    )
    assert await migrated(lab, "ms02") == "OK"
