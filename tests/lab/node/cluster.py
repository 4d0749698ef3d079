"""One cluster of simulated machines: its configuration, and talosctl with its credentials."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import yaml

from tests.lab.node.site import Site

SCHEMATIC = "ce4c980550dd2ab1b17bbf2b08801c7eb59418eafe8f279833297925d67c7515"


class Cluster:
    """The configuration of one cluster, and talosctl with its credentials."""

    def __init__(self, site: Site, name: str, endpoint: str, contract: str = "v1.13") -> None:
        self.site, self.folder = site, site.folder / f"config-{name}"
        self.context, self.first = name, endpoint
        arguments = ["--talos-version", contract, "--with-docs=false", "--with-examples=false", "-o", str(self.folder)]
        made = site.talosctl("gen", "config", name, f"https://{endpoint}:6443", *arguments)
        assert made.returncode == 0, made.stderr
        self.talosconfig = self.folder / "talosconfig"

    def config(self, role: str, *patches: Any, version: str = "v1.13.0", platform: str = "metal") -> Path:
        install = {"image": f"factory.talos.dev/{platform}-installer/{SCHEMATIC}:{version}", "disk": "/dev/sda"}
        path = self.folder / f"{role}-{len(list(self.folder.iterdir()))}.yaml"
        arguments = []
        for patch in ({"machine": {"install": install}}, *patches):
            arguments += ["--patch", json.dumps(patch)]
        source = self.folder / f"{role}.yaml"
        made = self.site.talosctl("machineconfig", "patch", str(source), *arguments, "--output", str(path))
        assert made.returncode == 0, made.stderr
        return path

    def __call__(self, *arguments: str, endpoint: str = "", node: str = "", timeout: float = 60) -> str:
        result = self.attempt(*arguments, endpoint=endpoint, node=node, timeout=timeout)
        assert result.returncode == 0, f"{arguments}: {result.stdout}\n{result.stderr}"
        return result.stdout

    def attempt(
        self, *arguments: str, endpoint: str = "", node: str = "", timeout: float = 60
    ) -> subprocess.CompletedProcess[str]:
        endpoint = endpoint or node or self.first
        credentials = ["--talosconfig", str(self.talosconfig), "-e", endpoint, "-n", node or endpoint]
        return self.site.talosctl(*arguments, *credentials, timeout=timeout)

    def resources(self, kind: str, node: str, *more: str) -> list[dict[str, Any]]:
        text = self("get", kind, *more, "-o", "yaml", node=node)
        return [document for document in yaml.safe_load_all(text) if document]

    def stage(self, node: str) -> str:
        result = self.attempt("get", "machinestatus", "-o", "yaml", node=node, timeout=20)
        return str(yaml.safe_load(result.stdout)["spec"]["stage"]) if result.returncode == 0 else ""

    def runs(self, node: str) -> bool:
        return self.stage(node) == "running"


def named(name: str) -> dict[str, Any]:
    return {"apiVersion": "v1alpha1", "kind": "HostnameConfig", "auto": "off", "hostname": name}


def in_maintenance(site: Site, address: str) -> bool:
    return site.talosctl("get", "disks", "--insecure", "-n", address).returncode == 0


def apply_insecurely(site: Site, address: str, config: Path, *more: str) -> subprocess.CompletedProcess[str]:
    return site.talosctl("apply-config", "--insecure", "-n", address, "-f", str(config), *more)
