"""Disks that move, grow and go; storages that are full; and what a running VM takes of its new configuration."""

from __future__ import annotations

from typing import Any

import pytest

from .conftest import SITE, VM, Lab, MakeLab

QEMU = "/nodes/ms01/qemu"


async def created(lab: Lab, vmid: int = 800, **changes: object) -> None:
    assert await lab.task("POST", QEMU, **{**VM, "vmid": vmid, **changes}) == "OK"


async def running(lab: Lab, **changes: object) -> None:
    await created(lab, 800, **changes)
    assert await lab.task("POST", f"{QEMU}/800/status/start") == "OK"


async def config(lab: Lab, vmid: int = 800, **parameters: object) -> dict[str, Any]:
    found: dict[str, Any] = await lab.call("GET", f"{QEMU}/{vmid}/config", **parameters)
    return found


async def change(lab: Lab, **parameters: object) -> None:
    await lab.call("PUT", f"{QEMU}/800/config", **parameters)


async def pending(lab: Lab) -> dict[str, Any]:
    rows = await lab.call("GET", f"{QEMU}/800/pending")
    return {row["key"]: row.get("pending", row.get("delete")) for row in rows if {"pending", "delete"} & row.keys()}


async def refusal(lab: Lab, method: str, path: str, /, **parameters: object) -> str:
    body = (await lab.answer(method, path, **parameters))[1]
    return str(next(iter(body.get("errors", {}).values()), body["reason"]))


async def move(lab: Lab, **parameters: object) -> str:
    return await lab.task("POST", f"{QEMU}/800/move_disk", **{"disk": "scsi0", **parameters})


async def volumes(lab: Lab, storage: str = "local") -> list[str]:
    found = await lab.call("GET", f"/nodes/ms01/storage/{storage}/content", content="images")
    return [volume["volid"] for volume in found]


# Moving


async def test_a_disk_moves_with_what_is_on_it(lab: Lab) -> None:
    await running(lab)
    data = lab.directory.vms / "800" / "disks"
    (data / "local" / "vm-800-disk-0" / "data").write_text("etcd")
    assert await move(lab, storage="ceph", delete=1) == "OK"
    assert (await config(lab))["scsi0"].startswith("ceph:vm-800-disk-0,aio=io_uring,")
    assert (data / "ceph" / "vm-800-disk-0" / "data").read_text() == "etcd"
    assert await volumes(lab) == []
    assert lab.hypervisor.machines[800]["disks"][0]["path"] == str(data / "ceph" / "vm-800-disk-0")


async def test_the_original_of_a_moved_disk_stays_unless_told_otherwise(lab: Lab) -> None:
    await created(lab)
    upid = await lab.call("POST", f"{QEMU}/800/move_disk", disk="scsi0", storage="local", format="qcow2")
    await lab.cluster.tasks.wait_all()
    now = await config(lab)
    assert (now["scsi0"].partition(",")[0], now["unused0"]) == (
        "local:800/vm-800-disk-1.qcow2",
        "local:800/vm-800-disk-0.raw",
    )
    log = [line["t"] for line in await lab.call("GET", f"/nodes/ms01/tasks/{upid}/log")]
    assert log[0] == (
        "copying volume 'local:800/vm-800-disk-0.raw' from current storage 'local' to target storage 'local'"
    )
    assert log[-2:] == ["adding source volume 'local:800/vm-800-disk-0.raw' as 'unused0' to config", "TASK OK"]


@pytest.mark.parametrize(
    ("parameters", "words"),
    [
        ({}, "both 'storage' and 'target-vmid' missing, either needs to be set"),
        ({"storage": "ceph", "target-vmid": 100}, "either set 'storage' or 'target-vmid', but not both"),
        ({"storage": "local"}, "you can't move to the same storage with same format"),
        ({"storage": "local", "format": "raw"}, "you can't move to the same storage with same format"),
        ({"storage": "c137-isos"}, "storage 'c137-isos' does not support vm images"),
        ({"storage": "ceph", "disk": "ide2"}, "you can't move a cdrom"),
        ({"storage": "ceph", "disk": "scsi9"}, "disk 'scsi9' does not exist"),
        ({"storage": "ceph", "digest": "0" * 40}, "checksum mismatch (file change by other user?)"),
        ({"target-vmid": 800}, "must be different than source VMID to reassign disk"),
        ({"target-vmid": 899}, "could not find target VM 899"),
        ({"target-vmid": 100, "target-disk": "scsi0"}, "Target disk key 'scsi0' is already in use for VM '100'"),
    ],
)
async def test_a_disk_that_cannot_move(lab: Lab, parameters: dict[str, object], words: str) -> None:
    await created(lab)
    wanted = {"disk": "scsi0", **{name.replace("-", "__"): value for name, value in parameters.items()}}
    assert await refusal(lab, "POST", f"{QEMU}/800/move_disk", **wanted) == words


async def test_a_disk_is_given_to_another_vm(lab: Lab) -> None:
    await created(lab)
    await created(lab, 801, scsi0="local:1")
    (lab.directory.vms / "800" / "disks" / "local" / "vm-800-disk-0" / "data").write_text("etcd")
    assert await move(lab, target__vmid=801, target__disk="scsi1") == "OK"
    assert "scsi0" not in await config(lab)
    assert (await config(lab))["boot"] == "order=ide2"
    assert (await config(lab, 801))["scsi1"].startswith("local:801/vm-801-disk-1.raw,")
    assert (lab.directory.vms / "801" / "disks" / "local" / "vm-801-disk-1" / "data").read_text() == "etcd"


# Growing and going


async def test_only_a_disk_grows(lab: Lab) -> None:
    await created(lab)
    for disk, words in (("ide2", "you can't resize a cdrom"), ("scsi7", "disk 'scsi7' does not exist")):
        assert await lab.task("PUT", f"{QEMU}/800/resize", disk=disk, size="+1G") == words


async def test_a_running_machine_finds_its_disk_grown(lab: Lab) -> None:
    await running(lab)
    assert await lab.task("PUT", f"{QEMU}/800/resize", disk="scsi0", size="+8G") == "OK"
    assert lab.hypervisor.machines[800]["disks"][0]["sizeBytes"] == 40 << 30


async def test_unlinking_keeps_a_disk_and_forcing_removes_it(lab: Lab) -> None:
    await created(lab, scsi1="local:1")
    await lab.call("PUT", f"{QEMU}/800/unlink", idlist="scsi0")
    assert (await config(lab))["unused0"] == "local:800/vm-800-disk-0.raw"
    await lab.call("PUT", f"{QEMU}/800/unlink", idlist="scsi1", force=1)
    assert await volumes(lab) == ["local:800/vm-800-disk-0.raw"]
    await change(lab, scsi2="local:800/vm-800-disk-0.raw")
    assert "unused0" not in await config(lab)


async def test_disks_that_nothing_names_go_only_when_that_is_wanted(lab: Lab) -> None:
    volume = await lab.call(
        "POST", "/nodes/ms01/storage/local/content", vmid=800, filename="vm-800-spare.raw", size="1G"
    )
    assert volume == "local:800/vm-800-spare.raw"
    await created(lab)
    assert await lab.task("DELETE", f"{QEMU}/800") == "OK"
    assert await volumes(lab) == [volume]
    await created(lab)
    assert await lab.task("DELETE", f"{QEMU}/800", destroy__unreferenced__disks=1) == "OK"
    assert await volumes(lab) == []


async def test_a_vm_s_disk_is_not_removed_behind_its_back(lab: Lab) -> None:
    await created(lab)
    path = "/nodes/ms01/storage/local/content/local:800%2Fvm-800-disk-0.raw"
    body = (await lab.answer("DELETE", path))[1]
    assert body["message"].splitlines()[0] == "Cannot remove image, a guest with VMID '800' exists!"


# Storages without space


@pytest.mark.parametrize(
    ("storage", "words"),
    [
        (
            "local",
            "unable to create image: qemu-img: /var/lib/vz/images/800/vm-800-disk-0.raw: Could not resize file: "
            "No space left on device",
        ),
        (
            "local-lvm",
            "lvcreate 'pve/vm-800-disk-0' error:   Cannot create new thin volume, free space in thin pool pve/data "
            "reached threshold.",
        ),
        ("ceph", "rbd create 'vm-800-disk-0' error: rbd: create error: (28) No space left on device"),
    ],
)
async def test_a_full_storage_takes_no_disk(make_lab: MakeLab, storage: str, words: str) -> None:
    full = tuple(known.model_copy(update={"used_gib": known.size_gib}) for known in SITE.proxmox.storages)
    lab = await make_lab(storages=full)
    status = await lab.call("GET", f"/nodes/ms01/storage/{storage}/status")
    assert (status["avail"], status["used_fraction"]) == (0, 1)
    assert await lab.task("POST", QEMU, vmid=800, scsi0=f"{storage}:1") == f"unable to create VM 800 - {words}"
    assert (await lab.answer("GET", f"{QEMU}/800/config"))[0] == 500


async def test_disks_are_thin(lab: Lab) -> None:
    before = await lab.call("GET", "/nodes/ms01/storage/local-lvm/status")
    await created(lab, scsi0="local-lvm:1000", scsi1="local-lvm:1000")
    assert (await lab.call("GET", "/nodes/ms01/storage/local-lvm/status"))["used"] == before["used"]


# What a running VM takes


async def test_a_running_vm_takes_disks_and_network_devices(lab: Lab) -> None:
    await running(lab)
    await change(lab, scsi1="local:8", net1="virtio,bridge=vmbr1", virtio0="local:1")
    assert await pending(lab) == {}
    machine = lab.hypervisor.machines[800]
    assert [disk["sizeBytes"] >> 30 for disk in machine["disks"]] == [32, 8, 1]
    assert [nic["bridge"] for nic in machine["nics"]] == ["vmbr0", "vmbr1"]
    await change(lab, delete="scsi1,net1")
    assert (len(machine["disks"]), len(machine["nics"])) == (2, 1)
    assert (await config(lab))["unused0"] == "local:800/vm-800-disk-1.raw"


@pytest.mark.parametrize(
    ("start", "wanted"),
    [
        ({}, {"sata0": "local:1"}),
        ({}, {"ide0": "local:1"}),
        ({}, {"efidisk0": "local:1"}),
        ({}, {"tpmstate0": "local:1,version=v2.0"}),
        ({"scsi0": "local:32"}, {"scsi0": "local:800/vm-800-disk-0.raw,cache=writeback"}),
        ({"scsi0": "local:32,iothread=1"}, {"scsi0": "local:800/vm-800-disk-0.raw"}),
        ({}, {"net0": "e1000=BC:24:11:00:00:01,bridge=vmbr0"}),
        ({}, {"memory": 4096}),
        ({}, {"cores": 2}),
        ({}, {"boot": "order=ide2"}),
        ({}, {"agent": "0"}),
        ({"hotplug": "0"}, {"scsi1": "local:1"}),
        ({"hotplug": "disk"}, {"net1": "virtio,bridge=vmbr0"}),
    ],
)
async def test_what_waits_for_the_next_start(lab: Lab, start: dict[str, object], wanted: dict[str, object]) -> None:
    if "net0" in wanted:
        start = {**start, "hotplug": "disk"}
    await running(lab, **start)
    await change(lab, **wanted)
    assert list(await pending(lab)) == list(wanted)
    shown, current = await config(lab), await config(lab, current=1)
    (option,) = wanted
    assert shown[option] != current.get(option)
    for power in ("stop", "start"):
        assert await lab.task("POST", f"{QEMU}/800/status/{power}") == "OK"
    assert (await pending(lab), (await config(lab, current=1))[option]) == ({}, shown[option])


@pytest.mark.parametrize(
    "wanted",
    [
        {"name": "other"},
        {"description": "x"},
        {"tags": "a;b"},
        {"protection": 1},
        {"onboot": 1},
        {"cpuunits": 200},
        {"nameserver": "1.1.1.1"},
        {"ipconfig0": "ip=dhcp"},
        {"hotplug": "disk"},
        {"net0": "virtio=BC:24:11:00:00:01,bridge=vmbr0,link_down=1"},
        {"scsi0": "local:800/vm-800-disk-0.raw,mbps_rd=10"},
        {"ide2": "none,media=cdrom"},
    ],
)
async def test_what_is_taken_at_once(lab: Lab, wanted: dict[str, object]) -> None:
    await running(lab, net0="virtio=BC:24:11:00:00:01,bridge=vmbr0", scsi0="local:32")
    await change(lab, **wanted)
    assert await pending(lab) == {}
    (option,) = wanted
    assert (await config(lab, current=1))[option]


async def test_memory_and_processors_are_plugged_where_that_is_on(lab: Lab) -> None:
    await running(lab, hotplug="cpu,memory", vcpus=1, numa=1)
    await change(lab, memory=16384, vcpus=2)
    assert await pending(lab) == {}
    words = await refusal(lab, "PUT", f"{QEMU}/800/config", vcpus=5)
    assert words == "hotplug problem - you can't add more vcpus than maxcpus\n"
    await change(lab, hotplug="disk")
    assert await pending(lab) == {"hotplug": "disk", "vcpus": 5}, "what cannot be is pending all the same"


async def test_a_drive_does_not_change_its_kind(lab: Lab) -> None:
    await running(lab)
    words = await refusal(lab, "PUT", f"{QEMU}/800/config", ide2="local:1")
    assert words == "hotplug problem - unable to change media type\n"


async def test_a_pending_change_is_reverted(lab: Lab) -> None:
    await running(lab)
    await change(lab, cores=2, sata0="local:1", memory=4096)
    await change(lab, revert="cores,sata0,memory")
    assert await pending(lab) == {}
    now = await config(lab)
    assert (now["cores"], now["memory"], now["unused0"]) == (4, "8192", "local:800/vm-800-disk-1.raw")
    await change(lab, delete="serial0")
    assert await pending(lab) == {"serial0": 1}
    await change(lab, revert="serial0")
    assert await pending(lab) == {}


async def test_a_vm_that_goes_off_by_itself_takes_what_is_pending_when_it_starts(lab: Lab) -> None:
    await running(lab)
    await change(lab, cores=2)
    await lab.hypervisor.power_cut(800)
    assert await pending(lab) == {"cores": 2}
    assert await lab.task("POST", f"{QEMU}/800/status/start") == "OK"
    assert (await pending(lab), lab.hypervisor.machines[800]["cores"]) == ({}, 2)


@pytest.mark.parametrize(
    ("parameters", "words"),
    [
        ({"delete": "colour"}, "unknown option 'colour'"),
        ({"revert": "colour"}, "unknown option 'colour'"),
        ({"delete": "cores", "cores": 2}, "you can't use '-cores' and -delete cores' at the same time"),
        ({"revert": "cores", "cores": 2}, "you can't use '-cores' and -revert cores' at the same time"),
        ({"delete": "cores", "revert": "cores"}, "you can't use '-delete cores' and -revert cores' at the same time"),
        ({"cores": 2, "skiplock": 1}, "Only root may use this option."),
        ({"memory": 1024, "balloon": 2048}, "balloon value too large (must be smaller than assigned memory)"),
        ({"serial1": "/dev/ttyS0"}, "only root can modify 'serial1' config for real devices"),
        ({"tpmstate0": "local:800/vm-800-disk-1.raw,version=v1.2"}, "cannot change TPM state version after creation"),
    ],
)
async def test_a_change_that_cannot_be(lab: Lab, parameters: dict[str, object], words: str) -> None:
    await created(lab, tpmstate0="local:1,version=v2.0")
    assert await refusal(lab, "PUT", f"{QEMU}/800/config", **parameters) == words


async def test_a_change_in_the_background_is_a_task_with_a_log(lab: Lab) -> None:
    await created(lab)
    upid = await lab.call("POST", f"{QEMU}/800/config", cores=2, cipassword="hunter2")
    await lab.cluster.tasks.wait_all()
    log = [line["t"] for line in await lab.call("GET", f"/nodes/ms01/tasks/{upid}/log")]
    assert log == ["update VM 800: -cipassword <hidden> -cores 2", "TASK OK"]
    assert await lab.call("POST", f"{QEMU}/800/config", cores=3, background_delay=5) is None
    words = "failed to update VM 800: invalid bootorder: device 'net7' does not exist'"
    assert await refusal(lab, "POST", f"{QEMU}/800/config", boot="order=net7", background_delay=5) == words


# The cloud-init drive


async def test_the_cloud_init_drive_says_what_it_was_told_last(lab: Lab) -> None:
    await running(lab, ide0="local:cloudinit", ipconfig0="ip=dhcp", nameserver="1.1.1.1", ciuser="ops")
    await change(lab, nameserver="9.9.9.9", ipconfig0="ip=10.42.0.50/24,gw=10.42.0.1", searchdomain="x.org")
    await change(lab, delete="ciuser")
    rows = {row["key"]: row for row in await lab.call("GET", f"{QEMU}/800/cloudinit")}
    assert rows["nameserver"] == {"key": "nameserver", "value": "1.1.1.1", "pending": "9.9.9.9"}
    assert rows["searchdomain"] == {"key": "searchdomain", "pending": "x.org"}
    assert rows["ciuser"] == {"key": "ciuser", "delete": 1}
    before = lab.hypervisor.machines[800]["cidata"]
    assert before is not None
    assert (before["nameservers"], before["nics"][0]["address"]) == (["1.1.1.1"], "dhcp")
    await lab.call("PUT", f"{QEMU}/800/cloudinit")
    assert not [row for row in await lab.call("GET", f"{QEMU}/800/cloudinit") if len(row) != 2 or "value" not in row]
    cidata = lab.hypervisor.machines[800]["cidata"]
    assert cidata is not None
    assert (cidata["nameservers"], cidata["nics"][0]["address"]) == (["9.9.9.9"], "10.42.0.50/24")


async def test_a_cloud_init_drive_may_follow_by_itself(lab: Lab) -> None:
    await running(lab, ide0="local:cloudinit", ipconfig0="ip=dhcp", hotplug="network,disk,cloudinit")
    await change(lab, nameserver="9.9.9.9")
    cidata = lab.hypervisor.machines[800]["cidata"]
    assert cidata is not None
    assert cidata["nameservers"] == ["9.9.9.9"]


async def test_what_is_on_the_cloud_init_drive_is_shown(lab: Lab) -> None:
    await created(
        lab,
        name="cp1.example.org",
        net0="virtio=BC:24:11:00:00:01,bridge=vmbr0",
        ide0="local:cloudinit",
        ipconfig0="ip=10.42.0.50/24,gw=10.42.0.1,ip6=auto",
        nameserver="1.1.1.1 9.9.9.9",
        searchdomain="example.org",
        ciuser="ops",
        cipassword="hunter2",
        sshkeys="ssh-ed25519%20AAAA%20me%0A",
    )
    dumped = {
        kind: await lab.call("GET", f"{QEMU}/800/cloudinit/dump", type=kind) for kind in ("user", "network", "meta")
    }
    password = lab.cluster.guests.get("ms01", 800).config["cipassword"]
    assert dumped["user"] == (
        "#cloud-config\nhostname: cp1\nmanage_etc_hosts: true\nfqdn: cp1.example.org\nuser: ops\n"
        f"password: {password}\nssh_authorized_keys:\n  - ssh-ed25519 AAAA me\nchpasswd:\n  expire: False\n"
        "users:\n  - default\npackage_upgrade: true\n"
    )
    assert dumped["network"] == (
        "version: 1\nconfig:\n    - type: physical\n      name: eth0\n      mac_address: 'bc:24:11:00:00:01'\n"
        "      subnets:\n      - type: static\n        address: '10.42.0.50'\n        netmask: '255.255.255.0'\n"
        "        gateway: '10.42.0.1'\n      - type: ipv6_slaac\n    - type: nameserver\n      address:\n"
        "      - '1.1.1.1'\n      - '9.9.9.9'\n      search:\n      - 'example.org'\n"
    )
    assert dumped["meta"].startswith("instance-id: ")
    assert "hunter2" not in str(password)


async def test_a_cloud_init_drive_that_is_taken_out_is_gone(lab: Lab) -> None:
    await created(lab, ide0="local:cloudinit")
    assert "local:800/vm-800-cloudinit.qcow2" in await volumes(lab)
    await change(lab, delete="ide0")
    assert (await volumes(lab), "unused0" in await config(lab)) == (["local:800/vm-800-disk-0.raw"], False)
