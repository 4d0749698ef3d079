"""Faults of machines, as the real talosctl and Proxmox's clients see them: one control plane, and one machine without
a configuration. The machine whose etcd is spoiled comes last."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from lab.control import Client
from tests.lab.running import QEMU, RunningLab, labs
from toolchain import tool

pytestmark = pytest.mark.engine

CONTROL_PLANE, BLANK = 800, 801
ADDRESS = "10.42.0.100"
SCHEMATIC = "ce4c980550dd2ab1b17bbf2b08801c7eb59418eafe8f279833297925d67c7515"
ISO = "c137-isos:iso/talos-{}-qemuguest-metal-amd64.iso,media=cdrom"
SECONDS = 120
PUT = """
import http.client, json, ssl, sys
context = ssl.create_default_context(cafile=sys.argv[2] + "/ca.crt")
context.load_cert_chain(sys.argv[2] + "/server.crt", sys.argv[2] + "/server.key")
connection = http.client.HTTPSConnection(sys.argv[1], 2379, timeout=10, context=context)
connection.request("POST", "/v3/kv/put", json.dumps({"key": "Zm9v", "value": "YmFy"}))
print(connection.getresponse().read().decode())
"""


class Site:
    def __init__(self, lab: RunningLab) -> None:
        self.lab = lab
        self.faults = Client(lab.directory)
        self.config = lab.directory.root / "config"

    def talosctl(self, *words: str, node: str = ADDRESS, check: bool = True) -> str:
        """What talosctl says, its errors included."""
        credentials = (
            ["--talosconfig", str(self.config / "talosconfig"), "-e", node] if "--insecure" not in words else []
        )
        command = ["timeout", "10", "talosctl", *words, "-n", node, *credentials]
        done = self.lab("exec", "--", *command, timeout=60)
        assert done.returncode == 0 or not check, done.stderr
        return done.stdout + done.stderr

    def maintenance(self, node: str) -> bool:
        return "sda" in self.talosctl("get", "disks", "--insecure", node=node, check=False)

    def answers(self) -> bool:
        return "Tag:" in self.talosctl("version", check=False).partition("Server:")[2]

    def etcd_is_healthy(self) -> bool:
        return "HEALTH   OK" in self.talosctl("service", "etcd", check=False)

    def etcd_stands_still(self) -> bool:
        """Whether the member's process is stopped at this moment, or at one soon after."""
        (member,) = (
            folder
            for folder in Path("/proc").glob("[0-9]*")
            if (command := _read(folder / "cmdline")).startswith(str(tool("etcd")))
            and str(self.lab.directory.vms / str(CONTROL_PLANE)) in command
        )
        end = time.monotonic() + 0.1
        while time.monotonic() < end:
            if _read(member / "stat").rpartition(") ")[2].startswith("T"):
                return True
        return False

    def put(self) -> str:
        """Write a key into etcd, as any client of it does."""
        keys = self.lab.directory.vms / str(CONTROL_PLANE) / "run" / "etcd"
        return self.lab.inside(sys.executable, "-c", PUT, ADDRESS, str(keys))


def until(condition: Callable[[], object], seconds: float = SECONDS) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not come to be"
        time.sleep(0.3)


@pytest.fixture(scope="module")
def site() -> Iterator[Site]:
    with labs(tool("talos-node")) as make:
        lab = make()
        site = Site(lab)
        for step in ("boot", "install", "service", "task"):
            site.faults.set_fault("delay", step, seconds=0)
        assert lab("start").returncode == 0
        lab.start_machine(CONTROL_PLANE, ide2=ISO.format("1.13.0"), boot="order=scsi0;ide2", name="cp1")
        until(lambda: site.maintenance(ADDRESS))
        image = f"factory.talos.dev/metal-installer/{SCHEMATIC}:v1.13.0"
        options = ["--install-disk", "/dev/sda", "--install-image", image, "-o", str(site.config)]
        lab.inside("talosctl", "gen", "config", "home", f"https://{ADDRESS}:6443", *options)
        site.talosctl("apply-config", "--insecure", "--file", str(site.config / "controlplane.yaml"))
        until(site.answers)
        until(lambda: "error" not in site.talosctl("bootstrap", check=False))
        until(site.etcd_is_healthy)
        lab.start_machine(BLANK, ide2=ISO.format("1.11.5"), name="blank")
        yield site


@pytest.fixture
def broken(site: Site) -> Iterator[Callable[..., str]]:
    """Sets a fault that the test ends, or that ends with it."""
    identifiers: list[str] = []

    def set_fault(kind: str, target: str | int, **options: Any) -> str:
        fault = site.faults.set_fault(kind, target, **options)
        if fault.id:
            identifiers.append(fault.id)
        return fault.id

    yield set_fault
    present = {fault.id for fault in site.faults.faults()}
    for identifier in identifiers:
        if identifier in present:
            site.faults.clear_faults(identifier)


def _read(file: Path) -> str:
    """A file of /proc; empty if the process has ended."""
    try:
        return file.read_text()
    except OSError:
        return ""


def seconds_ahead(site: Site) -> float:
    words = site.talosctl("time").splitlines()[1].split("  ")
    node, server = [datetime.fromisoformat(_iso(word)) for word in words if " +0000 UTC" in word]
    return (node - server).total_seconds()


def _iso(text: str) -> str:
    """Go's way to print a time, without its fractions."""
    return text.strip().partition(" +0000")[0].partition(".")[0]


def test_a_clock_that_is_a_little_off_shows(site: Site, broken: Callable[..., str]) -> None:
    assert abs(seconds_ahead(site)) < 2
    broken("clock-skew", "cp1", seconds=300)
    until(lambda: 298 < seconds_ahead(site) < 302)


def test_a_clock_that_is_far_off_refuses_its_clients(site: Site, broken: Callable[..., str]) -> None:
    fault = broken("clock-skew", CONTROL_PLANE, seconds=-2 * 86400)
    until(lambda: "certificate" in site.talosctl("version", check=False))
    site.faults.clear_faults(fault)
    until(site.answers)


def test_a_certificate_that_has_expired_is_refused_by_the_client(site: Site, broken: Callable[..., str]) -> None:
    fault = broken("certificate-expired", CONTROL_PLANE)
    words = "x509: certificate has expired or is not yet valid"
    until(lambda: words in site.talosctl("version", check=False))
    site.faults.clear_faults(fault)
    until(site.answers)


def test_a_disk_that_is_full_pauses_its_vm(site: Site, broken: Callable[..., str]) -> None:
    fault = broken("disk-full", CONTROL_PLANE)
    status = site.lab.call("GET", f"{QEMU}/{CONTROL_PLANE}/status/current")
    assert (status["status"], status["qmpstatus"]) == ("running", "io-error")
    assert not site.answers()
    assert site.lab.call("GET", f"{QEMU}/{CONTROL_PLANE}/agent/info") is None
    site.faults.clear_faults(fault)
    until(site.etcd_is_healthy)
    assert site.lab.call("GET", f"{QEMU}/{CONTROL_PLANE}/status/current")["qmpstatus"] == "running"


def test_a_disk_that_is_slow_holds_etcd_up(site: Site, broken: Callable[..., str]) -> None:
    assert not site.etcd_stands_still()
    fault = broken("disk-slow", CONTROL_PLANE, milliseconds=400)
    until(site.etcd_stands_still)
    assert "header" in json.loads(site.put()), "it takes its time, and answers"
    site.faults.clear_faults(fault)
    until(lambda: not any(site.etcd_stands_still() for _ in range(20)))
    until(site.etcd_is_healthy)


def test_etcd_raises_its_alarm_and_takes_no_more_writes(site: Site, broken: Callable[..., str]) -> None:
    assert "header" in json.loads(site.put())
    assert "NOSPACE" not in site.talosctl("etcd", "alarm", "list")
    broken("etcd-nospace", CONTROL_PLANE)
    assert "NOSPACE" in site.talosctl("etcd", "alarm", "list")
    assert json.loads(site.put())["message"] == "etcdserver: mvcc: database space exceeded"
    site.talosctl("etcd", "alarm", "disarm")
    assert "header" in json.loads(site.put())


def test_a_machine_takes_the_other_address_that_dhcp_gives(site: Site, broken: Callable[..., str]) -> None:
    until(lambda: site.maintenance("10.42.0.101"))
    broken("dhcp-renumber", "blank")
    until(lambda: site.maintenance("10.42.0.102"))
    assert not site.maintenance("10.42.0.101")


def test_an_image_that_boots_and_dies(site: Site, broken: Callable[..., str]) -> None:
    fault = broken("image-broken", "v1.11.5")
    site.lab.task("POST", f"{QEMU}/{BLANK}/status/stop")
    site.lab.task("POST", f"{QEMU}/{BLANK}/status/start")
    death = "boots and dies"
    until(lambda: sum(death in line for line in site.lab.console(BLANK)) > 1)
    assert site.lab.call("GET", f"{QEMU}/{BLANK}/status/current")["status"] == "running"
    assert not site.maintenance("10.42.0.102")
    assert site.answers(), "another version is not struck"
    site.faults.clear_faults(fault)
    until(lambda: site.maintenance("10.42.0.102"))


def test_an_etcd_whose_data_is_corrupt_does_not_start(site: Site, broken: Callable[..., str]) -> None:
    with pytest.raises(Exception, match="there is no etcd on the disks of VM 801"):
        broken("etcd-corrupt", BLANK)
    broken("etcd-corrupt", CONTROL_PLANE)
    until(site.answers)
    until(lambda: "going to restart forever" in site.talosctl("service", "etcd", check=False))
    assert "invalid database" in site.talosctl("logs", "etcd")
    assert not site.etcd_is_healthy()
