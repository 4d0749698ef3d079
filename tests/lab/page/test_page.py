"""Where the page of a running lab is: outside, on this machine alone, and told to whoever starts the lab."""

from __future__ import annotations

import json
import socket
import sys
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from lab.control import Client
from tests.lab.running import RunningLab, fake_node, labs, until

pytestmark = pytest.mark.engine

CONNECT = "import socket, sys; socket.create_connection((sys.argv[1], int(sys.argv[2])), 5)"


@pytest.fixture(scope="module")
def make_lab() -> Iterator[Callable[[], RunningLab]]:
    with fake_node() as program, labs(program) as make:
        yield make


@pytest.fixture(scope="module")
def lab(make_lab: Callable[[], RunningLab]) -> RunningLab:
    made = make_lab()
    Client(made.directory).set_fault("delay", "task", seconds=0)
    started = made("start")
    assert started.returncode == 0, started.stderr
    assert f"  watch it in a browser: {page(made)}\n" in started.stdout
    return made


def page(lab: RunningLab) -> str:
    return str(json.loads(lab("status", "--json").stdout)["page"])


def state(lab: RunningLab) -> dict[str, Any]:
    with urllib.request.urlopen(f"{page(lab)}state.json", timeout=30) as answer:
        found: dict[str, Any] = json.load(answer)
    return found


def test_it_is_on_the_loopback_address_of_this_machine_alone(lab: RunningLab) -> None:
    where = urlsplit(page(lab))
    assert where.hostname == "127.0.0.1"
    listening = [line.split()[1] for line in Path("/proc/net/tcp").read_text().splitlines() if line.split()[3] == "0A"]
    assert f"0100007F:{where.port:04X}" in listening
    assert f"00000000:{where.port:04X}" not in listening


def test_nobody_inside_reaches_it(lab: RunningLab) -> None:
    where = urlsplit(page(lab))
    asked = lab("exec", "--", sys.executable, "-c", CONNECT, "127.0.0.1", str(where.port))
    assert "ConnectionRefusedError" in asked.stderr


def test_status_says_where_it_is_too(lab: RunningLab) -> None:
    assert f"  watch it in a browser: {page(lab)}\n" in lab("status").stdout


def test_a_second_lab_has_another_port(lab: RunningLab, make_lab: Callable[[], RunningLab]) -> None:
    second = make_lab()
    assert second("start").returncode == 0
    assert page(second) != page(lab)
    assert state(second)["vms"].keys() == {"100"}
    where = urlsplit(page(second))
    second("stop")
    assert json.loads(second("status", "--json").stdout)["running"] is False
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection((str(where.hostname), where.port or 0))


def test_what_happens_is_shown(lab: RunningLab) -> None:
    before = state(lab)
    assert before["headline"]["text"] == "No machines yet: they appear here as `pulumi up` makes them."
    assert before["vms"]["100"] | {"name": "pfsense", "power": "on", "foreign": True} == before["vms"]["100"]
    lab.start_machine(vmid=800, host="ms02", name="homelab-cp1", cores=4, memory=8192, tags="talos;dev")
    found = state(lab)
    machine = found["vms"]["800"]
    assert (machine["name"], machine["host"], machine["power"]) == ("homelab-cp1", "ms02", "on")
    assert (machine["cpus"], machine["memory_mib"], machine["tags"]) == (4, 8192, ["talos", "dev"])
    assert machine["stage"] == "firmware"  # the fake node says nothing of itself
    assert found["headline"]["mood"] == "busy"
    created = [request for request in found["requests"].values() if request["path"] == "/nodes/ms02/qemu"]
    assert [(request["method"], request["status"]) for request in created] == [("POST", 200)]
    assert created[0]["seconds"] > 0
    assert [(task["type"], task["status"]) for task in found["tasks"].values()][:2] == [
        ("qmstart", "OK"),
        ("qmcreate", "OK"),
    ]
    lab.order("poweroff")
    until(lambda: state(lab)["vms"]["800"]["power"] == "off")
    assert "stage" not in state(lab)["vms"]["800"]


def test_a_task_is_shown_on_its_machine_while_it_runs(lab: RunningLab) -> None:
    lab.start_machine(vmid=801, name="homelab-cp2")
    Client(lab.directory).set_fault("delay", "task", seconds=60)
    lab.call("POST", "/nodes/ms01/qemu/801/status/stop")
    shown = state(lab)
    assert shown["vms"]["801"]["task"]["words"] == "stopped"
    assert "homelab-cp2 is being stopped." in [shown["headline"]["text"], *shown["headline"]["more"]]
    Client(lab.directory).clear_faults()


def test_faults_are_shown(lab: RunningLab) -> None:
    Client(lab.directory).set_fault("dhcp-silent")
    Client(lab.directory).set_fault("network-cut", 801)
    Client(lab.directory).set_fault("api-error", match="DELETE:/nodes/**", at=9)
    found = state(lab)
    assert found["faults"] == ["DHCP is silent: dhcp-silent", "The network of a VM is cut: network-cut 801"]
    assert found["headline"]["mood"] == "trouble"
    assert found["vms"]["801"]["cut_off"] is True
    Client(lab.directory).clear_faults()
    assert state(lab)["faults"] == []


def test_no_secret_of_the_lab_is_in_it(lab: RunningLab) -> None:
    lab.call("PUT", "/nodes/ms02/qemu/800/config", cipassword="hunter2", description="not for everybody")
    lab.call("POST", "/access/ticket", username="root@pam", password=lab.directory.root_password())
    text = json.dumps(state(lab))
    assert "/nodes/ms02/qemu/800/config" in text
    assert "/access/ticket" in text
    secrets = [lab.directory.token_secret(), lab.directory.root_password(), lab.directory.ticket_key().decode()]
    assert [secret for secret in [*secrets, "hunter2", "not for everybody", "PVEAuthCookie"] if secret in text] == []


def test_another_site_cannot_read_it(lab: RunningLab) -> None:
    request = urllib.request.Request(f"{page(lab)}state.json", headers={"Host": "rebound.example"})
    with pytest.raises(urllib.error.HTTPError, match="403"):
        urllib.request.urlopen(request, timeout=30)
