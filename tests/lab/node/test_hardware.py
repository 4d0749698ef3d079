"""Real talosctl against machines with more than one disk and one card: firmware, TPM, volumes, several networks."""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import partial
from typing import Any

import pytest

from tests.lab.node.cluster import Cluster, apply_insecurely, in_maintenance, named
from tests.lab.node.site import Machine, Site, image

pytestmark = pytest.mark.engine

SETUP_MODE = {"kind": "ovmf", "secureBoot": True, "efiDisk": True, "keys": "none"}
SEALED = {
    "apiVersion": "v1alpha1",
    "kind": "VolumeConfig",
    "name": "EPHEMERAL",
    "encryption": {"provider": "luks2", "keys": [{"slot": 0, "tpm": {"checkSecurebootStatusOnEnroll": True}}]},
}
NO_INSTALLATION = {"machine": {"install": {"$patch": "delete"}}}


@pytest.fixture
def imported(site: Site) -> Iterator[Any]:
    """Makes machines whose disk was made from an image; they end with the test."""
    made: list[Machine] = []

    def make(name: str, address: str, *, secure_boot: bool = False, **changes: Any) -> Machine:
        machine = site.machine(name, address, cdrom=None, **changes)
        (machine.disk / "image.json").write_text(json.dumps({**image("v1.13.0", "nocloud"), "secureBoot": secure_boot}))
        made.append(machine)
        return machine

    yield make
    for machine in made:
        if machine.process:
            machine.kill()


def says(machine: Machine, words: str) -> bool:
    return words in machine.console


def test_a_secure_boot_image_boots_where_it_can_enroll_its_keys(site: Site, imported: Any) -> None:
    machine = imported("signed", "10.5.1.1", secure_boot=True, firmware={"kind": "seabios"})
    machine.start()
    site.wait("the firmware", partial(says, machine, "No bootable device."))
    assert "/dev/sda: a Secure Boot image boots with UEFI only (bios=ovmf)" in machine.console
    machine.kill()
    machine.hardware["firmware"] = SETUP_MODE
    machine.start()
    site.wait("maintenance mode", partial(in_maintenance, site, "10.5.1.1"))
    state = site.talosctl("get", "securitystate", "--insecure", "-n", "10.5.1.1", "-o", "yaml").stdout
    assert "secureBoot: true" in state


def test_sealed_volumes_wait_for_a_tpm(site: Site, imported: Any) -> None:
    address = "10.5.1.2"
    cluster = Cluster(site, "sealed", address)
    machine = imported("sealed", address, secure_boot=True, firmware=SETUP_MODE)
    machine.start()
    site.wait("maintenance mode", partial(in_maintenance, site, address))
    config = cluster.config("controlplane", named("sealed"), NO_INSTALLATION, SEALED)
    assert apply_insecurely(site, address, config).returncode == 0
    site.wait("the complaint", partial(says, machine, "volume EPHEMERAL (partition): failed: error encrypting volume"))
    assert "failed to open TPM: no TPM 2.0 device" in machine.console
    assert cluster.attempt("version", node=address, timeout=20).returncode != 0
    machine.kill()
    machine.hardware["tpm"] = "v2.0"
    machine.start()
    site.wait("maintenance mode again", partial(in_maintenance, site, address))
    assert apply_insecurely(site, address, config).returncode == 0
    site.wait("bootstrap", lambda: cluster.attempt("bootstrap", node=address).returncode == 0)
    site.wait("running", partial(cluster.runs, address))
    assert machine.exits == [], "no installation, no reboot"
    (status,) = cluster.resources("volumestatus", address, "EPHEMERAL")
    assert (status["spec"]["encryptionProvider"], status["spec"]["configuredEncryptionKeys"]) == ("luks2", ["tpm"])


def test_a_machine_with_all_that_there_is(site: Site, imported: Any) -> None:
    """Several disks and cards, IPv6, a device of the host, and documents about all of them."""
    address, second = "10.5.1.3", "10.6.1.3"
    cluster = Cluster(site, "rich", address)
    machine = imported("rich", address)
    (card,) = machine.hardware["nics"]
    other = {**card, "name": "eth1", "mac": "BC:24:11:00:01:03", "mtu": 9000, "dhcp": None}
    machine.hardware["nics"].append(other)
    machine.hardware["cidata"] = {
        "hostname": "rich",
        "nameservers": ["10.5.0.1"],
        "nics": [
            {"mac": card["mac"], "address": f"{address}/16", "gateway": "10.5.0.1", "address6": "fd05::13/64"},
        ],
    }
    machine.hardware["disks"].append(
        {
            "device": "/dev/sdb",
            "path": str(machine.folder / "disks" / "scsi1"),
            "sizeBytes": 100 << 30,
            "transport": "virtio-scsi",
            "serial": "data-1",
            "rotational": True,
        }
    )
    machine.hardware["pciDevices"] = [{"address": "0000:01:00.0", "id": "10de:2204"}]
    machine.start()
    site.wait("maintenance mode", partial(in_maintenance, site, address))
    documents: list[dict[str, Any]] = [
        {"kind": "LinkConfig", "name": "eth1", "addresses": [{"address": f"{second}/16"}], "mtu": 8000},
        {"kind": "Layer2VIPConfig", "name": "10.5.1.9", "link": "eth0"},
        {"kind": "ResolverConfig", "nameservers": [{"address": "10.5.0.1"}]},
        {
            "kind": "UserVolumeConfig",
            "name": "data",
            "provisioning": {"diskSelector": {"match": 'disk.serial == "data-1"'}, "minSize": "10GiB"},
        },
    ]
    patches = [{"apiVersion": "v1alpha1", **document} for document in documents]
    config = cluster.config("controlplane", named("rich"), NO_INSTALLATION, *patches)
    assert apply_insecurely(site, address, config).returncode == 0
    site.wait("bootstrap", lambda: cluster.attempt("bootstrap", node=address).returncode == 0)
    site.wait("running", partial(cluster.runs, address))
    addresses = cluster.resources("nodeaddress", address, "current")[0]["spec"]["addresses"]
    assert addresses == [f"{address}/16", f"{second}/16", "fd05::13/64"]
    for endpoint in (second, "fd05::13"):
        assert "v1.13.0" in cluster("version", endpoint=endpoint)
    links = {link["metadata"]["id"]: link["spec"]["mtu"] for link in cluster.resources("links", address)}
    assert links == {"lo": 65536, "eth0": 1500, "eth1": 8000}
    routes = {route["metadata"]["id"] for route in cluster.resources("routes", address)}
    assert {"inet4/10.5.0.1//1024", "inet4//10.6.0.0/16/0"} <= routes
    disk = cluster.resources("disks", address, "sdb")[0]["spec"]
    assert (disk["serial"], disk["rotational"], disk["transport"]) == ("data-1", True, "virtio")
    volume = cluster.resources("volumestatus", address, "u-data")[0]["spec"]
    assert (volume["phase"], volume["location"]) == ("ready", "/dev/sdb1")
    devices = [device["spec"] for device in cluster.resources("pcidevices", address)]
    assert ("0x10de", "0x2204") in [(device["vendor_id"], device["product_id"]) for device in devices]
    members = cluster("etcd", "members")
    assert f"https://{address}:2380" in members


def test_the_older_network_configuration_of_several_cards_is_accepted(site: Site, imported: Any) -> None:
    address = "10.5.1.4"
    cluster = Cluster(site, "older", address, contract="v1.11")
    machine = imported("older", address)
    (card,) = machine.hardware["nics"]
    machine.hardware["nics"].append({**card, "name": "eth1", "mac": "BC:24:11:00:01:04", "dhcp": None})
    machine.start()
    site.wait("maintenance mode", partial(in_maintenance, site, address))
    interfaces = [
        {"interface": "eth0", "dhcp": True, "vip": {"ip": "10.5.1.9"}},
        {
            "interface": "eth1",
            "mtu": 1400,
            "addresses": ["10.6.1.4/16"],
            "routes": [{"network": "10.7.0.0/16", "gateway": "10.6.0.1"}],
            "vlans": [{"vlanId": 30, "addresses": ["10.8.1.4/24"]}],
        },
        {"deviceSelector": {"hardwareAddr": "00:11:*"}, "addresses": ["10.9.1.4/24"]},
        {"interface": "bond0", "bond": {"interfaces": ["eth7"], "mode": "802.3ad"}},
    ]
    config = cluster.config("controlplane", {"machine": {"network": {"hostname": "older", "interfaces": interfaces}}})
    applied = apply_insecurely(site, address, config)
    assert applied.returncode == 0, applied.stderr
    site.wait("both addresses", partial(says, machine, "addresses: [10.5.1.4/16 10.6.1.4/16]"))
