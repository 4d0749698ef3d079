"""A lab's life in its namespaces, with a fake node: start, commands inside, power cuts, and nothing left behind."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from lab import namespace
from lab.control import Client
from lab.directory import read_json
from tests.lab.running import CALL, QEMU, REPOSITORY, SECONDS, RunningLab, fake_node, labs, left_of, until

pytestmark = pytest.mark.engine


@pytest.fixture(scope="module")
def node() -> Iterator[Path]:
    with fake_node() as program:
        yield program


@pytest.fixture
def make_lab(node: Path) -> Iterator[Callable[[], RunningLab]]:
    with labs(node) as make:
        yield make


@pytest.fixture
def lab(make_lab: Callable[[], RunningLab]) -> RunningLab:
    """A running lab in which nothing takes longer than it must."""
    made = make_lab()
    Client(made.directory).set_fault("delay", "task", seconds=0)
    started = made("start")
    assert started.returncode == 0, started.stderr
    return made


@pytest.fixture
def machine(lab: RunningLab) -> RunningLab:
    """The same, with VM 800 up and known by its address."""
    lab.start_machine(name="homelab-cp1")
    until(lambda: lab.answers("10.42.0.100"))
    return lab


def test_a_second_start_is_refused_and_says_since_when(lab: RunningLab) -> None:
    again = lab("start")
    assert again.returncode == 1
    assert again.stderr.startswith(f"lab: the lab in {lab.directory.root} is running since 20")
    assert again.stderr.rstrip().endswith(f"pid {lab.pid}")


def test_a_command_inside_keeps_folder_input_environment_and_exit_code(lab: RunningLab, tmp_path: Path) -> None:
    environment = {
        **os.environ,
        "LAB_DIRECTORY": str(lab.directory.root),
        "COLOUR": "red",
        "PYTHONPATH": str(REPOSITORY),
    }
    done = lab(
        "exec", "--", "sh", "-c", "pwd; cat; echo $COLOUR; exit 7", cwd=tmp_path, env=environment, input="words\n"
    )
    assert (done.returncode, done.stdout) == (7, f"{tmp_path}\nwords\nred\n")


def test_a_command_inside_has_the_site_s_names_and_nothing_of_the_host(lab: RunningLab) -> None:
    assert "10.42.0.2" in lab.inside("getent", "hosts", "px.wd.ktz.me")
    assert namespace.namespace_of(lab.pid, "net") != namespace.namespace_of("self", "net")
    interfaces = lab.inside("sh", "-c", "cd /proc/self/net && cut -d: -f1 dev | tail -n +3").split()
    assert interfaces == ["lo", "vmbr0", "vmbr0v20", "vmbr1", "vmbr1v30"]
    environment = dict(line.split("=", 1) for line in lab.inside("env").splitlines() if "=" in line)
    assert environment["SSL_CERT_FILE"] == str(lab.directory.ca)
    assert not Path(environment["SSL_CERT_DIR"]).exists()
    assert environment["PULUMI_BACKEND_URL"] == f"file://{lab.directory.pulumi_state}"
    assert environment["PROXMOX_VE_API_TOKEN"].startswith("pulumi@pve!cluster-stack=")


def test_a_machine_trusts_the_site_s_authority_and_nothing_of_the_host(machine: RunningLab) -> None:
    pid = machine.process(800)
    words = Path(f"/proc/{pid}/environ").read_bytes().decode().split("\0")
    environment = dict(word.split("=", 1) for word in words if word)
    assert environment["SSL_CERT_FILE"] == str(machine.directory.ca)
    assert not Path(environment["SSL_CERT_DIR"]).exists()


def test_a_command_that_is_not_there_is_one_sentence(lab: RunningLab) -> None:
    done = lab("exec", "--", "no-such-command")
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == "lab: cannot run no-such-command: No such file or directory"
    assert "Traceback" not in done.stderr


def test_with_the_lab_stopped_a_command_runs_where_nobody_answers(make_lab: Callable[[], RunningLab]) -> None:
    lab = make_lab()
    probe = "import socket; socket.create_connection(('px.wd.ktz.me', 443), 5)"
    done = lab("exec", "--", sys.executable, "-c", probe)
    assert done.returncode == 1
    said = "lab: it is stopped; the command runs in an empty network where nobody answers"
    assert said in done.stderr.splitlines()
    assert "Network is unreachable" in done.stderr or "Connection refused" in done.stderr
    assert lab("status").returncode == 3


def test_stop_leaves_nothing_and_ends_what_still_runs_inside(machine: RunningLab) -> None:
    sleeper = machine.open("sleep", "1000")
    with namespace.kept(machine.pid, "net") as net, namespace.kept(machine.process(800) or 0, "net") as inner:
        until(lambda: sleeper.pid in dict(namespace.members("net", net)))
        done = machine("stop")
        assert f"lab: ended sleep (pid {sleeper.pid}), which still ran inside" in done.stdout
        assert sleeper.wait(SECONDS) == -signal.SIGTERM
        assert list(namespace.members("net", net)) == list(namespace.members("net", inner)) == []
    assert left_of(machine.directory.root) == []
    assert machine("status").returncode == 3
    assert machine("stop").returncode == 0


def test_what_ran_runs_again_after_the_power_cut(machine: RunningLab) -> None:
    assert machine("stop").returncode == 0
    started = machine("start")
    assert "powered on again: homelab-cp1" in started.stdout
    until(lambda: machine.answers("10.42.0.100"))
    assert machine.console().count("boot 800") == 2


def test_the_daemon_s_death_takes_every_machine_along(machine: RunningLab) -> None:
    with namespace.kept(machine.pid, "pid") as init:
        os.kill(machine.pid, signal.SIGKILL)
        until(lambda: not list(namespace.members("pid", init)))
    assert left_of(machine.directory.root) == []
    assert machine("start").returncode == 0
    until(lambda: machine.answers("10.42.0.100"))
    assert machine.power() == "running"


def test_two_labs_do_not_know_each_other(machine: RunningLab, make_lab: Callable[[], RunningLab]) -> None:
    other = make_lab()
    assert other("start").returncode == 0
    assert [vm["vmid"] for vm in other.call("GET", "/cluster/resources?type=vm")] == [100]
    assert other("stop").returncode == 0
    assert [vm["vmid"] for vm in machine.call("GET", "/cluster/resources?type=vm")] == [100, 800]


def test_a_folder_is_erased_only_when_its_lab_is_stopped(lab: RunningLab) -> None:
    refused = lab("erase")
    assert (refused.returncode, refused.stderr) == (
        1,
        f"lab: the lab in {lab.directory.root} is running: stop it first\n",
    )
    lab("stop")
    assert lab("erase").returncode == 0
    assert not lab.directory.root.exists()


def test_the_agent_tells_the_address_that_dhcp_gave(machine: RunningLab) -> None:
    interfaces = machine.call("GET", f"{QEMU}/800/agent/network-get-interfaces")["result"]
    assert [nic["name"] for nic in interfaces] == ["lo", "eth0"]
    assert interfaces[1]["ip-addresses"][0]["ip-address"] == "10.42.0.100"


def test_a_guest_that_reboots_keeps_its_power_and_its_hardware(machine: RunningLab) -> None:
    machine.call("PUT", f"{QEMU}/800/config", memory=4096)
    machine.order("reboot")
    until(lambda: machine.console().count("boot 800") == 2)
    assert machine.power() == "running"
    assert read_json(machine.directory.vms / "800" / "machine.json")["memoryMiB"] == 512
    machine.task("POST", f"{QEMU}/800/status/reboot")
    assert read_json(machine.directory.vms / "800" / "machine.json")["memoryMiB"] == 4096


def test_a_guest_that_powers_off_or_crashes_stops(machine: RunningLab) -> None:
    machine.order("poweroff")
    until(lambda: machine.power() == "stopped")
    machine.task("POST", f"{QEMU}/800/status/start")
    machine.order("crash")
    until(lambda: machine.power() == "stopped")
    assert "the machine crashed (exit code 3)" in machine.directory.log.read_text()


def test_the_reset_button_starts_the_machine_over(machine: RunningLab) -> None:
    machine.task("POST", f"{QEMU}/800/status/reset")
    until(lambda: machine.console().count("boot 800") == 2)
    assert machine.power() == "running"


def test_a_power_cut_takes_all_that_is_in_a_machine(machine: RunningLab) -> None:
    with namespace.kept(machine.process(800) or 0, "net") as net:
        machine.order("orphan")
        until(lambda: "sleep" in dict(namespace.members("net", net)).values())
        machine.task("POST", f"{QEMU}/800/status/stop")
        assert not machine.answers("10.42.0.100")
        assert list(namespace.members("net", net)) == []


def test_a_machine_that_is_off_is_unplugged_whoever_looks_into_its_network(machine: RunningLab) -> None:
    visitor = machine.in_machine(800, "sleep", "1000")
    net = namespace.namespace_of(machine.process(800) or 0, "net")
    until(lambda: namespace.namespace_of(visitor.pid, "net") == net)
    assert "tap800i0" in machine.inside("ip", "-brief", "link")
    machine.task("POST", f"{QEMU}/800/status/stop")
    assert "tap800i0" not in machine.inside("ip", "-brief", "link")
    visitor.kill()
    visitor.communicate()


def test_who_has_lost_its_parent_is_not_left_a_zombie(machine: RunningLab) -> None:
    for _ in range(3):
        machine.order("short-lived-orphan")
        until(lambda: not (machine.directory.vms / "800" / "run" / "short-lived-orphan").exists())
    until(lambda: zombies(machine.pid) == [])


def zombies(parent: int) -> list[str]:
    """The children of a process that have ended and that it has not looked at, and those that are about to."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            name, _, rest = path.read_text().rpartition(") ")
            if rest.split()[1] == str(parent) and (rest.startswith("Z") or name.endswith("(sleep")):
                found.append(name)
    return found


def test_shutdown_goes_through_the_agent(machine: RunningLab) -> None:
    machine.order("deaf")  # to the power button
    machine.task("POST", f"{QEMU}/800/status/shutdown", timeout=20)
    assert machine.power() == "stopped"


def test_a_late_dhcp_gives_the_waiting_machine_its_address(lab: RunningLab) -> None:
    control = Client(lab.directory)
    control.set_fault("dhcp-silent")
    lab.task(
        "POST",
        QEMU,
        vmid=800,
        net0="virtio,bridge=vmbr0",
        ide2="c137-isos:iso/talos-1.11.5-qemuguest-metal-amd64.iso,media=cdrom",
    )
    lab.task("POST", f"{QEMU}/800/status/start")
    assert not lab.answers("10.42.0.100")
    control.clear_faults("dhcp-silent-1")
    until(lambda: lab.answers("10.42.0.100"))


def test_an_unreachable_proxmox_refuses_connections_until_it_is_back(lab: RunningLab) -> None:
    control = Client(lab.directory)
    control.set_fault("api-unreachable")
    done = lab("exec", "--", sys.executable, "-c", CALL, "GET", "/version", "{}")
    assert "Connection refused" in done.stderr
    control.clear_faults("api-unreachable-1")
    assert lab.call("GET", "/version")["release"] == "9.2"
    assert control.status()["guests"][0]["name"] == "pfsense"


def test_proxmox_fetches_an_image_of_a_posted_schematic(lab: RunningLab, tmp_path: Path) -> None:
    schematic = tmp_path / "schematic.yaml"
    schematic.write_text("customization: {systemExtensions: {officialExtensions: [siderolabs/zfs]}}")
    posted = lab("schematic", str(schematic))
    assert posted.returncode == 0, posted.stderr
    url = f"https://factory.talos.dev/image/{posted.stdout.strip()}/v1.13.0/nocloud-amd64.qcow2"
    offered = lab.call("GET", f"/nodes/ms01/query-url-metadata?url={url}")
    assert offered["filename"] == "nocloud-amd64.qcow2"
    lab.task("POST", "/nodes/ms01/storage/local/download-url", content="import", filename="talos.qcow2", url=url)
    (stored,) = lab.call("GET", "/nodes/ms01/storage/local/content")
    assert (stored["volid"], stored["size"]) == ("local:import/talos.qcow2", offered["size"])
    elsewhere = lab.call("GET", "/nodes/ms01/query-url-metadata?url=https://example.org/x")
    assert elsewhere is None
    schematic.write_text("colour: red")
    refused = lab("schematic", str(schematic))
    assert (refused.returncode, refused.stderr) == (
        1,
        "lab: yaml: field colour not found in type schematic.Schematic\n",
    )


UNPRIVILEGED = """
import os, sys
from pathlib import Path
from tests.lab.running import RunningLab, until
lab = RunningLab(Path(sys.argv[1]), Path(sys.argv[2]))
started = lab("start")
assert started.returncode == 0, started.stderr
lab.start_machine()
until(lambda: lab.answers("10.42.0.100"))
print(os.geteuid(), lab.inside("id", "-u").strip(), lab("stop").returncode)
"""


def test_anyone_may_run_a_lab_in_a_user_namespace(make_lab: Callable[[], RunningLab], node: Path) -> None:
    """Within a user namespace whose only user is not root: how a test that runs as root gets there."""
    lab = make_lab()
    Client(lab.directory).set_fault("delay", "task", seconds=0)
    user = ["unshare", "--user", "--map-user=1000", "--map-group=1000"]
    command = [*user, sys.executable, "-c", UNPRIVILEGED, str(lab.directory.root), str(node)]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, timeout=4 * SECONDS, check=False)
    assert (done.returncode, done.stdout) == (0, "1000 0 0\n"), done.stderr
