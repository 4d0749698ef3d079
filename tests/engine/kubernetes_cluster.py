"""A cluster with Kubernetes as its administrator sees it, and the power buttons of its control planes.

It has the addresses of ``static_cluster``: three control planes that share one, and a worker.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from typing import Any

import yaml

from cluster_stack.automation import Outputs
from lab.directory import write_text
from tests.engine.site import Site

VIP = "10.42.0.50"
CONTROL_PLANES = ("10.42.0.51", "10.42.0.52", "10.42.0.53")
WORKER = "10.42.0.61"
PATIENCE = 300.0


class Cluster:
    """The cluster, as its administrator sees it."""

    def __init__(self, site: Site, outputs: Outputs) -> None:
        self.site, self.outputs = site, outputs
        self.kubeconfig = site.folder / "kubeconfig"
        write_text(self.kubeconfig, outputs.kubeconfig, mode=0o600)

    def kubectl(self, *words: str, check: bool = True) -> str:
        config = ["--kubeconfig", str(self.kubeconfig), "--request-timeout=10s"]
        done = self.site.run("kubectl", *config, *words, check=check)
        return done.stdout if check else done.stdout + done.stderr

    def get(self, *words: str) -> dict[str, Any]:
        answer: dict[str, Any] = json.loads(self.kubectl("get", *words, "-o", "json"))
        return answer

    def apply(self, manifest: str) -> None:
        file = self.site.folder / "manifest.yaml"
        file.write_text(manifest)
        self.kubectl("apply", "-f", str(file))

    def talosctl(self, *words: str, node: str = CONTROL_PLANES[0], check: bool = True) -> str:
        return self.site.talosctl(self.outputs, [node], *words, check=check)

    def resource(self, kind: str, node: str) -> list[dict[str, Any]]:
        return [found for found in yaml.safe_load_all(self.talosctl("get", kind, "-o", "yaml", node=node)) if found]

    def nodes(self) -> dict[str, bool]:
        """Whether each node is ready."""
        return {
            node["metadata"]["name"]: any(
                condition["type"] == "Ready" and condition["status"] == "True"
                for condition in node["status"]["conditions"]
            )
            for node in self.get("nodes")["items"]
        }

    def holder(self) -> str:
        """The control plane that has the virtual address."""
        (holder,) = [node for node in CONTROL_PLANES if self._has_vip(node)]
        return holder

    def _has_vip(self, node: str) -> bool:
        answer = self.talosctl("get", "addresses", node=node, check=False)
        return f"{VIP}/32" in answer

    def until(self, what: str, is_so: Any) -> None:
        def ask() -> str:
            assert is_so(), what
            return what

        self.site.eventually(ask, PATIENCE)


def running_cluster(name: str, text: str) -> Iterator[Cluster]:
    """Make the cluster of a cluster.yaml, and take it away after the tests. All of its nodes are ready."""
    site = Site(kubernetes=True)
    try:
        site.start()
        site.add_cluster(name, text)
        made = Cluster(site, site.up(name).outputs)
        made.until("the API answers", lambda: "Server Version" in made.kubectl("version", check=False))
        made.until("all nodes are ready", lambda: list(made.nodes().values()) == [True] * 4)
        yield made
    finally:
        site.remove()


def vmid(node: str) -> int:
    return 700 + CONTROL_PLANES.index(node)


def is_on(site: Site, node: str) -> bool:
    return bool(site.guests()[vmid(node)]["running"])


def stop(site: Site, guest: int) -> None:
    """Pull the plug."""
    power(site, guest, "stop")


def start(site: Site, guest: int) -> None:
    power(site, guest, "start")


CALL = """
import json, os, sys, urllib.request
request = urllib.request.Request(f"https://px.wd.ktz.me/api2/json/nodes/ms01/qemu/{sys.argv[1]}/status/{sys.argv[2]}")
request.add_header("Authorization", "PVEAPIToken=" + os.environ["PROXMOX_VE_API_TOKEN"])
print(urllib.request.urlopen(request, b"", timeout=10).read().decode())
"""


def power(site: Site, guest: int, action: str) -> None:
    site.run(sys.executable, "-c", CALL, str(guest), action)
    wanted = action == "start"

    def done() -> str:
        assert site.guests()[guest]["running"] == wanted
        return action

    site.eventually(done, PATIENCE)
