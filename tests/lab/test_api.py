"""The API as a client sees it: order of checks, answers, and what becomes of a VM."""

from __future__ import annotations

import json
from typing import Any

import pytest

from .conftest import VM, Lab, MakeLab

QEMU = "/nodes/ms01/qemu"


async def created(lab: Lab, **changes: object) -> dict[str, Any]:
    assert await lab.task("POST", QEMU, **{**VM, **changes}) == "OK"
    config: dict[str, Any] = await lab.call("GET", f"{QEMU}/800/config")
    return config


async def running(lab: Lab, **changes: object) -> None:
    await created(lab, **changes)
    assert await lab.task("POST", f"{QEMU}/800/status/start") == "OK"


async def test_a_stranger_gets_no_answer(lab: Lab) -> None:
    async with lab.client.get("/api2/json/version") as response:
        assert (response.status, response.reason, await response.text()) == (401, "No ticket", "")


@pytest.mark.parametrize(
    ("method", "path", "parameters", "status", "words"),
    [
        ("GET", "/nonsense", {}, 501, "Method 'GET /nonsense' not implemented"),
        ("POST", f"{QEMU}/100/suspend", {}, 501, f"Method 'POST {QEMU}/100/suspend' not implemented"),
        ("POST", f"{QEMU}/100/status/suspend", {}, 501, f"Method 'POST {QEMU}/100/status/suspend' not implemented"),
        (
            "POST",
            f"{QEMU}/100/move_disk",
            {"disk": "scsi0"},
            400,
            "Parameter verification failed.",
        ),
        ("POST", f"{QEMU}/100/clone", {"newid": 5}, 403, "Permission check failed (/vms/100, VM.Clone)"),
        (
            "GET",
            "/nodes/pve9/status",
            {},
            500,
            "hostname lookup 'pve9' failed - failed to get address info for: pve9: Name or service not known",
        ),
        ("GET", f"{QEMU}/800/config", {}, 500, "Configuration file 'nodes/ms01/qemu-server/800.conf' does not exist"),
        ("GET", "/nodes/ms01/storage/nas/status", {}, 500, "storage 'nas' does not exist"),
        ("GET", "/pools", {"poolid": "nas"}, 500, "pool 'nas' does not exist"),
        ("GET", "/cluster/nextid", {"vmid": 100}, 400, "Parameter verification failed."),
        ("POST", QEMU, {"vmid": 100}, 500, "unable to create VM 100 - VM 100 already exists on node 'ms01'"),
        ("POST", QEMU, {"vmid": 800, "args": "-s"}, 500, "only root can set 'args' config"),
        (
            "POST",
            QEMU,
            {"vmid": 800, "hostpci0": "0000:01:00"},
            500,
            "only root can set 'hostpci0' config for non-mapped devices",
        ),
        ("POST", QEMU, {"vmid": 800, "startup": "order=1"}, 403, "Permission check failed (/, Sys.Modify)"),
        ("POST", QEMU, {"vmid": 800, "scsi0": "nas:32"}, 500, "storage 'nas' does not exist"),
        ("POST", QEMU, {"vmid": 800, "storage": "local"}, 500, "parameter 'storage' is not built in this lab"),
        ("PUT", f"{QEMU}/100/config", {}, 500, "no options specified"),
        ("POST", f"{QEMU}/100/status/reset", {"skiplock": 1}, 400, "Parameter verification failed."),
        ("POST", f"{QEMU}/100/status/reset", {"skiplock": 2}, 400, "Parameter verification failed."),
    ],
)
async def test_a_call_that_proxmox_refuses_is_refused(
    lab: Lab, method: str, path: str, parameters: dict[str, object], status: int, words: str
) -> None:
    got, body = await lab.answer(method, path, **parameters)
    assert (got, body["reason"], body["message"]) == (status, words, words + "\n")


async def test_permission_comes_before_parameters(lab: Lab) -> None:
    lab.break_things("privilege-revoked", "VM.PowerMgmt")
    status, body = await lab.answer("POST", f"{QEMU}/100/status/start", colour="red")
    assert (status, body["reason"]) == (403, "Permission check failed (/vms/100, VM.PowerMgmt)")


@pytest.mark.parametrize(
    ("option", "value", "errors"),
    [
        ("scsi0", "c137-isos:32", {"storage": "storage 'c137-isos' does not support vm images"}),
        (
            "ide2",
            "c137-isos:iso/talos-1.11.5-qemuguest-metal-amd64.iso",
            {"ide2": "explicit 'media=cdrom' is required for iso images"},
        ),
        (
            "scsi0",
            "local:0,import-from=c137-isos:iso/talos-1.11.5-qemuguest-metal-amd64.iso",
            {
                "scsi0": "c137-isos:iso/talos-1.11.5-qemuguest-metal-amd64.iso has wrong type 'iso' - needs to be "
                "'images' or 'import'"
            },
        ),
    ],
)
async def test_a_volume_of_the_wrong_kind_is_refused(lab: Lab, option: str, value: str, errors: dict[str, str]) -> None:
    status, body = await lab.answer("POST", QEMU, vmid=800, **{option: value})
    assert (status, body["errors"]) == (400, errors)


async def test_a_configuration_comes_back_as_proxmox_writes_it(lab: Lab) -> None:
    config = await created(lab)
    mac = config["net0"].partition(",")[0].removeprefix("virtio=")
    assert mac.startswith("BC:24:11:")
    assert config["net0"] == f"virtio={mac},bridge=vmbr0,firewall=0"
    assert config["scsi0"] == (
        "local:800/vm-800-disk-0.raw,aio=io_uring,backup=1,cache=none,discard=ignore,iothread=0,replicate=1,size=32G,ssd=0"
    )
    assert config["ide2"] == "c137-isos:iso/talos-1.11.5-qemuguest-metal-amd64.iso,media=cdrom,size=301248K"
    assert config["description"] == "Talos control plane\nof homelab"
    assert {"meta", "smbios1", "vmgenid", "digest"} <= config.keys()


async def test_numbers_and_flags_are_numbers_and_memory_is_text(lab: Lab) -> None:
    config = await created(lab)
    assert {name: config[name] for name in ("cores", "onboot", "acpi", "balloon", "memory", "agent")} == {
        "cores": 4,
        "onboot": 0,
        "acpi": 1,
        "balloon": 0,
        "memory": "8192",
        "agent": "enabled=1,fstrim_cloned_disks=0,type=virtio",
    }


async def test_a_description_loses_its_last_newline_and_tags_their_doubles(lab: Lab) -> None:
    config = await created(lab, description="two\nlines\n", tags="Talos;dev;talos")
    assert (config["description"], config["tags"]) == ("two\nlines", "talos;dev")


async def test_a_boot_order_is_looked_at_when_it_is_changed_and_not_at_first(lab: Lab) -> None:
    assert (await created(lab, boot="order=scsi1"))["boot"] == "order=scsi1"
    body = (await lab.answer("PUT", f"{QEMU}/800/config", boot="order=net7"))[1]
    assert body["reason"] == "invalid bootorder: device 'net7' does not exist'"


async def test_a_missing_iso_fails_the_task_and_leaves_nothing(lab: Lab) -> None:
    volume = "c137-isos:iso/talos-1.11.5-qemuguest-metal-amd64.iso"
    lab.break_things("volume-missing", volume)
    status = await lab.task("POST", QEMU, **VM, ide0="local:1")  # made first
    assert status == f"unable to create VM 800 - volume '{volume}' does not exist"
    assert (await lab.answer("GET", f"{QEMU}/800/config"))[0] == 500
    assert await lab.call("GET", "/nodes/ms01/storage/local/content", vmid=800) == []


async def test_a_task_takes_time_and_has_a_log(lab: Lab) -> None:
    lab.break_things("delay", "task", seconds=0.2)
    upid = await lab.call("POST", QEMU, **VM)
    assert (await lab.call("GET", f"/nodes/ms01/tasks/{upid}/status"))["status"] == "running"
    assert (await lab.call("GET", f"{QEMU}/800/config"))["lock"] == "create"
    await lab.cluster.tasks.wait_all()
    log = await lab.call("GET", f"/nodes/ms01/tasks/{upid}/log")
    assert log[-1] == {"n": len(log), "t": "TASK OK"}
    assert "successfully created disk" in log[0]["t"]


async def test_hardware_reaches_the_machine(lab: Lab) -> None:
    await running(lab)
    machine = lab.hypervisor.machines[800]
    assert (machine["cores"], machine["memoryMiB"], machine["bootOrder"]) == (4, 8192, ["/dev/sda", "/dev/sr0"])
    assert machine["disks"][0]["sizeBytes"] == 32 << 30
    assert machine["cdrom"]
    assert machine["cdrom"]["image"]["version"] == "v1.11.5"
    offer = machine["nics"][0]["dhcp"]
    assert offer
    assert offer["address"] == "10.42.0.100/24"


async def test_cloud_init_data_reaches_the_machine(lab: Lab) -> None:
    await running(
        lab,
        ide2="local:cloudinit",
        boot="order=scsi0",
        ipconfig0="ip=10.42.0.51/24,gw=10.42.0.1",
        nameserver="10.42.0.1 1.1.1.1",
    )
    machine = lab.hypervisor.machines[800]
    assert machine["cidata"] == {
        "hostname": "homelab-cp1",
        "nameservers": ["10.42.0.1", "1.1.1.1"],
        "nics": [{"mac": machine["nics"][0]["mac"], "address": "10.42.0.51/24", "gateway": "10.42.0.1"}],
    }
    assert (await lab.call("GET", f"{QEMU}/800/config"))["ide2"] == "local:800/vm-800-cloudinit.qcow2,media=cdrom"


async def test_a_silent_dhcp_leaves_the_machine_without_an_address(lab: Lab) -> None:
    lab.break_things("dhcp-silent")
    await running(lab)
    assert lab.hypervisor.machines[800]["nics"][0]["dhcp"] is None


async def test_a_bridge_that_is_not_there_fails_the_start(lab: Lab) -> None:
    await created(lab, net0="virtio,bridge=vmbr9")
    upid = await lab.call("POST", f"{QEMU}/800/status/start")
    await lab.cluster.tasks.wait_all()
    status = await lab.call("GET", f"/nodes/ms01/tasks/{upid}/status")
    assert status["exitstatus"] == "start failed: QEMU exited with code 1"
    log = await lab.call("GET", f"/nodes/ms01/tasks/{upid}/log")
    assert log[0]["t"] == "bridge 'vmbr9' does not exist"


async def test_a_running_vm_takes_its_new_memory_at_the_next_power_cycle(lab: Lab) -> None:
    await running(lab)
    await lab.call("PUT", f"{QEMU}/800/config", memory=4096, description="now")
    assert (await lab.call("GET", f"{QEMU}/800/config"))["memory"] == "4096"
    current = await lab.call("GET", f"{QEMU}/800/config", current=1)
    assert (current["memory"], current["description"]) == ("8192", "now")
    assert (await lab.call("GET", f"{QEMU}/800/status/current"))["maxmem"] == 8192 << 20
    lab.hypervisor.answers_power_button = False
    assert await lab.task("POST", f"{QEMU}/800/status/stop") == "OK"
    assert (await lab.call("GET", f"{QEMU}/800/config", current=1))["memory"] == "4096"


async def test_what_was_pending_at_a_power_cut_of_the_site_holds_after_it(lab: Lab, make_lab: MakeLab) -> None:
    await running(lab)
    await lab.call("PUT", f"{QEMU}/800/config", memory=4096)
    again = await make_lab()
    await again.cluster.power_on_what_ran()
    assert again.hypervisor.machines[800]["memoryMiB"] == 4096


async def test_the_same_disk_again_changes_nothing(lab: Lab) -> None:
    await running(lab)
    before = await lab.call("GET", f"{QEMU}/800/config")
    disk = (
        "file=local:800/vm-800-disk-0.raw,aio=io_uring,backup=1,iothread=0,ssd=0,discard=ignore,cache=none,replicate=1"
    )
    await lab.call("PUT", f"{QEMU}/800/config", scsi0=disk)
    assert await lab.call("GET", f"{QEMU}/800/config") == before
    assert [row for row in await lab.call("GET", f"{QEMU}/800/pending") if "pending" in row] == []


async def test_a_detached_disk_keeps_its_data(lab: Lab) -> None:
    await created(lab)
    await lab.call("PUT", f"{QEMU}/800/config", delete="scsi0")
    config = await lab.call("GET", f"{QEMU}/800/config")
    assert (config["unused0"], config["boot"]) == ("local:800/vm-800-disk-0.raw", "order=ide2")
    assert "scsi0" not in config


async def test_a_disk_grows_and_does_not_shrink(lab: Lab) -> None:
    await created(lab)
    assert await lab.task("PUT", f"{QEMU}/800/resize", disk="scsi0", size="40G") == "OK"
    assert "size=40G" in (await lab.call("GET", f"{QEMU}/800/config"))["scsi0"]
    status = await lab.task("PUT", f"{QEMU}/800/resize", disk="scsi0", size="10G")
    assert status == "shrinking disks is not supported"


async def test_a_running_vm_is_not_destroyed(lab: Lab) -> None:
    await running(lab)
    assert (await lab.answer("DELETE", f"{QEMU}/800"))[1]["reason"] == "VM 800 is running - destroy failed"


async def test_protection_protects(lab: Lab) -> None:
    await created(lab, protection=1)
    assert (await lab.answer("DELETE", f"{QEMU}/800"))[1]["reason"] == "can't remove VM 800 - protection mode enabled"


async def test_a_destroyed_vm_leaves_nothing(lab: Lab) -> None:
    await running(lab)
    assert await lab.task("POST", f"{QEMU}/800/status/stop") == "OK"
    assert await lab.task("DELETE", f"{QEMU}/800/", purge=1, **{"destroy__unreferenced__disks": 1}) == "OK"
    assert [vm["vmid"] for vm in await lab.call("GET", "/cluster/resources", type="vm")] == [100]
    assert await lab.call("GET", "/nodes/ms01/storage/local/content", content="images") == []
    assert not (lab.directory.vms / "800").exists()


async def test_a_shutdown_that_the_guest_ignores_fails_unless_forced(lab: Lab) -> None:
    await running(lab, agent="0")
    lab.hypervisor.answers_power_button = False
    assert await lab.task("POST", f"{QEMU}/800/status/shutdown", timeout=1) == (
        "VM quit/powerdown failed - got timeout"
    )
    assert await lab.task("POST", f"{QEMU}/800/status/shutdown", timeout=1, forceStop=1) == "OK"
    assert (await lab.call("GET", f"{QEMU}/800/status/current"))["status"] == "stopped"


async def test_an_agent_that_is_not_there_is_said_to_be_missing(lab: Lab) -> None:
    await running(lab)
    for path in ("network-get-interfaces", "info"):
        status, body = await lab.answer("GET", f"{QEMU}/800/agent/{path}")
        assert (status, body["reason"]) == (500, "QEMU guest agent is not running")
    assert (await lab.answer("GET", f"{QEMU}/100/agent/info"))[1]["reason"] == "No QEMU guest agent configured"


async def test_who_may_not_look_sees_nothing(lab: Lab) -> None:
    lab.break_things("privilege-revoked", "VM.Audit", "Datastore.Audit", "Datastore.AllocateSpace")
    assert {row["type"] for row in await lab.call("GET", "/cluster/resources")} == {"node"}


async def test_an_occupied_vm_id_is_somebody_elses(lab: Lab) -> None:
    lab.break_things("vmid-taken", "800")
    assert (await lab.answer("POST", QEMU, **VM))[1]["reason"] == (
        "unable to create VM 800 - VM 800 already exists on node 'ms01'"
    )
    assert (await lab.call("GET", f"{QEMU}/800/config"))["name"] == "somebody-elses"


async def test_everything_survives_a_restart(lab: Lab, make_lab: MakeLab) -> None:
    await running(lab)
    before = await lab.call("GET", f"{QEMU}/800/config")
    again = await make_lab()
    assert await again.call("GET", f"{QEMU}/800/config") == before
    await again.cluster.power_on_what_ran()
    assert again.hypervisor.machines[800] == lab.hypervisor.machines[800]


async def test_every_request_is_written_down_without_its_secrets(lab: Lab) -> None:
    await lab.answer("POST", QEMU, vmid=800, cipassword="hunter2", cores=0)
    text = lab.directory.requests.read_text()
    entry = json.loads(text.splitlines()[-1])
    assert (entry["method"], entry["path"], entry["status"]) == ("POST", QEMU, 400)
    assert entry["parameters"] == {"vmid": "800", "cipassword": "***", "cores": "0"}
    assert entry["user"] == "pulumi@pve!cluster-stack"
    assert "hunter2" not in text
    assert lab.directory.token_secret() not in text


@pytest.mark.parametrize(
    ("privilege", "changes", "words"),
    [
        ("VM.Allocate", {}, ""),  # Proxmox does not say which it was
        ("Datastore.AllocateSpace", {}, "/storage/local, Datastore.AllocateSpace"),
        ("SDN.Use", {}, "/sdn/zones/localnetwork/vmbr0, SDN.Use"),
        ("SDN.Use", {"net0": "virtio,bridge=vmbr0,tag=7"}, "/sdn/zones/localnetwork/vmbr0/7, SDN.Use"),
        ("VM.Config.CPU", {}, "/vms/800, VM.Config.CPU"),
        ("VM.Config.Memory", {}, "/vms/800, VM.Config.Memory"),
        ("VM.Config.Network", {}, "/vms/800, VM.Config.Network"),
        ("VM.Config.HWType", {}, "/vms/800, VM.Config.HWType"),
        ("VM.Config.Options", {}, "/vms/800, VM.Config.Options"),
        ("VM.Config.Disk", {}, "/vms/800, VM.Config.Disk"),
    ],
)
async def test_creating_needs_each_privilege(lab: Lab, privilege: str, changes: dict[str, object], words: str) -> None:
    lab.break_things("privilege-revoked", privilege)
    status, body = await lab.answer("POST", QEMU, **{**VM, **changes})
    assert (status, body["reason"]) == (403, f"Permission check failed ({words})".replace(" ()", ""))
