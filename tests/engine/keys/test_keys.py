"""Every key of cluster.yaml has its effect: seen in what Proxmox was asked for, or in what a node accepted.

Two clusters set every key between them. Each key names what it did; the last test holds the list against the models.
"""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import pytest
import yaml

from cluster_stack.automation import Outputs
from cluster_stack.config.reference.keys import NAMED, dotted, keys
from tests.engine.site import Site

HERE = Path(__file__).parent


@dataclass
class Arrived:
    """What one `up` of a cluster brought to Proxmox and to its nodes."""

    site: Site
    outputs: Outputs
    requests: list[dict[str, Any]]

    def vm(self, name: str) -> dict[str, str]:
        """The parameters with which a VM was created."""
        found: dict[str, str]
        (found,) = [
            request["parameters"]
            for request in self.requests
            if request["path"].endswith("/qemu") and request["parameters"].get("name") == name
        ]
        return found

    def host(self, name: str) -> str:
        """The Proxmox host on which a VM was created."""
        (found,) = [
            request["path"].split("/")[-2]
            for request in self.requests
            if request["path"].endswith("/qemu") and request["parameters"].get("name") == name
        ]
        return str(found)

    def posted(self, path: str) -> list[dict[str, Any]]:
        return [request["parameters"] for request in self.requests if request["path"].endswith(path)]

    @cached_property
    def _configurations(self) -> dict[str, list[dict[str, Any]]]:
        found = {}
        for name, vm in {**self.outputs.control_plane_vms, **self.outputs.worker_vms}.items():
            text = self.site.eventually(
                partial(self.site.talosctl, self.outputs, [vm.ip], "get", "machineconfig", "v1alpha1", "-o", "yaml")
            )
            found[name] = list(yaml.safe_load_all(yaml.safe_load(text)["spec"]))
        return found

    def machine(self, name: str) -> dict[str, Any]:
        """The v1alpha1 document that a node accepted."""
        (found,) = [document for document in self._configurations[name] if "kind" not in document]
        return found

    def schematic(self, name: str) -> dict[str, Any]:
        """What the Image Factory was sent for the image of a node."""
        number = self.machine(name)["machine"]["install"]["image"].split("/")[-1].partition(":")[0]
        ask = "import sys, urllib.request as r; sys.stdout.write(r.urlopen(sys.argv[1]).read().decode())"
        url = f"https://factory.talos.dev/schematics/{number}"
        found: dict[str, Any] = yaml.safe_load(self.site.run(sys.executable, "-c", ask, url).stdout)
        return found

    def document(self, name: str, kind: str, of: str | None = None) -> dict[str, Any]:
        (found,) = [
            document
            for document in self._configurations[name]
            if document.get("kind") == kind and of in {None, document.get("name")}
        ]
        return found


def made(site: Site, name: str) -> Iterator[Arrived]:
    folder = site.project / "clusters" / name
    folder.mkdir()
    shutil.copy(HERE / f"{name}.yaml", folder / "cluster.yaml")
    shutil.copytree(HERE / "patches", folder / "patches")
    seen = len(site.requests())
    try:
        result = site.up(name)
        yield Arrived(site, result.outputs, [r for r in site.requests()[seen:] if r["method"] != "GET"])
        again = site.up(name).changes
        assert not again.any, "an update without an edit changes nothing"
        assert not site.up(name, refresh=True).changes.any, "nor after a look at how things are"
    finally:
        file = folder / "cluster.yaml"
        text = file.read_text()
        if "protection: true" in text:
            file.write_text(text.replace("protection: true", "protection: false"))
            site.up(name)
        seen = len(site.requests())
        site.destroy(name)
        if "forceStop: true" in text:
            asked = {
                request["path"].split("/")[-1] for request in site.requests()[seen:] if request["method"] == "POST"
            }
            assert asked == {"stop"}, "nor shut down"
        shutil.rmtree(folder)


@pytest.fixture(scope="module")
def machines(site: Site) -> Iterator[Arrived]:
    yield from made(site, "machines")


@pytest.fixture(scope="module")
def addresses(site: Site) -> Iterator[Arrived]:
    yield from made(site, "addresses")


CP, WORKER, GPU = "machines-cp1", "machines-worker1", "machines-gpu1"
Check = Callable[[Arrived], object]

TALOS = "cluster.talos."
SCHEMATIC = f"{TALOS}schematic."
KUBERNETES = "cluster.kubernetes."
TOPOLOGY = "cluster.topology."
POOL = f"{TOPOLOGY}nodePools[]."
NODE = f"{TOPOLOGY}nodes.{NAMED}."

MACHINES: dict[str, Check] = {
    "metadata.name": lambda a: a.vm(CP),
    "metadata.environment": lambda a: "test" in a.vm(CP)["tags"].split(";"),
    "metadata.description": lambda a: a.vm(CP)["description"].startswith("Every key of machines"),
    "metadata.labels": lambda a: (
        "team-storage" in a.vm(CP)["tags"] and a.machine(CP)["machine"]["nodeLabels"]["team"] == "storage"
    ),
    f"{TALOS}version": lambda a: a.machine(CP)["machine"]["install"]["image"].endswith(":v1.13.0"),
    f"{TALOS}clusterName": lambda a: a.machine(CP)["cluster"]["clusterName"] == "talos-machines",
    f"{TALOS}installDiskSelector.size": lambda a: selector(a)["size"] == ">= 10GB",
    f"{TALOS}installDiskSelector.model": lambda a: selector(a)["model"] == "QEMU*",
    f"{TALOS}installDiskSelector.type": lambda a: selector(a)["type"] == "ssd",
    f"{TALOS}installDiskSelector.serial": lambda a: selector(a)["serial"] == "drive-*",
    f"{TALOS}installDiskSelector.modalias": lambda a: selector(a)["modalias"] == "scsi:t-0x00",
    f"{TALOS}installDiskSelector.uuid": lambda a: selector(a)["uuid"] == "*",
    f"{TALOS}installDiskSelector.wwid": lambda a: selector(a)["wwid"] == "*",
    f"{TALOS}installDiskSelector.busPath": lambda a: selector(a)["busPath"] == "/pci0000:00/*",
    f"{SCHEMATIC}overlay": lambda a: (
        a.schematic(CP)["overlay"]
        == {"image": "siderolabs/sbc-raspberrypi", "name": "rpi_generic", "options": {"configTxt": "arm_64bit=1"}}
    ),
    f"{SCHEMATIC}customization.extraKernelArgs": lambda a: custom(a, CP)["extraKernelArgs"] == ["console=ttyS0"],
    f"{SCHEMATIC}customization.meta": lambda a: custom(a, CP)["meta"] == [{"key": 10, "value": "hello"}],
    f"{SCHEMATIC}customization.systemExtensions.officialExtensions": lambda a: (
        custom(a, CP)["systemExtensions"]["officialExtensions"] == ["siderolabs/qemu-guest-agent"]
    ),
    f"{SCHEMATIC}customization.secureboot.includeWellKnownCertificates": lambda a: (
        custom(a, CP)["secureboot"] == {"includeWellKnownCertificates": True}
    ),
    f"{TALOS}secureboot": lambda a: (
        image_url(a).endswith("-secureboot.qcow2")
        and "nocloud-installer-secureboot/" in a.machine(CP)["machine"]["install"]["image"]
        and "pre-enrolled-keys=0" in a.vm(CP)["efidisk0"]
    ),
    f"{TALOS}diskEncryption": lambda a: a.document(CP, "VolumeConfig", "STATE")["encryption"]["keys"][0]["tpm"] == {},
    f"{TALOS}patches": lambda a: (
        a.machine(WORKER)["machine"]["sysctls"]["vm.max_map_count"] == "262144"
        and a.document(WORKER, "OOMConfig")["triggerExpression"] == "memory_full_avg10 > 75.0"
    ),
    f"{KUBERNETES}version": lambda a: a.machine(CP)["machine"]["kubelet"]["image"].endswith(":v1.35.2"),
    f"{KUBERNETES}endpoint": lambda a: (
        a.machine(WORKER)["cluster"]["controlPlane"]["endpoint"] == "https://machines.lan:6443"
    ),
    f"{KUBERNETES}vip": lambda a: a.machine(CP)["machine"]["network"]["interfaces"][0]["vip"] == {"ip": "10.43.30.40"},
    f"{KUBERNETES}domain": lambda a: a.machine(WORKER)["cluster"]["network"]["dnsDomain"] == "machines.local",
    f"{KUBERNETES}certSANs": lambda a: "machines.lan" in a.machine(CP)["cluster"]["apiServer"]["certSANs"],
    f"{KUBERNETES}allowSchedulingOnControlPlanes": lambda a: a.machine(CP)["cluster"]["allowSchedulingOnControlPlanes"],
    f"{KUBERNETES}oidc.issuerUrl": lambda a: api_server(a)["oidc-issuer-url"] == "https://login.lan/",
    f"{KUBERNETES}oidc.clientId": lambda a: api_server(a)["oidc-client-id"] == "kubernetes",
    "cluster.cni.name": lambda a: a.machine(CP)["cluster"]["network"]["cni"] == {"name": "none"},
    "cluster.cni.kubeProxy": lambda a: a.machine(CP)["cluster"]["proxy"]["disabled"] is True,
    f"{TOPOLOGY}controlPlane.count": lambda a: list(a.outputs.control_plane_vms) == [CP],
    f"{TOPOLOGY}controlPlane.resources.cores": lambda a: a.vm(CP)["cores"] == "2",
    f"{TOPOLOGY}controlPlane.resources.sockets": lambda a: a.vm(CP)["sockets"] == "2",
    f"{TOPOLOGY}controlPlane.resources.memory": lambda a: a.vm(CP)["memory"] == "4096",
    f"{TOPOLOGY}controlPlane.resources.disk": lambda a: resized(a, 750, 20),
    f"{TOPOLOGY}controlPlane.labels": lambda a: a.machine(CP)["machine"]["nodeLabels"]["tier"] == "control",
    f"{TOPOLOGY}controlPlane.annotations": lambda a: (
        a.machine(CP)["machine"]["nodeAnnotations"]["example.org/owner"] == "me"
    ),
    f"{TOPOLOGY}controlPlane.taints": lambda a: (
        a.machine(CP)["machine"]["nodeTaints"]["dedicated"] == "control:PreferNoSchedule"
    ),
    f"{TOPOLOGY}controlPlane.patches": lambda a: (
        a.machine(CP)["machine"]["sysfs"] == {"devices.system.cpu.smt.control": "on"}
    ),
    f"{TOPOLOGY}workers.count": lambda a: set(a.outputs.worker_vms) == {WORKER, GPU},
    f"{TOPOLOGY}workers.networkInterfaces[].bridge": lambda a: "bridge=vmbr0" in a.vm(WORKER)["net1"],
    f"{TOPOLOGY}workers.networkInterfaces[].vlan": lambda a: "tag=20" in a.vm(WORKER)["net1"],
    f"{TOPOLOGY}workers.networkInterfaces[].mtu": lambda a: "mtu=1400" in a.vm(WORKER)["net1"],
    f"{TOPOLOGY}workers.networkInterfaces[].dhcp": lambda a: (
        a.machine(WORKER)["machine"]["network"]["interfaces"] == [{"interface": "eth1", "dhcp": False}]
    ),
    f"{POOL}name": lambda a: "gpu" in a.vm(GPU)["tags"].split(";"),
    f"{POOL}count": lambda a: a.vm(GPU),
    f"{POOL}idBase": lambda a: a.vm(GPU)["vmid"] == "770",
    f"{POOL}labels": lambda a: a.machine(GPU)["machine"]["nodeLabels"]["accelerator"] == "gpu",
    f"{POOL}annotations": lambda a: a.machine(GPU)["machine"]["nodeAnnotations"]["example.org/pool"] == "gpu",
    f"{POOL}taints": lambda a: registered(a, GPU) == [{"key": "gpu", "value": "true", "effect": "NoSchedule"}],
    f"{POOL}extensions": lambda a: "siderolabs/iscsi-tools" in str(custom(a, GPU)["systemExtensions"]),
    f"{POOL}placement.nodes": lambda a: a.host(GPU) == "ms02",
    f"{POOL}disks[].size": lambda a: "local-lvm:12" in a.vm(GPU)["scsi1"],
    f"{POOL}disks[].datastore": lambda a: "file=local-lvm" in a.vm(GPU)["scsi1"],
    f"{POOL}disks[].ssd": lambda a: "ssd=1" in a.vm(GPU)["scsi1"],
    f"{POOL}disks[].volume": lambda a: (
        "serial=data" in a.vm(GPU)["scsi1"]
        and "HARDDISK_data'" in a.document(GPU, "UserVolumeConfig", "data")["provisioning"]["diskSelector"]["match"]
    ),
    f"{POOL}pciDevices[].mapping": lambda a: "mapping=gpu0" in a.vm(GPU)["hostpci0"],
    f"{POOL}pciDevices[].pcie": lambda a: "pcie=1" in a.vm(GPU)["hostpci0"] and a.vm(GPU)["machine"] == "q35",
    f"{POOL}patches": lambda a: a.machine(GPU)["machine"]["sysctls"]["vm.nr_hugepages"] == "64",
    f"{NODE}node": lambda a: a.host(WORKER) == "ms03",
    f"{NODE}macAddress": lambda a: "BC:24:11:0A:00:01" in a.vm(WORKER)["net0"],
    f"{NODE}vmId": lambda a: a.vm(WORKER)["vmid"] == "765",
    f"{NODE}resources.cores": lambda a: a.vm(WORKER)["cores"] == "3",
    f"{NODE}resources.sockets": lambda a: a.vm(WORKER)["sockets"] == "2",
    f"{NODE}resources.memory": lambda a: a.vm(WORKER)["memory"] == "5120",
    f"{NODE}resources.disk": lambda a: resized(a, 765, 22),
    f"{NODE}labels": lambda a: a.machine(WORKER)["machine"]["nodeLabels"]["rack"] == "r1",
    f"{NODE}annotations": lambda a: a.machine(WORKER)["machine"]["nodeAnnotations"]["example.org/rack"] == "r1",
    f"{NODE}taints": lambda a: registered(a, WORKER) == [{"key": "rack", "value": "r1", "effect": "NoSchedule"}],
    f"{NODE}extensions": lambda a: "siderolabs/util-linux-tools" in str(custom(a, WORKER)["systemExtensions"]),
    f"{NODE}disks[].size": lambda a: "local-lvm:11" in a.vm(WORKER)["scsi1"],
    f"{NODE}patches": lambda a: a.machine(WORKER)["machine"]["sysctls"]["vm.swappiness"] == "1",
    "proxmox.nodes": lambda a: {a.host(CP), a.host(GPU), a.host(WORKER)} == {"ms01", "ms02", "ms03"},
    "proxmox.clusterName": lambda a: (
        a.machine(CP)["machine"]["nodeLabels"]["topology.kubernetes.io/region"] == "homelab"
        and a.machine(GPU)["machine"]["nodeLabels"]["topology.kubernetes.io/zone"] == "ms02"
    ),
    "proxmox.endpoint": lambda a: a.requests,
    "proxmox.storage.datastore": lambda a: "file=local-lvm:0" in a.vm(CP)["scsi0"],
    "proxmox.storage.imageDatastore": lambda a: "import-from=local:import/machines-talos-" in a.vm(CP)["scsi0"],
    "proxmox.network.bridge": lambda a: "bridge=vmbr1" in a.vm(CP)["net0"],
    "proxmox.network.vlan": lambda a: (
        "tag=30" in a.vm(CP)["net0"] and a.outputs.control_plane_ips[0].startswith("10.43.30.")
    ),
    "proxmox.network.mtu": lambda a: "mtu=1450" in a.vm(CP)["net0"],
    "proxmox.network.nameservers": lambda a: a.machine(CP)["machine"]["network"]["nameservers"] == ["10.42.0.1"],
    "proxmox.network.ntpServers": lambda a: a.machine(CP)["machine"]["time"]["servers"] == ["time.lan"],
    "proxmox.network.dhcp": lambda a: a.machine(CP)["machine"]["network"]["interfaces"][0]["dhcp"] is True,
    "proxmox.vm.idBase": lambda a: a.vm(CP)["vmid"] == "750",
    "proxmox.vm.cpuType": lambda a: "host" in a.vm(CP)["cpu"],
    "proxmox.vm.onBoot": lambda a: a.vm(CP)["onboot"] == "1",
    "proxmox.vm.machine": lambda a: a.vm(CP)["machine"] == "q35",
    "proxmox.vm.numa": lambda a: a.vm(CP)["numa"] == "1",
    "proxmox.vm.balloon": lambda a: a.vm(CP)["balloon"] == "2048",
    "proxmox.vm.protection": lambda a: a.vm(CP)["protection"] == "1",
    "proxmox.vm.pool": lambda a: a.vm(CP)["pool"] == "talos",
    "proxmox.vm.tags": lambda a: "mine" in a.vm(CP)["tags"].split(";"),
    "volumes[].name": lambda a: a.document(CP, "UserVolumeConfig", "scratch"),
    "volumes[].diskSelector": lambda a: scratch(a)["diskSelector"]["match"] == "!system_disk",
    "volumes[].minSize": lambda a: scratch(a)["minSize"] == "2GiB",
    "volumes[].maxSize": lambda a: scratch(a)["maxSize"] == "4GiB",
    f"registries.mirrors.{NAMED}.endpoints": lambda a: mirror(a)["endpoints"] == ["https://mirror.lan"],
    f"registries.mirrors.{NAMED}.overridePath": lambda a: mirror(a)["overridePath"] is True,
    f"registries.mirrors.{NAMED}.skipFallback": lambda a: mirror(a)["skipFallback"] is True,
}


def custom(arrived: Arrived, node: str) -> dict[str, Any]:
    found: dict[str, Any] = arrived.schematic(node)["customization"]
    return found


def registered(arrived: Arrived, node: str) -> list[dict[str, str]]:
    """The taints with which a worker's kubelet registers it. In ``nodeTaints`` Kubernetes would refuse them."""
    machine = arrived.machine(node)["machine"]
    assert "nodeTaints" not in machine
    found: list[dict[str, str]] = machine["kubelet"]["extraConfig"]["registerWithTaints"]
    return found


def selector(arrived: Arrived) -> dict[str, Any]:
    found: dict[str, Any] = arrived.machine(CP)["machine"]["install"]["diskSelector"]
    return found


def image_url(arrived: Arrived) -> str:
    return str(arrived.posted("/download-url")[0]["url"])


def api_server(arrived: Arrived) -> dict[str, str]:
    found: dict[str, str] = arrived.machine(CP)["cluster"]["apiServer"]["extraArgs"]
    return found


def scratch(arrived: Arrived) -> dict[str, Any]:
    found: dict[str, Any] = arrived.document(CP, "UserVolumeConfig", "scratch")["provisioning"]
    return found


def mirror(arrived: Arrived) -> dict[str, Any]:
    found: dict[str, Any] = arrived.machine(CP)["machine"]["registries"]["mirrors"]["docker.io"]
    return found


def resized(arrived: Arrived, vm_id: int, gigabytes: int) -> bool:
    sizes = [
        request["parameters"]["size"]
        for request in arrived.requests
        if request["path"].endswith(f"/{vm_id}/resize") and request["parameters"]["disk"] == "scsi0"
    ]
    return sizes == [str(gigabytes * 1024**3)] or sizes == [f"{gigabytes}G"]


ADDRESSES: dict[str, Check] = {
    f"{KUBERNETES}podSubnets": lambda a: (
        a.machine("addresses-cp1")["cluster"]["network"]["podSubnets"] == ["10.210.0.0/16", "fd00:210::/56"]
    ),
    f"{KUBERNETES}serviceSubnets": lambda a: (
        a.machine("addresses-worker1")["cluster"]["network"]["serviceSubnets"] == ["10.211.0.0/16", "fd00:211::/112"]
    ),
    f"{TALOS}installDisk": lambda a: a.machine("addresses-cp1")["machine"]["install"]["disk"] == "/dev/vda",
    f"{TALOS}imageFactory.registryURL": lambda a: (
        image_url(a).startswith("https://factory.lan/image/")
        and a.machine("addresses-cp1")["machine"]["install"]["image"].startswith("factory.lan/nocloud-installer/")
    ),
    "proxmox.vm.tpm": lambda a: "version=v2.0" in a.vm("addresses-cp1")["tpmstate0"],
    f"{POOL}placement.strategy": lambda a: {a.host("addresses-far1"), a.host("addresses-far2")} == {"ms03"},
    f"{POOL}ipRange": lambda a: "ip=10.42.0.85/24" in a.vm("addresses-far1")["ipconfig0"],
    f"{NODE}ipAddress": lambda a: "ip=10.42.0.99/24" in a.vm("addresses-cp2")["ipconfig0"],
    f"{NODE}ipv6Address": lambda a: "ip6=fd00:42::99/64" in a.vm("addresses-cp2")["ipconfig0"],
    "proxmox.storage.shared": lambda a: len(a.posted("/download-url")) == 1,
    "proxmox.network.cidr": lambda a: "/24" in a.vm("addresses-cp1")["ipconfig0"],
    "proxmox.network.gateway": lambda a: "gw=10.42.0.1" in a.vm("addresses-cp1")["ipconfig0"],
    "proxmox.network.cidr6": lambda a: "ip6=fd00:42::47/64" in a.vm("addresses-cp1")["ipconfig0"],
    "proxmox.network.gateway6": lambda a: "gw6=fd00:42::1" in a.vm("addresses-cp1")["ipconfig0"],
    "proxmox.network.ipRanges.controlPlane": lambda a: a.outputs.control_plane_ips == (
        "10.42.0.71", "10.42.0.99", "10.42.0.73",
    ),
    "proxmox.network.ipRanges.workers": lambda a: a.outputs.worker_ips[0] == "10.42.0.81",
    "proxmox.vm.ha": lambda a: (
        {found["sid"] for found in a.posted("/cluster/ha/resources")} >= {"vm:720", "vm:721", "vm:722", "vm:730"}
        and a.posted("/cluster/ha/rules")[0]["affinity"] == "negative"
    ),
}  # fmt: skip


@pytest.mark.parametrize("key", MACHINES)
def test_a_key_of_machines(machines: Arrived, key: str) -> None:
    assert MACHINES[key](machines)


@pytest.mark.parametrize("key", ADDRESSES)
def test_a_key_of_addresses(addresses: Arrived, key: str) -> None:
    assert ADDRESSES[key](addresses)


def test_control_planes_are_on_different_hosts(addresses: Arrived) -> None:
    hosts = [addresses.host(f"addresses-cp{number}") for number in (1, 2, 3)]
    assert len(set(hosts)) == 3


def test_the_agent_is_off_where_the_schematic_lacks_it(addresses: Arrived, machines: Arrived) -> None:
    assert "enabled=1" not in addresses.vm("addresses-cp1").get("agent", "")
    assert "enabled=1" in machines.vm(CP)["agent"]


ELSEWHERE = {
    "apiVersion": "a constant",
    f"{TALOS}factorySchematic": "test_first_light: the installer image of homelab",
    f"{TALOS}arch": "tests/components: the lab has no arm64 machines",
    f"{TALOS}platform": "test_static_addresses: of an ISO; a disk image is always nocloud",
    "proxmox.node": "test_first_light",
    "proxmox.nodes[].name": "as proxmox.nodes",
    "proxmox.nodes[].cores": "tests/sites: compared with what the machines want; nobody is told",
    "proxmox.nodes[].memory": "the same",
    "proxmox.nodes[].disk": "the same",
    "proxmox.insecure": "test_refusals: a certificate that nobody trusts",
    "proxmox.storage.isoPath": "test_first_light",
    "proxmox.vm.bios": "test_images: where nothing else asks for that firmware",
    "proxmox.vm.forceStop": "where the clusters above are destroyed",
    "proxmox.vm.haGroup": "tests/components: only before Proxmox VE 9",
    "cluster.cni.valuesFile": "not acted on yet, which a warning says",
}
NOT_YET = ("secrets.", "lifecycle.", "backups.", "gitops.")
"""Read and checked, and a warning says that nothing acts on them yet: tests/sites."""


def test_no_key_is_forgotten() -> None:
    shown = {*MACHINES, *ADDRESSES, *ELSEWHERE}

    def is_shown(key: str) -> bool:
        # What pools and nodes have in common is shown for one of them.
        alike = [f"{TOPOLOGY}controlPlane.", f"{TOPOLOGY}workers.", POOL, NODE]
        names = {key, *(other + key.removeprefix(own) for own in alike if key.startswith(own) for other in alike)}
        names |= {f"{SCHEMATIC}overlay"} if key.startswith(f"{SCHEMATIC}overlay.") else set()
        names |= {f"{SCHEMATIC}customization.meta"} if key.startswith(f"{SCHEMATIC}customization.meta[].") else set()
        return bool(names & shown) or key.startswith(NOT_YET)

    assert [key for key in map(dotted, (found.path for found in keys() if not found.below)) if not is_shown(key)] == []
