"""The large site and its cluster: more addresses in the lab's network, three hosts, one cluster.yaml."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from lab.datacentre import DEFAULT_FILE
from lab.directory import write_text
from tests.engine.site import Site

NAME = "large"
CONTROL_PLANES = 3
ADDRESSES = (
    (
        "10.42.0.1/24, ms02: 10.42.0.12/24, ms03: 10.42.0.13/24",
        "10.42.0.1/19, ms02: 10.42.0.12/19, ms03: 10.42.0.13/19",
    ),
    ("network: 10.42.0.0/24\n        first: 10.42.0.100\n", "network: 10.42.0.0/19\n        first: 10.42.1.1\n"),
    ("last: 10.42.0.199\n        gateway: 10.42.0.1\n", "last: 10.42.15.254\n        gateway: 10.42.0.1\n"),
    ("10.42.20.0/24", "10.42.40.0/24"),
    ("10.42.20.", "10.42.40."),
)
"""What is otherwise in `datacentre.yaml`, so that DHCP has an address for each node."""

CLUSTER = """\
metadata: {{name: {name}}}
cluster:
  talos: {{version: v1.13.0}}
  kubernetes: {{podSubnets: [10.244.0.0/15]}}
  topology:
    controlPlane: {{count: {control_planes}, resources: {{cores: 4, memory: 8192, disk: 32}}}}
    workers: {{count: {workers}, resources: {{cores: 4, memory: 8192, disk: 32}}}}
proxmox:
  endpoint: https://px.wd.ktz.me/
  nodes: [ms01, ms02, ms03]
  storage: {{datastore: local}}
  vm: {{idBase: 5000}}
"""


def site() -> Site:
    made = Site(kubernetes=True)
    text = DEFAULT_FILE.read_text()
    for old, new in ADDRESSES:
        if old not in text:
            raise RuntimeError(f"{DEFAULT_FILE.name} has no {old!r}")
        text = text.replace(old, new)
    write_text(made.lab.datacentre, text)
    return made


def write(site: Site, workers: int) -> None:
    file = site.cluster_file(NAME)
    file.parent.mkdir(exist_ok=True)
    file.write_text(CLUSTER.format(name=NAME, control_planes=CONTROL_PLANES, workers=workers))


def wait_until_ready(site: Site, kubeconfig: Path, nodes: int, seconds: float, told: Callable[[int], None]) -> None:
    """Wait for as many ready Nodes; ``told`` hears how many there are."""
    end = time.monotonic() + seconds
    while (ready := _ready(site, kubeconfig)) < nodes:
        told(ready)
        if time.monotonic() > end:
            raise RuntimeError(f"{ready} of {nodes} Nodes are ready, {seconds:.0f} s after the update")
        time.sleep(5)


def _ready(site: Site, kubeconfig: Path) -> int:
    columns = 'jsonpath={range .items[*]}{.status.conditions[?(@.type=="Ready")].status}{"\\n"}{end}'
    asked = ("kubectl", "--kubeconfig", str(kubeconfig), "get", "nodes", "-o", columns)
    return site.run(*asked, check=False).stdout.split().count("True")


def output(site: Site, name: str) -> str:
    return site.run("pulumi", "stack", "output", name, "--show-secrets", "-s", NAME).stdout
