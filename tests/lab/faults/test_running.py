"""Faults in a lab that runs, set as a person sets them: through the command line."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator

import pytest

from tests.lab.running import CALL, QEMU, RunningLab, fake_node, labs, until

pytestmark = pytest.mark.servers


@pytest.fixture(scope="module")
def lab() -> Iterator[RunningLab]:
    with fake_node() as node, labs(node) as make:
        made = make()
        assert made("fault", "set", "delay", "task", "--seconds", "0").returncode == 0
        started = made("start")
        assert started.returncode == 0, started.stderr
        made.start_machine(name="homelab-cp1")
        until(lambda: made.answers("10.42.0.100"))
        yield made


def fault(lab: RunningLab, *words: str) -> str:
    done = lab("fault", *words)
    assert done.returncode == 0, done.stderr
    return done.stdout


def version(lab: RunningLab) -> str:
    """What a client hears that asks Proxmox for its version."""
    done = lab("exec", "--", sys.executable, "-c", CALL, "GET", "/version", "{}")
    return done.stdout if done.returncode == 0 else done.stderr.splitlines()[-1]


def test_what_is_broken_stays_broken_through_a_stop(lab: RunningLab) -> None:
    fault(lab, "set", "network-cut", "homelab-cp1")
    fault(lab, "set", "api-error", "--match", "GET:/version", "--at", "3", "--status", "595")
    assert "9.2" in version(lab)
    assert lab("stop").returncode == 0
    assert lab("start").returncode == 0
    until(lambda: lab.process(800))
    assert not lab.answers("10.42.0.100")
    status = lab("status").stdout
    assert "  fault network-cut-1: network-cut 800: holds\n" in status
    assert "waits for request 3, 1 seen\n" in status
    assert "9.2" in version(lab)
    assert json.loads(version(lab))["reason"] == "No route to host"
    fault(lab, "clear", "network-cut-1")
    until(lambda: lab.answers("10.42.0.100"))
    found = json.loads(fault(lab, "list", "--json"))["faults"]
    assert [(entry["id"], entry["condition"]) for entry in found] == [
        ("delay-1", "holds"),
        ("api-error-1", "has struck"),
    ]
    fault(lab, "clear", "api-error-1")


def test_a_vm_loses_power(lab: RunningLab) -> None:
    assert fault(lab, "set", "vm-kill", "homelab-cp1") == "lab: vm-kill 800: it happened\n"
    assert (lab.power(), lab.process(800)) == ("stopped", None)
    assert lab("fault", "set", "vm-kill", "800").stderr == "lab: vm-kill: VM 800 (homelab-cp1) is not running\n"
    lab.task("POST", f"{QEMU}/800/status/start")
    until(lambda: lab.answers("10.42.0.100"))


def test_a_connection_breaks_midway(lab: RunningLab) -> None:
    fault(lab, "set", "api-drop", "--match", "GET:/version", "--times", "1")
    assert "IncompleteRead" in version(lab)
    assert "9.2" in version(lab)
    fault(lab, "clear", "api-drop-1")


def test_the_host_that_owns_the_address_of_the_api_dies(lab: RunningLab) -> None:
    lab.call("PUT", f"{QEMU}/800/config", onboot=1)
    fault(lab, "set", "host-down", "ms01")
    assert lab.process(800) is None
    assert "Connection refused" in version(lab)
    assert lab("stop").returncode == 0
    assert lab("start").returncode == 0
    assert "Connection refused" in version(lab), "a dead host stays dead"
    fault(lab, "clear", "host-down-1")
    assert "9.2" in version(lab)
    until(lambda: lab.answers("10.42.0.100"))


def test_dhcp_gives_another_address_at_the_next_boot(lab: RunningLab) -> None:
    fault(lab, "set", "dhcp-renumber", "800")
    lab.order("reboot")
    until(lambda: lab.answers("10.42.0.101"))
    assert not lab.answers("10.42.0.100")


def test_what_does_something_to_machines_needs_a_lab_that_runs(lab: RunningLab) -> None:
    assert lab("stop").returncode == 0
    refused = lab("fault", "set", "vm-kill", "800")
    assert refused.stderr == "lab: vm-kill does something to a site that runs: start the lab first\n"
