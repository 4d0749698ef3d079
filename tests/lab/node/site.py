"""A place to run simulated machines in: a network of its own with names, an authority and a registry.

Owns the namespace, the stand-in for the Image Factory (it has every installer image but those of one version), the
discovery service and the processes of the machines. It is not the lab: no hypervisor, no DHCP, no Proxmox, so that the
machines can be tested alone.
"""

from __future__ import annotations

import contextlib
import datetime
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from lab.namespace import namespace_of

REPOSITORY = Path(__file__).parents[3]
FACTORY, DISCOVERY = "10.5.255.1", "10.5.255.2"
GATEWAYS = ("10.5.0.1/16", "10.6.0.1/16", "fd05::1/64")
LARGEST_MTU = 9000
NAMES = {FACTORY: ("factory.talos.dev", "ghcr.io"), DISCOVERY: ("discovery.talos.dev",)}
REBOOT = 64


@dataclass
class Machine:
    """One virtual machine: its folder and, while it runs, its process. A guest's reboot starts the process again."""

    site: Site
    name: str
    folder: Path
    hardware: dict[str, Any]
    process: subprocess.Popen[bytes] | None = None
    exits: list[int] = field(default_factory=list)

    @property
    def disk(self) -> Path:
        return Path(self.hardware["disks"][0]["path"])

    @property
    def console(self) -> str:
        return (self.folder / "console.log").read_text()

    def start(self) -> None:
        """Start it in a network of its own, into which its cards are put before it runs."""
        (self.folder / "machine.json").write_text(json.dumps(self.hardware))
        script = 'ip link set lo up && read plugged_in && exec "$0" "$@" < /dev/null'
        command = ["unshare", "--net", "sh", "-c", script, str(self.site.binary), "machine", str(self.folder)]
        with (self.folder / "console.log").open("ab") as console:
            self.process = self.site.spawn(command, console, stdin=subprocess.PIPE)
        self.site.plug_in(self.process.pid, f"tap{self.hardware['vmid']}i", self.hardware["nics"])
        assert self.process.stdin
        self.process.stdin.write(b"plugged in\n")
        self.process.stdin.close()

    def kill(self) -> None:
        """A power cut."""
        assert self.process
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        self.process = None

    def tick(self) -> None:
        """What the hypervisor does: notice the end of the process, and start it again after a reboot."""
        if self.process is None or (code := self.process.poll()) is None:
            return
        self.exits.append(code)
        self.process = None
        if code == REBOOT:
            self.start()

    def child(self, name: str) -> int | None:
        """The process of that name which the machine has started."""
        assert self.process
        for path in Path("/proc").glob("[0-9]*/stat"):
            with contextlib.suppress(OSError):
                before, _, after = path.read_text().rpartition(") ")
                if before.endswith(f"({name}") and int(after.split()[1]) == self.process.pid:
                    return int(path.parent.name)
        return None

    def memory(self) -> float:
        """Resident memory in MB."""
        assert self.process
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(next(line.split()[1] for line in status.splitlines() if line.startswith("VmRSS:"))) / 1000


class Site:
    """The network and what lives in it."""

    def __init__(self, folder: Path, binary: Path, talosctl: Path) -> None:
        self.folder, self.binary, self.talosctl_binary = folder, binary, talosctl
        self.machines: list[Machine] = []
        self.processes: list[subprocess.Popen[bytes]] = []
        programs = f"{REPOSITORY / '.toolchain' / 'bin'}:{os.environ['PATH']}"
        trust = {"SSL_CERT_FILE": str(folder / "ca.crt"), "SSL_CERT_DIR": str(folder / "no-certificates")}
        own = {**trust, "HOME": str(folder), "PATH": programs}
        self.environment = {**os.environ, **own}
        self.environment.pop("TALOSCONFIG", None)
        write_authority(folder)
        hosts = folder / "hosts"
        entries = [f"{address} {' '.join(names)}\n" for address, names in NAMES.items()]
        hosts.write_text("".join(["127.0.0.1 localhost\n", *entries]))
        resolver = folder / "resolv.conf"
        resolver.write_text("nameserver 127.0.0.1\noptions timeout:1 attempts:1\n")  # nobody: names are in hosts
        user = [] if os.geteuid() == 0 else ["--user", "--map-root-user"]
        addresses = [f"{address}/16" for address in NAMES]
        steps = [
            "ip link set lo up",
            # With an address of its own: machines remember it while other cables come and go.
            f"ip link add site address 02:00:00:00:00:01 mtu {LARGEST_MTU} type bridge forward_delay 0",
            *(f"ip addr add {address} dev site" for address in [*GATEWAYS, *addresses]),
            "ip link set site up",
            f"mount --bind {hosts} /etc/hosts",
            f"mount --bind {resolver} {os.path.realpath('/etc/resolv.conf')}",
            "echo ready",
            "cat",
        ]
        script = " && ".join(steps)
        self.keeper = subprocess.Popen(
            ["unshare", *user, "--net", "--mount", "sh", "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        assert self.keeper.stdout
        assert self.keeper.stdout.readline() == b"ready\n"
        self.enter = ["nsenter", f"--target={self.keeper.pid}", "--net", "--mount"]
        if user:
            self.enter += ["--user", "--preserve-credentials"]
        certificate, key = str(folder / "server.crt"), str(folder / "server.key")
        with (folder / "servers.log").open("ab") as log:
            self.spawn([sys.executable, str(Path(__file__).with_name("factory.py")), FACTORY, certificate, key], log)
        self.discovery: subprocess.Popen[bytes] | None = None
        self.start_discovery()

    def start_discovery(self) -> None:
        arguments = ["--listen", f"{DISCOVERY}:443", "--cert", str(self.folder / "server.crt")]
        with (self.folder / "servers.log").open("ab") as log:
            self.discovery = self.spawn(
                [str(self.binary), "discovery", *arguments, "--key", str(self.folder / "server.key")], log
            )

    def spawn(self, command: list[str], output: Any, stdin: int = subprocess.DEVNULL) -> subprocess.Popen[bytes]:
        """Start a command inside, in a process group of its own."""
        process = subprocess.Popen(
            [*self.enter, *command], env=self.environment, stdin=stdin, stdout=output, stderr=output,
            start_new_session=True,
        )  # fmt: skip
        self.processes.append(process)
        return process

    def plug_in(self, pid: int, ports: str, nics: list[dict[str, Any]]) -> None:
        """Put cards into the network of a process, once it has one of its own, and their cables into the bridge."""
        others = {namespace_of(other, "net") for other in (self.keeper.pid, "self")}
        self.wait("a network", lambda: namespace_of(pid, "net") not in others)
        steps = []
        for number, nic in enumerate(nics):
            card = f"name {nic['name']} address {nic['mac']} mtu {nic.get('mtu', 1500)} netns {pid}"
            # The kernel takes its time with the network of the boot before.
            steps.append(f"ip link del {ports}{number} 2> /dev/null || true")
            steps.append(f"ip link add {ports}{number} mtu {LARGEST_MTU} type veth peer {card}")
            steps.append(f"ip link set {ports}{number} master site up")
        done = subprocess.run([*self.enter, "sh", "-ec", "\n".join(steps)], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr

    def run(self, *command: str, timeout: float = 60) -> subprocess.CompletedProcess[str]:
        """Run a command inside, to its end, and be the hypervisor meanwhile."""
        process = subprocess.Popen(
            [*self.enter, *command], env=self.environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        deadline = time.monotonic() + timeout
        while True:
            try:
                output, errors = process.communicate(timeout=0.1)
                return subprocess.CompletedProcess(command, process.returncode, output, errors)
            except subprocess.TimeoutExpired:
                self.tick()
                if time.monotonic() > deadline:
                    process.kill()
                    output, errors = process.communicate()
                    # talosctl prints the keys of the authorities that it makes
                    shown = re.sub(r"\bkey: \S+", "key: ***", f"{output}\n{errors}")
                    raise AssertionError(f"{command} takes more than {timeout} s:\n{shown}") from None

    def tick(self) -> None:
        for machine in self.machines:
            machine.tick()

    def machine(self, name: str, address: str, **changes: Any) -> Machine:
        folder = self.folder / name
        disk = folder / "disks" / "scsi0"
        disk.mkdir(parents=True)
        (folder / "run").mkdir()
        number = len(self.machines) + 1
        hardware: dict[str, Any] = {
            "vmid": 800 + number,
            "uuid": f"00000000-0000-4000-8000-{number:012}",
            "hypervisor": "ms01",
            "cores": 2,
            "memoryMiB": 4096,
            "disks": [{"device": "/dev/sda", "path": str(disk), "sizeBytes": 20 << 30, "transport": "virtio-scsi"}],
            "cdrom": {"device": "/dev/sr0", "image": image("v1.13.0", "metal")},
            "bootOrder": ["/dev/sda", "/dev/sr0"],
            "nics": [
                {
                    "name": "eth0",
                    "mac": f"BC:24:11:00:00:{number:02X}",
                    "bridge": "vmbr0",
                    "dhcp": {
                        "address": f"{address}/16",
                        "gateway": "10.5.0.1",
                        "nameservers": ["10.5.0.1"],
                        "leaseSeconds": 3600,
                    },
                }
            ],
            "cidata": None,
            "agentChannel": True,
            "delays": {"bootSeconds": 0.05, "installSeconds": 0.1, "serviceSeconds": 0.05},
        }
        machine = Machine(self, name, folder, {**hardware, **changes})
        self.machines.append(machine)
        return machine

    def wait(self, what: str, ready: Callable[[], bool], timeout: float = 60) -> None:
        deadline = time.monotonic() + timeout
        while not ready():
            self.tick()
            if time.monotonic() > deadline:
                consoles = "\n".join(f"== {m.name}\n{m.console[-3000:]}" for m in self.machines)
                raise AssertionError(f"{what}: not within {timeout} s\n{consoles}")
            time.sleep(0.1)

    def talosctl(self, *arguments: str, timeout: float = 60) -> subprocess.CompletedProcess[str]:
        return self.run(str(self.talosctl_binary), *arguments, timeout=timeout)

    def close(self) -> None:
        for process in self.processes:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        assert self.keeper.stdin
        assert self.keeper.stdout
        self.keeper.stdin.close()
        self.keeper.stdout.close()
        self.keeper.wait()


def image(version: str, platform: str) -> dict[str, Any]:
    return {
        "version": version,
        "platform": platform,
        "arch": "amd64",
        "schematic": "ce4c980550dd2ab1b17bbf2b08801c7eb59418eafe8f279833297925d67c7515",
        "extensions": ["siderolabs/qemu-guest-agent"],
    }


def ask_agent(machine: Machine, *requests: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Ask the guest agent as the hypervisor does. A path may be too long for a socket's name."""
    answers = []
    folder = os.open(machine.folder / "run", os.O_PATH)
    with socket.socket(socket.AF_UNIX) as channel:
        channel.settimeout(5)
        channel.connect(f"/proc/self/fd/{folder}/agent.sock")
        os.close(folder)
        with channel.makefile("rw") as lines:
            for request in requests:
                lines.write(json.dumps(request) + "\n")
                lines.flush()
                answers.append(json.loads(lines.readline()))
    return answers


def write_authority(folder: Path) -> None:
    """An authority, and a server certificate for every name of the site."""
    now = datetime.datetime.now(datetime.timezone.utc)

    def certificate(name: str, key: ec.EllipticCurvePrivateKey, issuer: str) -> x509.CertificateBuilder:
        return (
            x509.CertificateBuilder()
            .subject_name(x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)]))
            .issuer_name(x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, issuer)]))
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(minutes=1))
            .not_valid_after(now + datetime.timedelta(days=1))
        )

    authority_key, key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    authority = certificate("site", authority_key, "site").add_extension(
        x509.BasicConstraints(True, None), critical=True
    )
    alternatives = [x509.DNSName(name) for names in NAMES.values() for name in names]
    server = certificate("server", key, "site").add_extension(x509.SubjectAlternativeName(alternatives), critical=False)
    pem = serialization.Encoding.PEM
    (folder / "ca.crt").write_bytes(authority.sign(authority_key, hashes.SHA256()).public_bytes(pem))
    (folder / "server.crt").write_bytes(server.sign(authority_key, hashes.SHA256()).public_bytes(pem))
    (folder / "server.key").write_bytes(
        key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )


def terminate(process: subprocess.Popen[bytes]) -> int:
    """The power button."""
    process.send_signal(signal.SIGTERM)
    return process.wait(timeout=20)


@contextlib.contextmanager
def running(folder: Path, binary: Path, talosctl: Path) -> Iterator[Site]:
    site = Site(folder, binary, talosctl)
    try:
        yield site
    finally:
        site.close()
