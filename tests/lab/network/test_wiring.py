"""The networks of machines, and what goes wrong with them: real packets between fake machines of one lab.

The tests build on each other's machines; each takes back what it breaks.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from lab import namespace
from lab.control import Client
from tests.lab.running import RunningLab, fake_node, labs, until

pytestmark = pytest.mark.engine

# On ms01 and ms02 in one network, in another VLAN of it, and in one that the site knows nothing of.
FIRST, SECOND, OTHER_VLAN, NOWHERE = 800, 801, 802, 803
ADDRESSES = {FIRST: "10.42.0.100", SECOND: "10.42.0.101", OTHER_VLAN: "10.42.20.100"}
LISTEN = """
import socket, sys
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as listener:
    listener.bind((sys.argv[1], 4000))
    listener.settimeout(float(sys.argv[2]))
    print("listening", flush=True)
    try:
        print("heard" if listener.recv(100) else "nothing")
    except TimeoutError:
        print("nothing")
"""
SPEAK = """
import contextlib, socket, sys
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as speaker, contextlib.suppress(OSError):
    speaker.sendto(b"words", (sys.argv[1], 4000))
"""
RECEIVE = """
import socket, sys, time
with socket.create_server((sys.argv[1], 4001)) as server:
    print("listening", flush=True)
    connection, _ = server.accept()
    began, received = time.monotonic(), 0
    while data := connection.recv(1 << 16):
        received += len(data)
    print(received, time.monotonic() - began)
"""
SEND = """
import socket, sys
with socket.create_connection((sys.argv[1], 4001), 60) as connection:
    connection.sendall(bytes(int(sys.argv[2])))
"""
SILENCE = 1.0


@pytest.fixture(scope="module")
def lab() -> Iterator[RunningLab]:
    with fake_node() as node, labs(node) as make:
        made = make()
        Client(made.directory).set_fault("delay", "task", seconds=0)
        started = made("start")
        assert started.returncode == 0, started.stderr
        made.start_machine(FIRST, net0="virtio=BC:24:11:00:00:01,bridge=vmbr0,mtu=1400", net1="virtio,bridge=vmbr1")
        made.start_machine(SECOND, host="ms02")
        made.start_machine(OTHER_VLAN, net0="virtio,bridge=vmbr0,tag=20")
        made.start_machine(NOWHERE, net0="virtio,bridge=vmbr0,tag=99")
        for address in ADDRESSES.values():
            until(lambda address=address: made.answers(address))  # type: ignore[misc]
        yield made


@pytest.fixture(autouse=True)
def _nothing_stays_broken(lab: RunningLab) -> Iterator[None]:
    yield
    broken(lab)


def broken(lab: RunningLab, kind: str | None = None, target: int | str | None = None, **options: Any) -> None:
    """Let this be wrong with the networks, and nothing else."""
    client = Client(lab.directory)
    for fault in client.faults():
        if fault.kind != "delay":
            client.clear_faults(fault.id)
    if kind:
        client.set_fault(kind, target, **options)


def told(lab: RunningLab, vmid: int, *command: str) -> str:
    process = lab.in_machine(vmid, *command)
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 0
    return output


def links(lab: RunningLab, vmid: int) -> dict[str, dict[str, Any]]:
    return {link["ifname"]: link for link in json.loads(told(lab, vmid, "ip", "-json", "addr"))}


def hears(lab: RunningLab, source: int, target: int, seconds: float = 30) -> bool:
    """Whether a datagram of one machine reaches the other; asked again, as the first ones may be lost."""
    address = ADDRESSES[target]
    listener = lab.in_machine(target, sys.executable, "-c", LISTEN, address, str(seconds))
    assert listener.stdout
    assert listener.stdout.readline() == "listening\n"
    while True:
        speaker = lab.in_machine(source, sys.executable, "-c", SPEAK, address)
        speaker.communicate(timeout=60)
        if listener.poll() is not None:
            return listener.communicate()[0] == "heard\n"


def test_a_machine_is_alone_with_its_cards(lab: RunningLab) -> None:
    found = links(lab, FIRST)
    assert sorted(found) == ["eth0", "eth1", "lo"]
    assert (found["eth0"]["address"], found["eth0"]["mtu"], found["eth1"]["mtu"]) == ("bc:24:11:00:00:01", 1400, 9000)
    (address,) = [entry for entry in found["eth0"]["addr_info"] if entry["family"] == "inet"]
    assert (address["local"], address["prefixlen"]) == (ADDRESSES[FIRST], 24)
    assert [entry["local"] for entry in found["lo"]["addr_info"]] == ["127.0.0.1", "::1"]


def test_machines_meet_in_their_network(lab: RunningLab) -> None:
    assert hears(lab, FIRST, SECOND)
    assert hears(lab, SECOND, FIRST)


def test_a_vlan_is_another_network_behind_the_router(lab: RunningLab) -> None:
    # The fake machines have no routes: they reach what is in their own network, and nobody else.
    assert not hears(lab, FIRST, OTHER_VLAN, SILENCE)
    for vmid, gateway in ((FIRST, "10.42.0.1"), (OTHER_VLAN, "10.42.20.1")):
        told(lab, vmid, "ip", "route", "add", "default", "via", gateway)
    assert hears(lab, FIRST, OTHER_VLAN)
    assert hears(lab, OTHER_VLAN, SECOND)
    assert list(links(lab, NOWHERE)) == ["lo", "eth0"]
    assert "vmbr0v99" in lab.inside("ip", "-brief", "link"), "a VLAN that nobody knows is a network of its own"


def test_a_reboot_keeps_the_network_and_nothing_set_in_it(lab: RunningLab) -> None:
    before = namespace.namespace_of(lab.process(SECOND) or 0, "net")
    broken(lab, "dhcp-silent")
    lab.order("reboot", SECOND)
    until(lambda: lab.console(SECOND).count(f"boot {SECOND}") == 2)
    assert namespace.namespace_of(lab.process(SECOND) or 0, "net") == before
    card = links(lab, SECOND)["eth0"]
    assert (card["addr_info"], "UP" in card["flags"]) == ([], False)
    broken(lab)
    until(lambda: lab.answers(ADDRESSES[SECOND]))


def test_cards_that_were_hot_plugged_are_there_at_the_next_boot(lab: RunningLab) -> None:
    def configured(**options: str) -> dict[str, dict[str, Any]]:
        lab.call("PUT", f"/nodes/ms02/qemu/{SECOND}/config", **options)
        boots = lab.console(SECOND).count(f"boot {SECOND}")
        lab.order("reboot", SECOND)
        until(lambda: lab.console(SECOND).count(f"boot {SECOND}") == boots + 1)
        until(lambda: lab.answers(ADDRESSES[SECOND]))
        return links(lab, SECOND)

    broken(lab, "network-cut", SECOND, nic="eth1")
    found = configured(net1="virtio=BC:24:11:00:00:02,bridge=vmbr0")
    assert found["eth1"]["address"] == "bc:24:11:00:00:02"
    assert f"tap{SECOND}i1" not in lab.inside("ip", "link", "show", "master", "vmbr0"), "a fault holds for it too"
    assert configured(net1="virtio=BC:24:11:00:00:03,bridge=vmbr0")["eth1"]["address"] == "bc:24:11:00:00:03"
    assert sorted(configured(delete="net1")) == ["eth0", "lo"]


@pytest.mark.parametrize(
    "fault",
    [
        ("network-cut", SECOND, {}),
        ("network-cut", SECOND, {"nic": "eth0"}),
        ("host-network-cut", "ms02", {}),
    ],
    ids=["machine", "card", "host"],
)
def test_who_is_cut_off_reaches_nobody_and_sees_its_cable(
    lab: RunningLab, fault: tuple[str, int | str, dict[str, Any]]
) -> None:
    kind, target, options = fault
    broken(lab, kind, target, **options)
    assert not lab.answers(ADDRESSES[SECOND])
    assert not hears(lab, FIRST, SECOND, SILENCE)
    assert not hears(lab, SECOND, FIRST, SILENCE)
    assert "LOWER_UP" in links(lab, SECOND)["eth0"]["flags"]
    assert lab.answers(ADDRESSES[FIRST])
    broken(lab)
    assert hears(lab, FIRST, SECOND)


def test_a_machine_that_starts_is_cut_off_too_and_gets_no_lease(lab: RunningLab) -> None:
    broken(lab, "network-cut", SECOND)
    lab.task("POST", f"/nodes/ms02/qemu/{SECOND}/status/stop")
    lab.task("POST", f"/nodes/ms02/qemu/{SECOND}/status/start")
    until(lambda: lab.process(SECOND))
    assert not lab.answers(ADDRESSES[SECOND])
    assert links(lab, SECOND)["eth0"]["addr_info"] == []
    broken(lab)
    until(lambda: lab.answers(ADDRESSES[SECOND]))


def test_the_fault_of_a_host_follows_a_machine_that_moves(lab: RunningLab) -> None:
    broken(lab, "host-network-cut", "ms03")
    assert lab.answers(ADDRESSES[FIRST])
    lab.task("POST", f"/nodes/ms01/qemu/{FIRST}/migrate", target="ms03", online=1, **{"with-local-disks": 1})
    until(lambda: not lab.answers(ADDRESSES[FIRST]))
    lab.task("POST", f"/nodes/ms03/qemu/{FIRST}/migrate", target="ms01", online=1, **{"with-local-disks": 1})
    until(lambda: lab.answers(ADDRESSES[FIRST]))


def test_one_does_not_hear_the_other_and_is_heard(lab: RunningLab) -> None:
    broken(lab, "one-way-cut", FIRST, to=SECOND)
    assert not hears(lab, FIRST, SECOND, SILENCE)
    assert hears(lab, SECOND, FIRST)
    assert lab.answers(ADDRESSES[SECOND]), "everybody else is heard"
    broken(lab, "one-way-cut", SECOND, to=FIRST)
    assert hears(lab, FIRST, SECOND)
    assert not hears(lab, SECOND, FIRST, SILENCE)
    broken(lab)
    assert hears(lab, SECOND, FIRST)


def test_one_stays_unheard_with_another_address_and_after_a_restart_of_either(lab: RunningLab) -> None:
    broken(lab, "one-way-cut", FIRST, to=SECOND)
    told(lab, FIRST, "ip", "addr", "del", f"{ADDRESSES[FIRST]}/24", "dev", "eth0")
    told(lab, FIRST, "ip", "addr", "add", "10.42.0.177/24", "dev", "eth0")
    until(lambda: "10.42.0.177" in told(lab, SECOND, "ip", "rule"))
    assert not hears(lab, FIRST, SECOND, SILENCE)
    assert ADDRESSES[FIRST] not in told(lab, SECOND, "ip", "rule"), "whoever has it now is heard"
    for vmid, host in ((FIRST, "ms01"), (SECOND, "ms02")):
        lab.task("POST", f"/nodes/{host}/qemu/{vmid}/status/stop")
        lab.task("POST", f"/nodes/{host}/qemu/{vmid}/status/start")
        until(lambda vmid=vmid: lab.answers(ADDRESSES[vmid]))  # type: ignore[misc]
        until(lambda: ADDRESSES[FIRST] in told(lab, SECOND, "ip", "rule"))
        assert not hears(lab, FIRST, SECOND, SILENCE)
        assert hears(lab, SECOND, FIRST)


def test_a_slow_card_takes_its_time(lab: RunningLab) -> None:
    amount, rate = 64 << 10, 256
    broken(lab, "network-slow", SECOND, kbit=rate)
    for source, target in ((FIRST, SECOND), (SECOND, FIRST)):
        receiver = lab.in_machine(target, sys.executable, "-c", RECEIVE, ADDRESSES[target])
        assert receiver.stdout
        assert receiver.stdout.readline() == "listening\n"
        told(lab, source, sys.executable, "-c", SEND, ADDRESSES[target], str(amount))
        received, seconds = receiver.communicate(timeout=60)[0].split()
        assert int(received) == amount
        # A card that is not slow needs a thousandth of that.
        assert float(seconds) > 0.5 * amount * 8 / (rate * 1000)
    assert "tbf" in told(lab, SECOND, "tc", "qdisc", "show", "dev", "eth0")
    broken(lab)
    assert "tbf" not in told(lab, SECOND, "tc", "qdisc", "show", "dev", "eth0")


def test_faults_hold_when_the_lab_starts_again(lab: RunningLab) -> None:
    broken(lab, "network-cut", SECOND)
    Client(lab.directory).set_fault("one-way-cut", FIRST, to=OTHER_VLAN)
    assert lab("stop").returncode == 0
    assert lab("start").returncode == 0
    until(lambda: lab.answers(ADDRESSES[FIRST]))
    until(lambda: ADDRESSES[FIRST] in told(lab, OTHER_VLAN, "ip", "rule"))
    assert not lab.answers(ADDRESSES[SECOND])
    broken(lab)
    until(lambda: lab.answers(ADDRESSES[SECOND]))
