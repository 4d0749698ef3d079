"""Real talosctl against simulated machines: the life of one cluster, in the order in which it happens.

The tests of this file build on each other, as the life of a cluster does: a machine alone, a control plane, three of
them and a worker, and then what is done to a cluster.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
from functools import partial
from typing import Any

import pytest
import yaml

from tests.lab.node.cluster import Cluster, apply_insecurely, in_maintenance, named
from tests.lab.node.factory import NO_SUCH_VERSION
from tests.lab.node.site import REBOOT, Machine, Site, ask_agent, image, terminate

pytestmark = pytest.mark.engine

CONTROL_PLANES = {"cp1": "10.5.0.11", "cp2": "10.5.0.12", "cp3": "10.5.0.13"}
WORKER = "10.5.0.21"
ALL = [*CONTROL_PLANES.values(), WORKER]


def rebooted(machine: Machine, boots: int) -> bool:
    return len(machine.exits) > boots


@pytest.fixture(scope="module")
def cluster(site: Site) -> Cluster:
    return Cluster(site, "home", CONTROL_PLANES["cp1"])


@pytest.fixture(scope="module")
def machines(site: Site) -> dict[str, Machine]:
    made = {name: site.machine(name, address) for name, address in CONTROL_PLANES.items()}
    made["worker1"] = site.machine("worker1", WORKER)
    for machine in made.values():
        machine.start()
    return made


def test_maintenance_mode_answers_anybody_as_a_reader(
    site: Site, machines: dict[str, Machine], cluster: Cluster
) -> None:
    for address in ALL:
        site.wait(f"{address} in maintenance mode", partial(in_maintenance, site, address))
    version = site.talosctl("version", "--insecure", "-n", CONTROL_PLANES["cp1"])
    assert "v1.13.0" in version.stdout.split("Server:")[1]
    disks = site.talosctl("get", "disks", "--insecure", "-n", CONTROL_PLANES["cp1"]).stdout
    assert "sda" in disks
    assert "sr0" in disks
    secret = site.talosctl("get", "machineconfig", "--insecure", "-n", CONTROL_PLANES["cp1"])
    assert "PermissionDenied desc = not authorized" in secret.stderr


def test_a_configuration_that_does_not_hold_is_refused(
    site: Site, machines: dict[str, Machine], cluster: Cluster
) -> None:
    address = CONTROL_PLANES["cp1"]
    broken = cluster.folder / "broken.yaml"
    good = cluster.config("controlplane").read_text()
    for text, complaint in (
        ("machine: [", "desc = decode error: yaml"),
        (good.replace("type: controlplane", "typo: controlplane"), "unknown keys found during decoding"),
        (
            good.replace("disk: /dev/sda", "extraKernelArgs: []"),
            "either install disk or diskSelector should be defined",
        ),
    ):
        broken.write_text(text)
        answer = apply_insecurely(site, address, broken)
        assert answer.returncode != 0
        assert "InvalidArgument" in answer.stderr
        assert complaint in answer.stderr
    dry = apply_insecurely(site, address, cluster.config("controlplane"), "--dry-run")
    assert "Dry run summary:" in dry.stdout + dry.stderr
    assert in_maintenance(site, address)


def test_what_cannot_be_installed_brings_the_machine_back_to_maintenance(
    site: Site, machines: dict[str, Machine], cluster: Cluster
) -> None:
    machine, address = machines["cp1"], CONTROL_PLANES["cp1"]
    for config, complaint in (
        (cluster.config("controlplane", version=NO_SUCH_VERSION), "failed to pull image"),
        (cluster.config("controlplane", {"machine": {"install": {"disk": "/dev/sdx"}}}), "/dev/sdx"),
    ):
        boots = len(machine.exits)
        assert apply_insecurely(site, address, config).returncode == 0
        site.wait("a reboot", partial(rebooted, machine, boots))
        assert machine.exits[-1] == REBOOT
        assert complaint in machine.console
        site.wait("maintenance mode again", lambda: in_maintenance(site, address))
        assert not (machine.disk / "image.json").exists()


def test_a_worker_has_no_api_before_there_is_a_control_plane(
    site: Site, machines: dict[str, Machine], cluster: Cluster
) -> None:
    worker = machines["worker1"]
    assert apply_insecurely(site, WORKER, cluster.config("worker", named("worker1"))).returncode == 0
    site.wait("the worker's installation", lambda: "failed to sign API server CSR" in worker.console)
    assert worker.exits == [REBOOT]
    assert json.loads((worker.disk / "image.json").read_text())["version"] == "v1.13.0"
    assert "connection refused" in cluster.attempt("version", node=WORKER).stderr


def test_a_control_plane_is_installed_and_then_trusts_only_its_cluster(
    site: Site, machines: dict[str, Machine], cluster: Cluster
) -> None:
    address = CONTROL_PLANES["cp1"]
    assert apply_insecurely(site, address, cluster.config("controlplane", named("cp1"))).returncode == 0
    site.wait("cp1's API", lambda: cluster.attempt("version").returncode == 0)
    assert "Tag:         v1.13.0" in cluster("version").split("Server:")[1]
    assert "Unavailable" in site.talosctl("get", "disks", "--insecure", "-n", address).stderr
    stranger = Cluster(site, "stranger", address)
    assert "certificate signed by unknown authority" in stranger.attempt("version").stderr
    services = cluster("services")
    assert "Preparing" in next(line for line in services.splitlines() if " etcd " in line)
    assert cluster.stage(address) == "booting"


def test_bootstrap_makes_one_cluster_once(site: Site, machines: dict[str, Machine], cluster: Cluster) -> None:
    site.wait("cri", lambda: "(Running): Process cri" in machines["cp1"].console)
    cluster("bootstrap")
    site.wait("running", partial(cluster.runs, CONTROL_PLANES["cp1"]))
    again = cluster.attempt("bootstrap")
    assert "AlreadyExists desc = etcd data directory is not empty" in again.stderr
    assert "cp1" in cluster("etcd", "members")
    assert "3.6" in cluster("etcd", "status")


def test_two_more_control_planes_join_as_learners_and_are_promoted(
    site: Site, machines: dict[str, Machine], cluster: Cluster
) -> None:
    for name in ("cp2", "cp3"):
        config = cluster.config("controlplane", named(name))
        assert apply_insecurely(site, CONTROL_PLANES[name], config).returncode == 0

    def joined() -> bool:
        lines = cluster.attempt("etcd", "members").stdout.splitlines()[1:]
        return len(lines) == 3 and all(line.split()[-1] == "false" for line in lines)

    site.wait("three voting members", joined)
    for name, address in CONTROL_PLANES.items():
        site.wait(f"{name} running", partial(cluster.runs, address))
        assert "cp1" in cluster("etcd", "members", node=address)
        assert name in cluster("get", "hostname", node=address)


def test_the_worker_has_got_its_certificate(site: Site, machines: dict[str, Machine], cluster: Cluster) -> None:
    site.wait("the worker's API", partial(cluster.runs, WORKER))
    assert "bootstrap is only available on control plane nodes" in cluster.attempt("bootstrap", node=WORKER).stderr
    kubeconfig = cluster.attempt("kubeconfig", str(site.folder / "no"), node=WORKER)
    assert "kubeconfig is only available on control plane nodes" in kubeconfig.stderr
    assert "etcd" not in cluster("services", node=WORKER)
    forwarded = cluster.attempt("version", endpoint=WORKER, node=CONTROL_PLANES["cp1"])
    assert "PermissionDenied desc = no request forwarding" in forwarded.stderr


def test_every_node_knows_every_member(site: Site, machines: dict[str, Machine], cluster: Cluster) -> None:
    expected = {"cp1": "controlplane", "cp2": "controlplane", "cp3": "controlplane", "worker1": "worker"}
    for address in ALL:

        def known(address: str = address) -> bool:
            found = cluster.resources("members", address)
            return {m["spec"]["hostname"]: m["spec"]["machineType"] for m in found} == expected

        site.wait(f"the members on {address}", known)


def test_one_endpoint_asks_many_nodes(site: Site, machines: dict[str, Machine], cluster: Cluster) -> None:
    nodes, endpoint = ",".join(ALL), CONTROL_PLANES["cp2"]
    answer = cluster("version", "--short", endpoint=endpoint, node=nodes)
    assert all(f"NODE:        {address}" in answer for address in ALL)
    services = cluster("services", endpoint=endpoint, node=nodes)
    assert all(f"{address}   apid" in services.replace("    ", "   ") for address in ALL)
    gone = cluster.attempt("version", "--short", endpoint=endpoint, node=f"{ALL[0]},10.5.0.99")
    assert f"NODE:        {ALL[0]}" in gone.stdout
    assert "10.5.0.99" in gone.stderr
    hostnames = cluster("get", "hostname", endpoint=endpoint, node=nodes)
    assert all(name in hostnames for name in (*CONTROL_PLANES, "worker1"))


def test_kubeconfig(site: Site, machines: dict[str, Machine], cluster: Cluster) -> None:
    target = site.folder / "kubeconfig"
    cluster("kubeconfig", str(target), "--merge=false")
    kubeconfig = yaml.safe_load(target.read_text())
    assert kubeconfig["current-context"] == "admin@home"
    assert kubeconfig["clusters"][0]["cluster"]["server"] == f"https://{CONTROL_PLANES['cp1']}:6443"


def test_roles_decide_who_may_do_what(site: Site, machines: dict[str, Machine], cluster: Cluster) -> None:
    reader = site.folder / "reader"
    cluster("config", "new", str(reader), "--roles", "os:reader")
    credentials = ["--talosconfig", str(reader), "-e", ALL[0], "-n", ALL[1]]
    assert site.talosctl("version", *credentials).returncode == 0
    for refused in (["get", "machineconfig"], ["kubeconfig", str(site.folder / "no")], ["reboot", "--wait=false"]):
        answer = site.talosctl(*refused, *credentials)
        assert "PermissionDenied desc = not authorized" in answer.stderr


def test_modes_of_applying(site: Site, machines: dict[str, Machine], cluster: Cluster) -> None:
    address, machine = CONTROL_PLANES["cp3"], machines["cp3"]

    def apply(mode: str, *patches: Any, dry: bool = False) -> subprocess.CompletedProcess[str]:
        config = cluster.config("controlplane", named("cp3"), *patches)
        return cluster.attempt(
            "apply-config", "-f", str(config), "-m", mode, *(["--dry-run"] if dry else []), node=address
        )

    labels = {"machine": {"nodeLabels": {"disk": "fast"}}}
    files = {"machine": {"files": [{"path": "/var/x", "permissions": 0o600, "op": "create", "content": "x"}]}}
    boots = len(machine.exits)

    assert "Applied configuration without a reboot" in apply("auto", labels).stderr
    assert "disk: fast" in cluster("get", "machineconfig", "v1alpha1", "-o", "yaml", node=address)
    refused = apply("no-reboot", labels, files)
    assert "InvalidArgument" in refused.stderr
    assert "this config change can't be applied in immediate mode" in refused.stderr
    dry = apply("auto", labels, files, dry=True)
    assert "Applied configuration with a reboot (skipped in dry-run)" in dry.stdout + dry.stderr
    assert "+        - content: x" in dry.stdout + dry.stderr
    document = {"apiVersion": "v1alpha1", "kind": "WatchdogTimerConfig", "device": "/dev/watchdog0"}
    assert "Applied configuration without a reboot" in apply("no-reboot", labels, document).stderr
    assert "Staged configuration" in apply("staged", labels, files).stderr
    assert "path: /var/x" not in cluster("get", "machineconfig", "v1alpha1", "-o", "yaml", node=address)
    assert "path: /var/x" in cluster("get", "machineconfig", "persistent", "-o", "yaml", node=address)
    assert len(machine.exits) == boots
    assert "Applied configuration with a reboot" in apply("auto", files).stderr
    site.wait("a reboot", lambda: len(machine.exits) == boots + 1)
    site.wait("running again", partial(cluster.runs, address))
    assert "path: /var/x" in cluster("get", "machineconfig", "v1alpha1", "-o", "yaml", node=address)


def test_reboot_waits_until_the_machine_is_back(site: Site, machines: dict[str, Machine], cluster: Cluster) -> None:
    for endpoint, name in ((CONTROL_PLANES["cp2"], "cp2"), (CONTROL_PLANES["cp1"], "worker1")):
        machine = machines[name]
        address = CONTROL_PLANES.get(name, WORKER)
        boots, boot = len(machine.exits), cluster("read", "/proc/sys/kernel/random/boot_id", node=address)
        cluster("reboot", endpoint=endpoint, node=address, timeout=60)
        assert machine.exits[boots:] == [REBOOT]
        assert cluster("read", "/proc/sys/kernel/random/boot_id", node=address) != boot


def test_a_power_cut_loses_nothing(site: Site, machines: dict[str, Machine], cluster: Cluster) -> None:
    before = cluster("etcd", "members")
    for machine in machines.values():
        machine.kill()
    for machine in machines.values():
        machine.start()
    for address in ALL:
        site.wait(f"{address} running", partial(cluster.runs, address))
    assert sorted(cluster("etcd", "members").splitlines()[1:]) == sorted(before.splitlines()[1:])


def test_etcd_is_a_process_that_is_started_again(site: Site, machines: dict[str, Machine], cluster: Cluster) -> None:
    machine, address = machines["cp2"], CONTROL_PLANES["cp2"]
    first = machine.child("etcd")
    assert first
    os.kill(first, signal.SIGKILL)
    site.wait("another etcd", lambda: machine.child("etcd") not in (None, first))
    site.wait("a healthy etcd", lambda: "HEALTH   OK" in cluster("service", "etcd", node=address))
    events = cluster("service", "etcd", node=address)
    assert 'Error running Containerd(etcd), going to restart forever: task "etcd" failed: signal: killed' in events
    (spec,) = cluster.resources("etcdspec", address)
    assert spec["spec"]["advertisedAddresses"] == [address]
    assert spec["spec"]["listenClientAddresses"] == ["0.0.0.0"]


def test_events_and_logs(site: Site, machines: dict[str, Machine], cluster: Cluster) -> None:
    address = CONTROL_PLANES["cp1"]
    assert "[talos]" in cluster("dmesg", node=address)
    assert "raft" in cluster("logs", "etcd", node=address)
    assert "DEBUG updated MachineStatuses.runtime.talos.dev" in cluster("logs", "controller-runtime", node=address)
    watched = site.folder / "events"
    credentials = ["--talosconfig", str(cluster.talosconfig), "-e", address, "-n", address]
    with watched.open("wb") as output:
        watching = site.spawn([str(site.talosctl_binary), "events", "--tail", "-1", *credentials], output)
    site.wait("the events of this boot", lambda: "RUNNING                ready: true" in watched.read_text())
    watching.kill()
    watching.wait()
    refused = cluster.attempt("service", "etcd", "restart", node=address)
    assert "Unimplemented" in refused.stderr
    assert "is not simulated" in cluster.attempt("netstat", node=address).stderr


def test_files_and_disks_are_looked_at(site: Site, machines: dict[str, Machine], cluster: Cluster) -> None:
    address = CONTROL_PLANES["cp1"]
    assert "member" in cluster("list", "/var/lib/etcd", node=address)
    hosts = [line.split() for line in cluster("read", "/etc/hosts", node=address).splitlines()]
    assert [address, "cp1"] in hosts
    assert "no such file or directory" in cluster.attempt("list", "/var/lib/etcd", node=WORKER).stderr
    assert "is not simulated" in cluster.attempt("list", "/usr/bin", node=address).stderr
    volumes = [volume["spec"] for volume in cluster.resources("discoveredvolumes", address)]
    assert [volume["partition_label"] for volume in volumes if "parent" in volume] == ["META", "STATE", "EPHEMERAL"]
    refused = cluster.attempt("wipe", "disk", "sda", node=address)
    assert 'blockdevice "sda" is in use by volume' in refused.stderr
    assert 'blockdevice "sdz" not found' in cluster.attempt("wipe", "disk", "sdz", node=address).stderr


def test_probes_are_made(site: Site, machines: dict[str, Machine], cluster: Cluster) -> None:
    probe = {"apiVersion": "v1alpha1", "kind": "TCPProbeConfig", "name": "api", "interval": "1s", "failureThreshold": 1}
    there, nowhere = (f"{CONTROL_PLANES['cp1']}:{port}" for port in (50000, 50099))

    def told(endpoint: str) -> dict[str, Any]:
        found = cluster.resources("probestatus", WORKER)
        return next((one["spec"] for one in found if one["metadata"]["id"] == f"tcp:{endpoint}"), {})

    def connected() -> bool:
        (status,) = cluster.resources("networkstatus", WORKER)
        return bool(status["spec"]["connectivityReady"])

    def patch(**changes: Any) -> None:
        cluster("patch", "mc", "--mode", "no-reboot", "--patch", json.dumps(probe | changes), node=WORKER)

    patch(endpoint=there, timeout="1s")
    site.wait("a success", lambda: told(there).get("success") is True)
    assert connected()
    patch(endpoint=nowhere, timeout="1s")
    site.wait("a failure", lambda: "connection refused" in told(nowhere).get("lastError", ""))
    assert told(there) == {}
    assert not connected()
    patch(**{"$patch": "delete"})
    site.wait("no probe", lambda: cluster.resources("probestatus", WORKER) == [])
    assert connected()


def test_a_link_has_another_name_besides(site: Site, machines: dict[str, Machine], cluster: Cluster) -> None:
    alias = {"apiVersion": "v1alpha1", "kind": "LinkAliasConfig", "name": "uplink", "selector": {"match": "true"}}

    def aliases() -> list[str]:
        return [spec["alias"] for link in cluster.resources("links", WORKER) if (spec := link["spec"]).get("alias")]

    def patch(**changes: Any) -> None:
        cluster("patch", "mc", "--mode", "no-reboot", "--patch", json.dumps(alias | changes), node=WORKER)

    patch()
    site.wait("the alias", lambda: aliases() == ["uplink"])
    patch(**{"$patch": "delete"})
    site.wait("none", lambda: aliases() == [])


def test_packets_go_where_the_configuration_says(site: Site, machines: dict[str, Machine], cluster: Cluster) -> None:
    blackhole = {"apiVersion": "v1alpha1", "kind": "BlackholeRouteConfig", "name": "10.66.0.0/16"}
    rule = {"apiVersion": "v1alpha1", "kind": "RoutingRuleConfig", "name": "1000"}
    says = {"src": "10.99.0.0/16", "table": "100"}

    def told() -> list[Any]:
        routes = [route["spec"] for route in cluster.resources("routes", WORKER)]
        rules = [found["spec"] for found in cluster.resources("routingrules", WORKER)]
        return [
            *(route["dst"] for route in routes if route["type"] == "blackhole"),
            *({key: found[key] for key in says} for found in rules if found["priority"] == 1000),
        ]

    def patch(*documents: dict[str, Any]) -> None:
        for document in documents:
            cluster("patch", "mc", "--mode", "no-reboot", "--patch", json.dumps(document), node=WORKER)

    patch(blackhole, rule | says)
    site.wait("both", lambda: told() == [blackhole["name"], says])
    patch(*(document | {"$patch": "delete"} for document in (blackhole, rule)))
    site.wait("neither", lambda: told() == [])


def test_health_goes_as_far_as_kubernetes(site: Site, machines: dict[str, Machine], cluster: Cluster) -> None:
    health = cluster.attempt("health", "--wait-timeout", "30s")
    assert "waiting for all nodes to finish boot sequence: OK" in health.stderr
    assert "this site runs no Kubernetes" in health.stderr


def test_etcd_maintenance(site: Site, machines: dict[str, Machine], cluster: Cluster) -> None:
    snapshot = site.folder / "snapshot"
    cluster("etcd", "snapshot", str(snapshot))
    assert snapshot.stat().st_size > 10_000
    cluster("etcd", "defrag")
    assert cluster("etcd", "alarm", "list").splitlines()[1:] == []
    leaders = [address for address in CONTROL_PLANES.values() if is_leader(cluster, address)]
    assert len(leaders) == 1
    cluster("etcd", "forfeit-leadership", node=leaders[0])
    site.wait("another leader", lambda: not is_leader(cluster, leaders[0]))


def test_a_leader_whose_disk_is_slow_is_none_any_more(
    site: Site, machines: dict[str, Machine], cluster: Cluster
) -> None:
    name, address = next(item for item in CONTROL_PLANES.items() if is_leader(cluster, item[1]))
    faults = machines[name].folder / "faults.json"
    faults.write_text(json.dumps({"diskDelaySeconds": 3}))
    site.wait("another leader", lambda: another_leads(cluster, address))
    faults.write_text("{}")
    site.wait("its answer", lambda: cluster.attempt("etcd", "status", node=address).returncode == 0)


def another_leads(cluster: Cluster, slow: str) -> bool:
    """Whether another than the slow one leads, by their own word."""
    return any(is_leader(cluster, address) for address in CONTROL_PLANES.values() if address != slow)


def test_a_member_that_has_left_comes_back_with_a_reboot(
    site: Site, machines: dict[str, Machine], cluster: Cluster
) -> None:
    machine, address = machines["cp3"], CONTROL_PLANES["cp3"]
    cluster("etcd", "leave", node=address)
    assert len(cluster("etcd", "members").splitlines()) == 3
    site.wait("the end of the service", lambda: "Finished" in cluster("service", "etcd", node=address))
    assert machine.child("etcd") is None
    assert not (machine.disk / "EPHEMERAL" / "etcd").exists()
    cluster("reboot", "--wait=false", node=address)
    site.wait("four lines", lambda: len(cluster.attempt("etcd", "members").stdout.splitlines()) == 4)
    site.wait("running", partial(cluster.runs, address))


def is_leader(cluster: Cluster, address: str) -> bool:
    member, leader = re.findall(r"\b[0-9a-f]{16}\b", cluster("etcd", "status", node=address))
    return bool(member == leader)


def test_a_reset_worker_is_new_again(site: Site, machines: dict[str, Machine], cluster: Cluster) -> None:
    machine = machines["worker1"]
    labels = ["--system-labels-to-wipe", "STATE", "--system-labels-to-wipe", "EPHEMERAL"]
    cluster("reset", "--reboot", *labels, endpoint=CONTROL_PLANES["cp1"], node=WORKER)
    site.wait("maintenance mode", lambda: in_maintenance(site, WORKER))
    assert (machine.disk / "image.json").exists()
    assert not (machine.disk / "STATE").exists()
    site.wait("the member to go", lambda: "worker1" not in cluster("get", "members"))
    boots = len(machine.exits)
    assert apply_insecurely(site, WORKER, cluster.config("worker", named("worker1"))).returncode == 0
    site.wait("running", partial(cluster.runs, WORKER))
    assert len(machine.exits) == boots, "an installed machine needs no installation"


def test_a_graceful_reset_leaves_etcd_and_powers_off(
    site: Site, machines: dict[str, Machine], cluster: Cluster
) -> None:
    machine = machines["cp3"]
    cluster("reset", endpoint=CONTROL_PLANES["cp1"], node=CONTROL_PLANES["cp3"])
    site.wait("power off", lambda: machine.process is None)
    assert machine.exits[-1] == 0
    assert list(machine.disk.iterdir()) == []
    assert "cp3" not in cluster("etcd", "members")
    site.wait("the member to go", lambda: "cp3" not in cluster("get", "members"))


def test_a_wiped_control_plane_joins_again_under_its_name(
    site: Site, machines: dict[str, Machine], cluster: Cluster
) -> None:
    machine = machines["cp3"]
    machine.start()
    site.wait("maintenance mode", lambda: in_maintenance(site, CONTROL_PLANES["cp3"]))
    assert apply_insecurely(site, CONTROL_PLANES["cp3"], cluster.config("controlplane", named("cp3"))).returncode == 0
    site.wait("running", partial(cluster.runs, CONTROL_PLANES["cp3"]))
    assert len(cluster("etcd", "members").splitlines()) == 4


def test_the_last_member_does_not_leave(site: Site, cluster: Cluster) -> None:
    alone = Cluster(site, "alone", "10.5.0.31")
    machine = site.machine("alone", "10.5.0.31")
    machine.start()
    site.wait("maintenance mode", lambda: in_maintenance(site, "10.5.0.31"))
    assert apply_insecurely(site, "10.5.0.31", alone.config("controlplane", named("alone"))).returncode == 0
    site.wait("bootstrap", lambda: alone.attempt("bootstrap", node="10.5.0.31").returncode == 0)
    site.wait("running", partial(alone.runs, "10.5.0.31"))
    refused = alone.attempt("reset", node="10.5.0.31")
    assert "not enough started members" in refused.stderr
    site.wait("running", partial(alone.runs, "10.5.0.31"))
    comes_back_from_a_snapshot(site, machine, alone)
    alone("reset", "--graceful=false", node="10.5.0.31")
    site.wait("power off", lambda: machine.process is None)


def comes_back_from_a_snapshot(site: Site, machine: Machine, alone: Cluster) -> None:
    """A cluster of one loses its data, and gets it back."""
    snapshot, boots = site.folder / "alone.snapshot", len(machine.exits)
    alone("etcd", "snapshot", str(snapshot))
    (member,) = alone("etcd", "members").splitlines()[1:]
    alone("reset", "--graceful=false", "--reboot", "--system-labels-to-wipe", "EPHEMERAL", "--wait=false")
    whoever_watches_late = alone.attempt("events", "--tail", "0")
    assert "stopAllServices" in whoever_watches_late.stdout, whoever_watches_late
    site.wait("a reboot", partial(rebooted, machine, boots))
    site.wait("etcd", lambda: "Preparing" in alone.attempt("service", "etcd").stdout)
    alone("bootstrap", "--recover-from", str(snapshot))
    site.wait("running", partial(alone.runs, "10.5.0.31"))
    (recovered,) = alone("etcd", "members").splitlines()[1:]
    assert recovered.split()[2:] == member.split()[2:]


def test_an_older_image_speaks_its_own_dialect(site: Site, cluster: Cluster) -> None:
    address = "10.5.0.41"
    old = Cluster(site, "old", address, contract="v1.11")
    machine = site.machine("old", address, cdrom={"device": "/dev/sr0", "image": image("v1.11.5", "metal")})
    machine.start()
    site.wait("maintenance mode", lambda: in_maintenance(site, address))
    assert "API is not implemented in maintenance mode" in site.talosctl("version", "--insecure", "-n", address).stderr
    config = old.config("controlplane", version="v1.11.5")
    refused = apply_insecurely(site, address, config, "-m", "no-reboot")
    assert (
        "Unimplemented desc = apply configuration --mode='no-reboot' is not supported in maintenance mode"
        in refused.stderr
    )
    unknown = apply_insecurely(site, address, old.config("controlplane", named("old"), version="v1.11.5"))
    assert '"HostnameConfig" "v1alpha1": not registered' in unknown.stderr
    named_v1alpha1 = old.config("controlplane", {"machine": {"network": {"hostname": "old"}}}, version="v1.11.5")
    assert apply_insecurely(site, address, named_v1alpha1).returncode == 0
    site.wait("the API", lambda: old.attempt("version", node=address).returncode == 0)
    assert "v1.11.5" in old("version", node=address).split("Server:")[1]
    assert old("get", "hostname", node=address).split()[-1] == "old"
    refused = old.attempt("apply-config", "-f", str(old.config("controlplane", named("old"))), node=address)
    assert "InvalidArgument" in refused.stderr
    assert "not registered" in refused.stderr


def test_a_nocloud_image_is_the_installed_system(site: Site, cluster: Cluster) -> None:
    address = "10.5.0.51"
    cloud = Cluster(site, "cloud", address)
    machine = site.machine("cloud", "10.5.0.52", cdrom=None)
    nic = machine.hardware["nics"][0]
    drive = {"mac": nic["mac"], "address": f"{address}/16", "gateway": "10.5.0.1"}
    machine.hardware["cidata"] = {"hostname": "from-the-drive", "nameservers": ["10.5.0.1"], "nics": [drive]}
    (machine.disk / "image.json").write_text(json.dumps(image("v1.13.0", "nocloud")))
    machine.start()
    site.wait("maintenance mode", lambda: in_maintenance(site, address))
    without = {"machine": {"install": {"$patch": "delete"}}}
    assert apply_insecurely(site, address, cloud.config("controlplane", without)).returncode == 0
    site.wait("the API", lambda: cloud.attempt("version", node=address).returncode == 0)
    assert machine.exits == [], "no installation, no reboot"
    assert cloud("get", "hostname", node=address).split()[-1] == "from-the-drive"
    assert machine.process
    assert terminate(machine.process) == 0


def test_a_machine_without_a_lease_gets_its_address_later(site: Site) -> None:
    machine = site.machine("late", "10.5.0.61")
    nic = machine.hardware["nics"][0]
    lease, nic["dhcp"] = nic["dhcp"], None
    machine.start()
    site.wait("the agent", lambda: (machine.folder / "run" / "agent.sock").exists())
    interfaces = {"execute": "guest-network-get-interfaces"}
    assert ipv4(ask_agent(machine, interfaces)[0]) == {"lo": ["127.0.0.1/8"], "eth0": []}
    (machine.folder / "dhcp.json").write_text(json.dumps({nic["mac"]: lease}))
    site.wait("maintenance mode", lambda: in_maintenance(site, "10.5.0.61"))
    pong, answer, unknown = ask_agent(machine, {"execute": "guest-ping"}, interfaces, {"execute": "guest-fly"})
    assert pong == {"return": {}}
    assert ipv4(answer) == {"lo": ["127.0.0.1/8"], "eth0": ["10.5.0.61/16"]}
    assert unknown["error"]["class"] == "CommandNotFound"


def ipv4(answer: dict[str, Any]) -> dict[str, list[str]]:
    """The IPv4 addresses of each interface that a guest agent told."""
    return {
        interface["name"]: [
            f"{address['ip-address']}/{address['prefix']}"
            for address in interface.get("ip-addresses", [])
            if address["ip-address-type"] == "ipv4"
        ]
        for interface in answer["return"]
    }


def test_one_machine_is_one_process(site: Site, machines: dict[str, Machine]) -> None:
    second = site.run(str(site.binary), "machine", str(machines["cp1"].folder))
    assert second.returncode == 1
    assert "another process already runs this machine" in second.stderr


def test_nothing_to_boot_is_no_crash(site: Site) -> None:
    machine = site.machine("empty", "10.5.0.71", cdrom=None)
    machine.start()
    site.wait("the firmware", lambda: "No bootable device." in machine.console)
    assert machine.process
    assert terminate(machine.process) == 0


def test_a_node_is_small(machines: dict[str, Machine]) -> None:
    sizes = {name: machine.memory() for name, machine in machines.items()}
    print(sizes)
    assert max(sizes.values()) < 60, sizes
