"""Real `talosctl rotate-ca` against simulated machines: their API gets another authority while it serves."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest

from tests.lab.node.cluster import Cluster, apply_insecurely, in_maintenance, named
from tests.lab.node.site import Machine, Site

pytestmark = pytest.mark.engine

CONTROL_PLANES = {"cp1": "10.5.0.11", "cp2": "10.5.0.12"}
WORKER = "10.5.0.21"
MACHINES = {**CONTROL_PLANES, "worker1": WORKER}


@pytest.fixture(scope="module")
def machines(site: Site) -> dict[str, Machine]:
    made = {name: site.machine(name, address) for name, address in MACHINES.items()}
    for machine in made.values():
        machine.start()
    return made


@pytest.fixture(scope="module")
def cluster(site: Site, machines: dict[str, Machine]) -> Cluster:
    """A cluster of two control planes and a worker, all of them running."""
    made = Cluster(site, "home", CONTROL_PLANES["cp1"])
    for name, address in MACHINES.items():
        site.wait(f"{address} in maintenance mode", partial(in_maintenance, site, address))
        config = made.config("worker" if name == "worker1" else "controlplane", named(name))
        assert apply_insecurely(site, address, config).returncode == 0
    site.wait("bootstrap", lambda: made.attempt("bootstrap").returncode == 0)
    for address in MACHINES.values():
        site.wait(f"{address} running", partial(made.runs, address))
    return made


def accepted(cluster: Cluster, address: str) -> list[str]:
    """The authorities whose clients a machine accepts, as it says."""
    (root,) = cluster.resources("osrootsecret", address)
    return [authority["crt"] for authority in root["spec"]["acceptedCAs"]]


def test_machines_show_their_authorities_to_administrators(site: Site, cluster: Cluster) -> None:
    kinds = ("osrootsecret", "kubernetesrootsecret", "etcdrootsecret")
    for kind in kinds:
        (root,) = cluster.resources(kind, CONTROL_PLANES["cp2"])
        assert root["metadata"]["namespace"] == "secrets"
        assert root["spec"]["etcdCA" if kind == "etcdrootsecret" else "issuingCA"]["key"]
    (root,) = cluster.resources("osrootsecret", WORKER)
    assert root["spec"]["issuingCA"] is None
    assert accepted(cluster, WORKER) == accepted(cluster, CONTROL_PLANES["cp1"])
    assert cluster.resources("kubernetesrootsecret", WORKER) == []
    reader = site.folder / "reader"
    cluster("config", "new", str(reader), "--roles", "os:reader")
    for kind in kinds:
        credentials = ["--talosconfig", str(reader), "-e", CONTROL_PLANES["cp1"], "-n", CONTROL_PLANES["cp1"]]
        assert "PermissionDenied desc = not authorized" in site.talosctl("get", kind, *credentials).stderr


def rotate(cluster: Cluster, new: Path, *more: str) -> int:
    """Without a word of what talosctl says: it prints the key of the new authority."""
    nodes = ["--control-plane-nodes", ",".join(CONTROL_PLANES.values()), "--worker-nodes", WORKER]
    command = ["rotate-ca", "--kubernetes=false", *nodes, "-o", str(new), *more]
    endpoints = ",".join(CONTROL_PLANES.values())
    return cluster.attempt(*command, endpoint=endpoints, node=CONTROL_PLANES["cp1"], timeout=120).returncode


def test_a_key_is_not_in_what_a_command_is_blamed_for(site: Site) -> None:
    with pytest.raises(AssertionError, match=r"takes more than 0.5 s:\nkey: \*\*\*\n"):
        site.run("sh", "-c", "echo key: LS0tLS1; exec sleep 9", timeout=0.5)


def test_another_authority_of_the_api_is_taken_up_without_a_reboot(
    site: Site, machines: dict[str, Machine], cluster: Cluster
) -> None:
    before = {name: len(machine.exits) for name, machine in machines.items()}
    first, new = accepted(cluster, WORKER), site.folder / "rotated"
    rotate(cluster, new)
    assert accepted(cluster, WORKER) == first, "nothing is changed unless it is asked for"
    assert rotate(cluster, new, "--dry-run=false") == 0
    for address in MACHINES.values():
        assert "certificate" in cluster.attempt("version", node=address).stderr, "the old talosconfig is worth nothing"
    cluster.talosconfig = new
    for address in MACHINES.values():
        assert "Tag:         v1.13.0" in cluster("version", node=address).split("Server:")[1]
        assert accepted(cluster, address) != first
        assert len(accepted(cluster, address)) == 1
    asked = cluster("version", "--short", endpoint=CONTROL_PLANES["cp2"], node=",".join(MACHINES.values()))
    assert all(f"NODE:        {address}" in asked for address in MACHINES.values())
    assert {name: len(machine.exits) for name, machine in machines.items()} == before


def test_the_daemons_of_the_api_are_restarted(site: Site, cluster: Cluster) -> None:
    for daemon in ("trustd", "apid"):
        address = CONTROL_PLANES["cp2"]
        cluster("restart", daemon, node=address)
        site.wait(f"another {daemon}", partial(restarted, cluster, daemon, address))
    assert "is not simulated" in cluster.attempt("restart", "etcd").stderr


def restarted(cluster: Cluster, daemon: str, address: str) -> bool:
    shown = cluster.attempt("service", daemon, node=address).stdout
    return f"Runner Containerd({daemon}) exited without error" in shown and "STATE    Running" in shown


def test_a_worker_that_comes_back_gets_its_certificate_from_the_new_authority(
    site: Site, machines: dict[str, Machine], cluster: Cluster
) -> None:
    machines["worker1"].kill()
    machines["worker1"].start()
    site.wait("the worker's API", partial(cluster.runs, WORKER))
