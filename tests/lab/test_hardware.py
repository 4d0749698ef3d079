"""What a VM's configuration becomes in the machine: firmware, TPM, disks, network cards, devices of the host."""

from __future__ import annotations

from typing import Any

import pytest

from lab.hardware import Machine

from .conftest import Lab

QEMU = "/nodes/ms01/qemu"
MAC = "BC:24:11:00:00:0{}"


async def created(lab: Lab, node: str = "ms01", **options: object) -> dict[str, Any]:
    vmid = options.setdefault("vmid", 800)
    assert await lab.task("POST", f"/nodes/{node}/qemu", **{"name": "vm", **options}) == "OK"
    config: dict[str, Any] = await lab.call("GET", f"/nodes/{node}/qemu/{vmid}/config")
    return config


async def started(lab: Lab, node: str = "ms01", **options: object) -> Machine:
    await created(lab, node, **options)
    vmid = int(str(options.get("vmid", 800)))
    assert await lab.task("POST", f"/nodes/{node}/qemu/{vmid}/status/start") == "OK"
    return lab.hypervisor.machines[vmid]


async def failed(lab: Lab, node: str = "ms01", **options: object) -> str:
    """How the start of a VM fails."""
    await created(lab, node, **options)
    return await lab.task("POST", f"/nodes/{node}/qemu/{options.get('vmid', 800)}/status/start")


@pytest.mark.parametrize(
    ("storage", "efi", "tpm"),
    [
        ("local", "local:800/vm-800-disk-0.raw,efitype=4m,pre-enrolled-keys=0,size=528K", "800/vm-800-disk-1.raw"),
        ("local-lvm", "local-lvm:vm-800-disk-0,efitype=4m,pre-enrolled-keys=0,size=4M", "vm-800-disk-1"),
        ("ceph", "ceph:vm-800-disk-0,efitype=4m,pre-enrolled-keys=0,size=1M", "vm-800-disk-1"),
    ],
)
async def test_firmware_and_tpm_have_volumes_of_their_own(lab: Lab, storage: str, efi: str, tpm: str) -> None:
    config = await created(
        lab,
        bios="ovmf",
        machine="q35",
        efidisk0=f"file={storage}:1,format=raw,efitype=4m,pre-enrolled-keys=0",
        tpmstate0=f"file={storage}:1,version=v2.0",
    )
    assert config["efidisk0"] == efi
    assert config["tpmstate0"] == f"{storage}:{tpm},size=4M,version=v2.0"
    assert (config["bios"], config["machine"]) == ("ovmf", "q35")


async def test_enrolled_keys_are_marked(lab: Lab) -> None:
    config = await created(lab, efidisk0="local:1,efitype=4m,pre-enrolled-keys=1")
    assert config["efidisk0"] == "local:800/vm-800-disk-0.raw,efitype=4m,ms-cert=2023k,pre-enrolled-keys=1,size=528K"


@pytest.mark.parametrize(
    ("options", "firmware"),
    [
        ({}, {"kind": "seabios", "secureBoot": False, "efiDisk": False, "keys": "none"}),
        ({"bios": "ovmf"}, {"kind": "ovmf", "secureBoot": False, "efiDisk": False, "keys": "none"}),
        (
            {"bios": "ovmf", "efidisk0": "local:1"},
            {"kind": "ovmf", "secureBoot": False, "efiDisk": True, "keys": "none"},
        ),
        (
            {"bios": "ovmf", "efidisk0": "local:1,efitype=4m"},
            {"kind": "ovmf", "secureBoot": True, "efiDisk": True, "keys": "none"},
        ),
        (
            {"bios": "ovmf", "efidisk0": "local:1,efitype=4m,pre-enrolled-keys=1"},
            {"kind": "ovmf", "secureBoot": True, "efiDisk": True, "keys": "microsoft"},
        ),
    ],
)
async def test_firmware_reaches_the_machine(lab: Lab, options: dict[str, Any], firmware: dict[str, Any]) -> None:
    await created(lab, **options)
    status = await lab.task("POST", f"{QEMU}/800/status/start")
    warned = "bios" in options and "efidisk0" not in options
    assert status == ("WARNINGS: 1" if warned else "OK")
    assert lab.hypervisor.machines[800]["firmware"] == firmware


@pytest.mark.parametrize(
    ("options", "version"),
    [({}, ""), ({"tpmstate0": "local:1,version=v2.0"}, "v2.0"), ({"tpmstate0": "local:1"}, "v1.2")],
)
async def test_a_tpm_reaches_the_machine(lab: Lab, options: dict[str, Any], version: str) -> None:
    assert (await started(lab, **options))["tpm"] == version


async def test_disks_have_their_serial_numbers_and_kinds(lab: Lab) -> None:
    machine = await started(
        lab,
        scsi0="local:8,ssd=1,discard=on,iothread=1",
        scsi1="ceph:200,serial=data%2D1",
        virtio0="local-lvm:1",
    )
    assert [
        (disk["device"], disk["sizeBytes"] >> 30, disk["serial"], disk["rotational"]) for disk in machine["disks"]
    ] == [("/dev/sda", 8, "", False), ("/dev/sdb", 200, "data-1", True), ("/dev/vda", 1, "", True)]
    folders = [disk["path"].removeprefix(str(lab.directory.vms)) for disk in machine["disks"]]
    assert folders == [
        "/800/disks/local/vm-800-disk-0",
        "/800/disks/ceph/vm-800-disk-0",
        "/800/disks/local-lvm/vm-800-disk-0",
    ]


async def test_a_serial_number_has_a_longest(lab: Lab) -> None:
    status, body = await lab.answer("POST", QEMU, vmid=800, scsi0=f"local:8,serial={'x' * 61}")
    assert (status, "may only be 60 characters long" in body["errors"]["scsi0"]) == (400, True)


async def test_a_machine_finds_the_player_of_its_kubelet(lab: Lab) -> None:
    assert (await started(lab))["kubelets"] == str(lab.directory.kubelets_socket)


async def test_network_cards_hear_the_networks_that_they_are_in(lab: Lab) -> None:
    devices = ["bridge=vmbr0", "bridge=vmbr1", "bridge=vmbr0,tag=20", "bridge=vmbr1,tag=7", "bridge=vmbr0,link_down=1"]
    machine = await started(lab, **{f"net{n}": f"virtio={MAC.format(n)},{text}" for n, text in enumerate(devices)})
    assert [(nic["name"], nic["mac"]) for nic in machine["nics"]] == [(f"eth{n}", MAC.format(n)) for n in range(5)]
    assert [nic["dhcp"] and nic["dhcp"]["address"] for nic in machine["nics"]] == [
        "10.42.0.100/24",
        "10.43.0.100/24",
        "10.42.20.100/24",
        None,
        None,
    ]


@pytest.mark.parametrize(
    ("device", "mtu"),
    [
        ("virtio,bridge=vmbr0", 1500),
        ("virtio,bridge=vmbr1", 9000),
        ("virtio,bridge=vmbr1,mtu=1", 9000),
        ("virtio,bridge=vmbr1,mtu=1400", 1400),
        ("e1000,bridge=vmbr1,mtu=9000", 1500),
    ],
)
async def test_a_network_card_has_its_mtu(lab: Lab, device: str, mtu: int) -> None:
    assert (await started(lab, net0=device))["nics"][0]["mtu"] == mtu


@pytest.mark.parametrize(
    ("device", "words"),
    [
        ("virtio,bridge=vmbr0,mtu=9000", "netdev net0: MTU '9000' is bigger than the bridge MTU '1500'"),
        ("virtio,bridge=vmbr0,mtu=100", "netdev net0: MTU '100' is smaller than the IP minimum MTU '576'"),
    ],
)
async def test_an_mtu_that_the_bridge_cannot_carry_fails_the_start(lab: Lab, device: str, words: str) -> None:
    assert await failed(lab, net0=device) == words


async def test_the_cloud_init_drive_has_what_is_configured_of_each_card(lab: Lab) -> None:
    nets = {f"net{n}": f"virtio={MAC.format(n)},bridge=vmbr0" for n in range(4)}
    machine = await started(
        lab,
        **nets,
        ide2="local:cloudinit",
        ipconfig0="gw=10.42.0.1,ip=10.42.0.51/24,ip6=fd00::51/64,gw6=fd00::1",
        ipconfig1="ip=dhcp,ip6=auto",
        ipconfig3="ip6=fd00::53/64",
    )
    assert machine["cidata"]
    assert machine["cidata"]["nics"] == [
        {
            "mac": MAC.format(0),
            "address": "10.42.0.51/24",
            "gateway": "10.42.0.1",
            "address6": "fd00::51/64",
            "gateway6": "fd00::1",
        },
        {"mac": MAC.format(1), "address": "dhcp"},
        {"mac": MAC.format(3), "address6": "fd00::53/64"},
    ]


@pytest.mark.parametrize("value", ["ip6=fd00::51", "gw6=fd00::1", "ip=10.0.0.1/24,gw6=fd00::1"])
async def test_a_wrong_address_is_refused(lab: Lab, value: str) -> None:
    assert (await lab.answer("POST", QEMU, vmid=800, ipconfig0=value))[0] == 400


GPU = {"node": "ms02", "machine": "q35", "hostpci0": "mapping=gpu0,pcie=1,rombar=1"}


async def test_a_mapped_device_reaches_the_machine(lab: Lab) -> None:
    options: dict[str, Any] = dict(GPU)
    machine = await started(lab, options.pop("node"), **options)
    assert machine["pciDevices"] == [{"address": "0000:01:00.0", "id": "10de:2204"}]
    config = await lab.call("GET", "/nodes/ms02/qemu/800/config")
    assert config["hostpci0"] == "mapping=gpu0,pcie=1,rombar=1"


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"hostpci0": "mapping=gpu9"}, "PCI device mapping not found for 'gpu9'"),
        ({"node": "ms01"}, "PCI device mapping not found for 'gpu0'"),
        (
            {"machine": "pc"},
            "q35 machine model is not enabled at /usr/share/perl5/PVE/QemuServer/PCI.pm line 514.",
        ),
        ({"hostpci1": "mapping=gpu0"}, "device '0000:01:00.0' assigned more than once"),
    ],
)
async def test_a_device_that_cannot_be_had_fails_the_start(lab: Lab, changes: dict[str, str], words: str) -> None:
    options: dict[str, Any] = {**GPU, **changes}
    assert await failed(lab, options.pop("node"), **options) == words


async def test_a_device_belongs_to_one_running_vm(lab: Lab) -> None:
    options: dict[str, Any] = dict(GPU)
    node = options.pop("node")
    await started(lab, node, **options)
    assert await failed(lab, node, vmid=801, **options) == "PCI device '0000:01:00.0' already in use by VMID '800'"
    assert await lab.task("POST", "/nodes/ms02/qemu/800/status/stop") == "OK"
    assert await lab.task("POST", "/nodes/ms02/qemu/801/status/start") == "OK"


@pytest.mark.parametrize(
    ("revoked", "value", "status", "words"),
    [
        (["Mapping.Use"], "mapping=gpu0", 403, "Permission check failed (/mapping/pci/gpu0, Mapping.Use)"),
        (["VM.Config.HWType"], "mapping=gpu0", 403, "Permission check failed (/vms/800, VM.Config.HWType)"),
        ([], "0000:01:00.0", 500, "only root can set 'hostpci0' config for non-mapped devices"),
        ([], "pcie=1", 500, "either 'host' or 'mapping' must be set."),
    ],
)
async def test_who_may_not_have_a_device_is_refused(
    lab: Lab, revoked: list[str], value: str, status: int, words: str
) -> None:
    if revoked:
        lab.break_things("privilege-revoked", *revoked)
    got, body = await lab.answer("POST", QEMU, vmid=800, hostpci0=value)
    assert (got, body["reason"]) == (status, words)


async def test_mappings_are_listed(lab: Lab) -> None:
    (entry,) = await lab.call("GET", "/cluster/mapping/pci")
    device = "id=10de:2204,iommugroup=14,node=ms02,path=0000:01:00.0"
    assert (entry["id"], entry["map"], entry["description"]) == ("gpu0", [device], "for machine learning")
    assert "checks" not in entry
    assert (await lab.call("GET", "/cluster/mapping/pci/gpu0"))["map"] == [device]
    checks = {}
    for node in ("ms01", "ms02"):
        (checked,) = await lab.call("GET", "/cluster/mapping/pci", **{"check__node": node})
        checks[node] = checked["checks"]
    assert checks == {"ms01": [{"severity": "warning", "message": "No mapping for node ms01."}], "ms02": []}
    assert (await lab.answer("GET", "/cluster/mapping/pci/gpu9"))[1]["reason"] == "mapping 'gpu9' not found"
    lab.break_things("privilege-revoked", "Mapping.Use")
    assert await lab.call("GET", "/cluster/mapping/pci") == []
    assert (await lab.answer("GET", "/cluster/mapping/pci/gpu0"))[0] == 403


async def test_the_rest_of_what_a_vm_may_be_is_kept(lab: Lab) -> None:
    options: dict[str, Any] = {
        "protection": 1,
        "numa": 1,
        "balloon": 1024,
        "memory": 4096,
        "sockets": 2,
        "cores": 3,
        "tags": "talos;worker",
    }
    config = await created(lab, **options)
    assert {name: config[name] for name in options} == {**options, "memory": "4096"}
    assert await lab.task("POST", f"{QEMU}/800/status/start") == "OK"
    assert lab.hypervisor.machines[800]["cores"] == 6
