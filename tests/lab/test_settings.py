"""Hardware mappings, and what is set for the cluster and its hosts."""

from __future__ import annotations

import pytest

from .conftest import VM, Lab, MakeLab

QEMU = "/nodes/ms01/qemu"
NIC = "id=8086:125c,iommugroup=18,node=ms01,path=0000:57:00.0"


@pytest.fixture(autouse=True)
async def _as_root(lab: Lab) -> None:
    await lab.log_in()


async def refusal(lab: Lab, method: str, path: str, /, **parameters: object) -> str:
    body = (await lab.answer(method, path, **parameters))[1]
    return str(next(iter(body.get("errors", {}).values()), body["reason"]))


async def test_a_mapping_is_made_used_and_removed(lab: Lab, make_lab: MakeLab) -> None:
    await lab.call("POST", "/cluster/mapping/pci", id="nic", map=NIC, description="fast")
    again = await make_lab()  # after a restart
    await again.log_in()
    found = await again.call("GET", "/cluster/mapping/pci/nic")
    assert (found["map"], found["description"], found["type"]) == ([NIC], "fast", "pci")
    assert await again.task("POST", QEMU, **VM, hostpci0="mapping=nic") == "OK"
    assert await again.task("POST", f"{QEMU}/800/status/start") == "OK"
    assert again.hypervisor.machines[800]["pciDevices"] == [{"address": "0000:57:00.0", "id": "8086:125c"}]
    await again.call("PUT", "/cluster/mapping/pci/nic", map=NIC.replace("ms01", "ms02"), delete="description")
    assert "description" not in await again.call("GET", "/cluster/mapping/pci/nic")
    await again.call("DELETE", "/cluster/mapping/pci/nic")
    assert await refusal(again, "GET", "/cluster/mapping/pci/nic") == "mapping 'nic' not found"


async def test_folders_and_usb_devices_have_mappings_too(lab: Lab) -> None:
    await lab.call("POST", "/cluster/mapping/dir", id="share", map="node=ms01,path=/mnt")
    await lab.call("POST", "/cluster/mapping/usb", id="key", map="node=ms01,id=1050:0407")
    assert await lab.task("POST", QEMU, **VM, virtiofs0="dirid=share", usb0="mapping=key") == "OK"
    for kind, name in (("dir", "share"), ("usb", "key")):
        (entry,) = await lab.call("GET", f"/cluster/mapping/{kind}", check__node="ms03")
        assert (entry["id"], entry["checks"][0]["message"]) == (name, "No mapping for node ms03.")


@pytest.mark.parametrize(
    ("method", "path", "parameters", "words"),
    [
        ("POST", "/pci", {"id": "gpu0", "map": NIC}, "create hardware mapping failed: pci ID 'gpu0' already defined"),
        ("POST", "/pci", {"id": "new", "map": "node=ms01"}, "invalid format - format error"),
        ("POST", "/pci", {"id": "new"}, "property is missing and it is not optional"),
        ("PUT", "/pci/new", {"map": NIC}, "update hardware mapping failed: pci ID 'new' does not exist"),
        (
            "PUT",
            "/pci/gpu0",
            {"delete": "map"},
            "update hardware mapping failed: unable to delete required option 'map'",
        ),
        (
            "PUT",
            "/pci/gpu0",
            {"digest": "0"},
            "update hardware mapping failed: detected modified configuration - file changed by other user? Try again.",
        ),
    ],
)
async def test_a_mapping_that_cannot_be(
    lab: Lab, method: str, path: str, parameters: dict[str, object], words: str
) -> None:
    assert (await refusal(lab, method, f"/cluster/mapping{path}", **parameters)).splitlines()[0] == words


async def test_root_gives_a_vm_a_device_by_its_place(lab: Lab) -> None:
    assert await lab.task("POST", QEMU, **VM, hostpci0="host=57:00") == "OK"
    assert await lab.task("POST", f"{QEMU}/800/status/start") == "OK"
    assert lab.hypervisor.machines[800]["pciDevices"] == [{"address": "0000:57:00.0", "id": "8086:125c"}]
    upid = await lab.call("POST", f"{QEMU}/800/migrate", target="ms02", online=1)
    await lab.cluster.tasks.wait_all()
    log = [line["t"] for line in await lab.call("GET", f"/nodes/ms01/tasks/{upid}/log")]
    assert "ERROR: migration aborted: can't migrate VM which uses local devices: hostpci0" in log
    await lab.call("PUT", f"{QEMU}/800/config", hostpci0="host=99:00")
    assert await lab.task("POST", f"{QEMU}/800/status/stop") == "OK"
    assert await lab.task("POST", f"{QEMU}/800/status/start") == "no PCI device found for '99:00'"


async def test_a_host_tells_its_devices(lab: Lab) -> None:
    devices = await lab.call("GET", "/nodes/ms02/hardware/pci")
    assert [(device["id"], device["class"]) for device in devices] == [
        ("0000:01:00.0", "0x030000"),
        ("0000:57:00.0", "0x020000"),
    ]
    everything = await lab.call("GET", "/nodes/ms02/hardware/pci", pci__class__blacklist="", verbose=0)
    assert (len(everything), "vendor_name" in everything[0]) == (3, False)


async def test_the_cluster_s_options(lab: Lab, make_lab: MakeLab) -> None:
    await lab.call(
        "PUT", "/cluster/options", migration="secure,network=10.42.0.0/24", crs="ha=static,ha-rebalance-on-start=1",
        max_workers=3, bwlimit="clone=100",
    )  # fmt: skip
    await lab.call("PUT", "/cluster/options", delete="max_workers", keyboard="de")
    again = await make_lab()
    await again.log_in()
    assert await again.call("GET", "/cluster/options") == {
        "migration": {"type": "secure", "network": "10.42.0.0/24"},
        "crs": {"ha": "static", "ha-rebalance-on-start": 1},
        "bwlimit": "clone=100",
        "keyboard": "de",
        "mac_prefix": "BC:24:11",
    }
    words = await refusal(lab, "PUT", "/cluster/options", migration="network=nowhere")
    assert "value does not look like a valid CIDR network" in words


async def test_the_next_free_id_is_of_the_range_that_is_set(lab: Lab) -> None:
    assert await lab.call("GET", "/cluster/nextid") == "101"
    await lab.call("PUT", "/cluster/options", next__id="lower=800,upper=801")
    assert await lab.call("GET", "/cluster/nextid") == "800"
    assert await lab.task("POST", QEMU, **VM) == "OK"
    assert await refusal(lab, "GET", "/cluster/nextid") == "unable to get any free VMID in range [800, 801]"


async def test_a_host_s_notes_and_time(lab: Lab) -> None:
    await lab.call("PUT", "/nodes/ms01/config", description="left rack", startall__onboot__delay=30)
    found = await lab.call("GET", "/nodes/ms01/config")
    assert (found["description"], found["startall-onboot-delay"]) == ("left rack", 30)
    assert await refusal(lab, "PUT", "/nodes/ms01/config", description="x", digest="0" * 40) == (
        "detected modified configuration - file changed by other user? Try again."
    )
    await lab.call("PUT", "/nodes/ms01/time", timezone="Europe/Berlin")
    now = await lab.call("GET", "/nodes/ms01/time")
    assert (now["timezone"], now["localtime"] - now["time"] in (3600, 7200)) == ("Europe/Berlin", True)
    assert await refusal(lab, "PUT", "/nodes/ms01/time", timezone="Europe/Atlantis") == (
        "No such timezone: 'Europe/Atlantis'"
    )
