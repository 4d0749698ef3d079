"""`make demo`: the whole way from nothing to a cluster, with the commands that a person would type.

Owns the order of the steps and what is printed between them. Every step is a command that README shows; nothing here
knows a secret step.
"""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
import time
from collections.abc import Sequence

from lab.directory import REPOSITORY, LabDirectory, write_text
from lab.lifecycle import page, running

CLUSTER = "homelab"


def main() -> int:
    """Run the demonstration; returns the exit code of the first step that failed, or 0."""
    directory = LabDirectory.find()
    began = time.monotonic()
    try:
        if running(directory) is None:
            _show("python -m lab start", [sys.executable, "-m", "lab", "start"])
        print(f"\nWatch what follows in a browser, while it runs: {page(directory)}", flush=True)
        if not _has_stack():
            _inside("pulumi", "stack", "init", CLUSTER)
        _inside("pulumi", "up", "--yes", "-s", CLUSTER)
        _inside("pulumi", "stack", "output", "-s", CLUSTER)
        talosconfig = _save_output(directory, "talosconfig")
        kubeconfig = _save_output(directory, "kubeconfig")
        control_planes = json.loads(_answer("pulumi", "stack", "output", "control_plane_ips", "--json", "-s", CLUSTER))
        # A control plane that joins cannot answer for etcd until the others have made it a voter.
        healthy = ("health", "--wait-timeout", "5m")
        _inside("talosctl", "--talosconfig", talosconfig, "--nodes", control_planes[0], *healthy)
        for node in control_planes:
            talosctl = ("talosctl", "--talosconfig", talosconfig, "--nodes", node)
            for question in ("version --short", "services", "etcd members", "get members"):
                _inside(*talosctl, *question.split())
        for node in json.loads(_answer("pulumi", "stack", "output", "worker_ips", "--json", "-s", CLUSTER)):
            talosctl = ("talosctl", "--talosconfig", talosconfig, "--nodes", node)
            for question in ("version --short", "services"):
                _inside(*talosctl, *question.split())
        _inside("kubectl", "--kubeconfig", kubeconfig, "get", "nodes", "-o", "wide")
        _inside("kubectl", "--kubeconfig", kubeconfig, "get", "pods", "-A")
    except subprocess.CalledProcessError as error:
        print(f"\nThe step above ended with exit code {error.returncode}.", file=sys.stderr)
        return error.returncode
    print(f"\nDone in {time.monotonic() - began:.0f} s. The lab stays up; try, with `.venv/bin/python -m lab exec --`:")
    print(f"  talosctl --talosconfig {talosconfig} dmesg")
    print(f"  pulumi up -s {CLUSTER}        after changing controlPlane.count to 3 in clusters/{CLUSTER}/cluster.yaml")
    print(f"  kubectl --kubeconfig {kubeconfig} create deployment web --image=nginx --replicas=3")
    print(f"Its page stays as well: {page(directory)}")
    print("`make lab-stop` ends the lab.")
    return 0


def _inside(*command: str) -> None:
    _show(shlex.join(command), _in_lab(command))


def _show(shown: str, command: Sequence[str]) -> None:
    print(f"\n\x1b[1m$ {shown}\x1b[0m" if sys.stdout.isatty() else f"\n$ {shown}", flush=True)
    began = time.monotonic()
    subprocess.run(command, cwd=REPOSITORY, check=True)
    took = time.monotonic() - began
    if took > 2:
        print(f"({took:.0f} s)", flush=True)


def _answer(*command: str) -> str:
    return subprocess.run(_in_lab(command), cwd=REPOSITORY, check=True, capture_output=True, text=True).stdout


def _in_lab(command: Sequence[str]) -> list[str]:
    return [sys.executable, "-m", "lab", "exec", "--", *command]


def _has_stack() -> bool:
    stacks = json.loads(_answer("pulumi", "stack", "ls", "--json"))
    return any(stack["name"] == CLUSTER for stack in stacks)


def _save_output(directory: LabDirectory, name: str) -> str:
    path = directory.root / f"{CLUSTER}.{name}"
    write_text(path, _answer("pulumi", "stack", "output", name, "--show-secrets", "-s", CLUSTER), mode=0o600)
    return os.path.relpath(path, REPOSITORY)


if __name__ == "__main__":
    sys.exit(main())
