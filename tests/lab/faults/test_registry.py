"""The registry, and what follows from it: the page, the help, the refusals, the record of a fault."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from lab import datacentre
from lab.__main__ import main
from lab.control import Client
from lab.directory import REPOSITORY, LabDirectory
from lab.faults import page
from lab.faults.fault import Fault, Faults
from lab.faults.kinds import KINDS, TASK_TYPES, FaultError, Kind, Shape
from lab.faults.ledger import Ledger
from lab.faults.targets import Site

TESTS = Path(__file__).parents[1]
Lab = Callable[..., tuple[int, str, str]]


@pytest.fixture
def lab(directory: LabDirectory, capsys: pytest.CaptureFixture[str]) -> Lab:
    """The command line of a stopped lab: exit code, output, errors."""

    def run(*words: str) -> tuple[int, str, str]:
        code = main(["--directory", str(directory.root), "fault", *words])
        return code, *capsys.readouterr()

    return run


def test_the_page_is_that_of_the_registry() -> None:
    assert page.PAGE.read_text(encoding="utf-8") == page.text(), "run `python -m lab.faults.page`"


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_every_kind_is_whole_and_has_a_test(kind: Kind) -> None:
    assert all((kind.title, kind.effect, kind.plays))
    assert kind.target or not kind.needs_running_lab
    sources = [file.read_text() for file in TESTS.rglob("test_*.py") if file != Path(__file__)]
    assert any(f'"{kind.name}"' in source for source in sources), "no test sets it"


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_every_kind_has_help(kind: Kind, lab: Lab, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        lab("set", kind.name, "--help")
    text = capsys.readouterr().out
    assert kind.title in text
    assert all(f"--{option.name}" in text for option in kind.options)
    assert kind.name in lab("list")[1]


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ("set netwrk-cut 100", "there is no fault 'netwrk-cut' (did you mean network-cut?); `fault list` shows what there is"),
        ("set network-cut 800", "there is no VM '800'; there is 100 pfsense (for one that is still to come: --expected)"),
        ("set network-cut pfsens", "there is no VM 'pfsens' (did you mean pfsense?); there is 100 pfsense"),
        ("set one-way-cut 100 --to pfsens", "there is no VM 'pfsens' (did you mean pfsense?); there is 100 pfsense"),
        ("set host-network-cut ms9", "there is no host 'ms9' (did you mean ms03?); there is ms01, ms02, ms03"),
        ("set privilege-revoked VM.Alocate", "there is no privilege 'VM.Alocate' (did you mean VM.Allocate?)"),
        ("set storage-full cephfs", "there is no storage 'cephfs' (did you mean ceph?); there is c137-images, c137-isos, ceph, local, local-lvm"),
        ("set vmid-taken 100", "VM id 100 is taken already: pfsense has it"),
        ("set vmid-taken 7", "vmid-taken needs a VM id from 100 to 999999999, not '7'"),
        ("set delay lunch --seconds 3", "there is no step 'lunch'; there is boot, install, service, task"),
        ("set task-fails qmstrat", "there is no task type 'qmstrat' (did you mean qmstart?)"),
        ("set image-broken v1.31.0", "there is no Talos version or schematic 'v1.31.0' (did you mean v1.13.0?); there is v1.10.9, "),
        ("set delay task", "the following arguments are required: --seconds; see python -m lab fault set delay --help"),
        ("set delay task --seconds -1", "--seconds of delay is a number, at least 0, not '-1'"),
        ("set delay task --seconds nan", "--seconds of delay is a number, at least 0, not 'nan'"),
        ("set network-slow 100 --kbit 2", "--kbit of network-slow is a whole number, at least 8, not '2'"),
        ("set api-error --status 200", "--status of api-error is a whole number, at least 400 and at most 599, not '200'"),
        ("set api-drop --when never", "--when of api-drop is one of before, after, midway, not 'never'"),
        ("set api-error --at 0", "--at is a whole number, at least 1, not '0'"),
        ("set api-unreachable --times 2", "unrecognized arguments: --times 2; see python -m lab fault set api-unreachable --help"),
        ("set api-unreachable px", "unrecognized arguments: px; see python -m lab fault set api-unreachable --help"),
        ("set network-slow 100 --kbits 64", "unrecognized arguments: --kbits 64; see python -m lab fault set network-slow --help"),
        ("set vm-kill 100", "vm-kill does something to a site that runs: start the lab first"),
        ("set vm-kill 100 --times 2", "vm-kill happens now, once; --times needs --match or --at"),
        ("clear", ""),
        ("clear dhcp-silent-1", "there is no fault 'dhcp-silent-1' to clear; nothing is wrong"),
        ("clear dhcp-silent-1 --all", "either dhcp-silent-1 or --all, not both"),
        ("meteor", "argument command: invalid choice: 'meteor'"),
    ],
)  # fmt: skip
def test_what_makes_no_sense_is_refused_in_a_sentence(lab: Lab, words: str, sentence: str) -> None:
    code, output, errors = lab(*words.split())
    if not sentence:
        assert (code, output, errors) == (0, "lab: nothing was wrong\n", "")
        return
    assert (code, output) == (1, "")
    assert errors.startswith(f"lab: {sentence}")
    assert errors.count("\n") == 1


def test_a_match_that_matches_nothing_is_refused(lab: Lab) -> None:
    for match in ("foo", "PATCH:/nodes", "GET:nodes"):
        code, _, errors = lab("set", "api-error", "--match", match)
        assert (code, f"not '{match}'" in errors) == (1, True)


def test_a_fault_can_be_set_seen_and_cleared(lab: Lab, directory: LabDirectory) -> None:
    assert lab("set", "network-cut", "pfsense")[1] == "lab: network-cut-1: network-cut 100: holds\n"
    assert lab("set", "network-cut", "800", "--expected")[1] == "lab: network-cut-2: network-cut 800: holds\n"
    armed = lab("set", "api-error", "--status", "595", "--match", "POST:/nodes/*/qemu", "--at", "2")[1]
    assert armed == (
        "lab: api-error-1: api-error --status 595 --match POST:/nodes/*/qemu --at 2: waits for request 2, 0 seen\n"
    )
    assert "network-cut-2: network-cut 800: holds" in lab("list")[1]
    code, _, errors = lab("clear")
    assert (code, errors) == (1, "lab: which one? network-cut-1, network-cut-2, api-error-1; or --all\n")
    assert lab("clear", "network-cut-1")[1] == "lab: network-cut-1 is over\n"
    assert [fault.id for fault in Client(directory).faults()] == ["network-cut-2", "api-error-1"]
    assert lab("clear", "--all")[0] == 0
    assert Client(directory).faults() == Faults()


def test_what_is_said_anew_takes_the_place_of_what_was_said(directory: LabDirectory) -> None:
    client = Client(directory)
    assert client.set_fault("network-slow", 100, kbit=64).id == client.set_fault("network-slow", 100, kbit=128).id
    client.set_fault("network-slow", 100, nic="eth1")
    client.set_fault("api-error", at=1)
    client.set_fault("api-error", at=1)
    found = [(fault.id, fault.option("kbit") if fault.kind == "network-slow" else None) for fault in client.faults()]
    assert found == [("network-slow-1", 128), ("network-slow-2", 256), ("api-error-1", None), ("api-error-2", None)]
    limits = client.faults().network
    assert (limits.limit(100, "eth0"), limits.limit(100, "eth1")) == (128, 256)


def test_faults_become_those_of_the_network(directory: LabDirectory) -> None:
    client = Client(directory)
    client.set_fault("network-cut", 100)
    client.set_fault("network-cut", 800, nic="eth1", expected=True)
    client.set_fault("host-network-cut", "ms02")
    client.set_fault("one-way-cut", 100, to="800", expected=True)
    network = client.faults().network
    assert network.cut_machines == {100}
    assert network.cut_nics == {(800, "eth1")}
    assert network.cut_hosts == {"ms02"}
    assert network.one_way == {(100, 800)}


@pytest.mark.parametrize(
    ("match", "path", "matches"),
    [
        ("POST:/nodes/*/qemu", "/nodes/ms01/qemu", True),
        ("POST:/nodes/*/qemu", "/nodes/ms01/qemu/800/clone", False),
        ("POST:/nodes/**", "/nodes/ms01/qemu/800/clone", True),
        ("*:/nodes/ms0*/qemu", "/nodes/ms01/qemu", True),
        ("GET:/nodes/*/qemu", "/nodes/ms01/qemu", False),
        ("POST:/nodes/ms.1/qemu", "/nodes/ms01/qemu", False),
    ],
)
def test_a_match_is_method_and_path(match: str, path: str, matches: bool) -> None:
    assert Fault(kind="api-error", match=match).matches("POST", path) == matches


async def test_counts_are_kept_through_a_restart(directory: LabDirectory) -> None:
    ledger = Ledger(directory)
    await ledger.set(Fault(kind="api-error", at=3))
    assert [await ledger.request("GET", "/version") for _ in range(2)] == [None, None]
    again = Ledger(directory)
    struck = await again.request("GET", "/version")
    assert struck is not None
    assert await again.request("GET", "/version") is None


async def test_a_fault_that_cannot_come_true_is_not_kept(directory: LabDirectory) -> None:
    async def impossible(fault: Fault) -> None:
        raise FaultError(f"not {fault.kind}")

    ledger = Ledger(directory)
    ledger.begins = impossible
    with pytest.raises(FaultError, match="not vm-locked"):
        await ledger.set(Fault(kind="vm-locked", target="800"))
    assert list(ledger.faults) == []


def test_a_vm_of_an_ambiguous_name_is_asked_for(directory: LabDirectory) -> None:
    site = Site.read(directory, datacentre.load())
    kind = next(kind for kind in KINDS if kind.name == "network-cut")
    twice = Site({800: "twin", 801: "twin"}, site.known, site.token)
    assert kind.target
    with pytest.raises(FaultError, match="several VMs 'twin': 800, 801"):
        twice.resolve(kind, kind.target, "twin", expected=False)


def test_the_types_of_tasks_are_those_that_proxmox_starts() -> None:
    sources = "".join(file.read_text() for file in (REPOSITORY / "lab" / "proxmox").glob("*.py"))
    calls = re.findall(r"(?:spawn|_ask_manager)\([^\"]*\"([a-z]+)\"", sources)
    assert set(calls) == TASK_TYPES


def test_the_page_names_every_option() -> None:
    text = page.text()
    assert set(re.findall(r"^## (\S+)$", text, re.M)) == {kind.name for kind in KINDS}
    assert {shape.value in text for shape in Shape} == {True}
