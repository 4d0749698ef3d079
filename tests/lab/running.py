"""A lab driven from outside, through its command line, with a fake node in place of the machines' program."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from lab.datacentre import DEFAULT_FILE
from lab.directory import LabDirectory, read_json, write_text

REPOSITORY = Path(__file__).resolve().parent.parent.parent
SECONDS = 30
QEMU = "/nodes/ms01/qemu"
CALL = """
import json, os, ssl, sys, urllib.error, urllib.parse, urllib.request
method, path, parameters = sys.argv[1], sys.argv[2], json.loads(sys.argv[3])
request = urllib.request.Request("https://px.wd.ktz.me/api2/json" + path, method=method)
request.add_header("Authorization", "PVEAPIToken=" + os.environ["PROXMOX_VE_API_TOKEN"])
body = urllib.parse.urlencode(parameters).encode() if method in ("POST", "PUT") else None
try:
    with urllib.request.urlopen(request, body, timeout=10) as answer:
        print(answer.read().decode())
except urllib.error.HTTPError as error:
    print(json.dumps({"data": None, "reason": error.reason}))
"""
ASK = """
import socket, sys
try:
    socket.create_connection((sys.argv[1], 9), 2)
except ConnectionRefusedError:
    print("refused")
except OSError:
    print("nobody")
"""
ENTER = """
import os, sys
from lab import namespace
namespace.join(int(sys.argv[1]))
os.execvp(sys.argv[2], sys.argv[2:])
"""


class RunningLab:
    """A lab driven through its command line, as a person drives it."""

    def __init__(self, root: Path, node: Path) -> None:
        self.directory = LabDirectory(root)
        site = DEFAULT_FILE.read_text().replace("\nkubernetes: true", "\nkubernetes: false")
        write_text(self.directory.datacentre, site)
        self._environment = {**os.environ, "LAB_DIRECTORY": str(root), "LAB_TALOS_NODE": str(node)}

    def __call__(self, *words: str, **options: Any) -> subprocess.CompletedProcess[str]:
        options = {"cwd": REPOSITORY, "env": self._environment, "timeout": SECONDS, "check": False, **options}
        return subprocess.run([sys.executable, "-m", "lab", *words], capture_output=True, text=True, **options)

    def inside(self, *command: str, **options: Any) -> str:
        done = self("exec", "--", *command, **options)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def open(self, *command: str) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            [sys.executable, "-m", "lab", "exec", "--", *command],
            cwd=REPOSITORY,
            env=self._environment,
        )

    def call(self, method: str, path: str, **parameters: object) -> Any:
        return json.loads(self.inside(sys.executable, "-c", CALL, method, path, json.dumps(parameters)))["data"]

    def task(self, method: str, path: str, **parameters: object) -> None:
        upid = self.call(method, path, **parameters)
        status: dict[str, Any] = {}

        def ended() -> bool:
            status.update(self.call("GET", f"/nodes/{upid.split(':')[1]}/tasks/{upid}/status"))
            return bool(status["status"] == "stopped")

        until(ended)
        assert status["exitstatus"] == "OK", status

    def start_machine(self, vmid: int = 800, host: str = "ms01", **options: object) -> None:
        """Make a VM that boots, with one card on vmbr0 unless told otherwise, and power it on."""
        usual = {
            "agent": "enabled=1",
            "net0": "virtio,bridge=vmbr0",
            "scsi0": "local:32",
            "ide2": "c137-isos:iso/talos-1.11.5-qemuguest-metal-amd64.iso,media=cdrom",
        }
        self.task("POST", f"/nodes/{host}/qemu", vmid=vmid, **{**usual, **options})
        self.task("POST", f"/nodes/{host}/qemu/{vmid}/status/start")

    @property
    def pid(self) -> int:
        return int(read_json(self.directory.daemon)["pid"])

    def order(self, what: str, vmid: int = 800) -> None:
        """Tell the fake node of a VM what to do."""
        (self.directory.vms / str(vmid) / "run" / what).touch()

    def console(self, vmid: int = 800) -> list[str]:
        return (self.directory.vms / str(vmid) / "console.log").read_text().splitlines()

    def power(self) -> str:
        return str(self.call("GET", f"{QEMU}/800/status/current")["status"])

    def answers(self, address: str) -> bool:
        """Whether a machine has the address: one refuses the connection, nobody is silent."""
        return self.inside(sys.executable, "-c", ASK, address) == "refused\n"

    def process(self, vmid: int) -> int | None:
        """The process of a machine, as the host knows it."""
        folder = str(self.directory.vms / str(vmid)).encode()
        for path in Path("/proc").glob("[0-9]*/cmdline"):
            with contextlib.suppress(OSError):
                if path.read_bytes().split(b"\0")[-2:-1] == [folder]:
                    return int(path.parent.name)
        return None

    def in_machine(self, vmid: int, *command: str) -> subprocess.Popen[str]:
        """Start a command in the network of a machine."""
        enter = [sys.executable, "-c", ENTER, str(self.process(vmid))]
        return subprocess.Popen(
            [*enter, *command], cwd=REPOSITORY, env=self._environment, stdout=subprocess.PIPE, text=True
        )


def until(condition: Callable[[], object]) -> None:
    end = time.monotonic() + SECONDS
    while not condition():
        assert time.monotonic() < end, "it did not come to be"
        time.sleep(0.05)


def left_of(root: Path) -> list[str]:
    """Processes and mounts that still name a lab's folder."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            try:
                command = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode()
            except OSError:
                continue
            if str(root) in command:
                found.append(command)
    return found + [line for line in Path("/proc/self/mountinfo").read_text().splitlines() if str(root) in line]


@contextlib.contextmanager
def fake_node() -> Iterator[Path]:
    """The program that stands in for a machine."""
    folder = Path(tempfile.mkdtemp(prefix="node-"))
    program = folder / "talos-node"
    fake = Path(__file__).with_name("fake_node.py")
    program.write_text(f'#!/bin/sh\nPYTHONPATH={REPOSITORY} exec {sys.executable} {fake} "$@"\n')
    program.chmod(0o755)
    yield program
    shutil.rmtree(folder)


@contextlib.contextmanager
def labs(node: Path) -> Iterator[Callable[[], RunningLab]]:
    """Makes labs, and ends them, of which nothing may be left."""
    roots: list[Path] = []  # short names: unix sockets live below them

    def make() -> RunningLab:
        roots.append(Path(tempfile.mkdtemp(prefix="lab-")))
        return RunningLab(roots[-1], node)

    yield make
    for root in roots:
        RunningLab(root, node)("stop")
        assert left_of(root) == []
        shutil.rmtree(root, ignore_errors=True)
