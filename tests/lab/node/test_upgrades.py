"""Real talosctl upgrades simulated machines, rolls them back, and changes them in the other ways that reboot.

The tests of a machine build on each other: each finds the Talos that the one before has left there.
"""

from __future__ import annotations

import json
import re
from functools import partial

import pytest

from tests.lab.node.cluster import SCHEMATIC, Cluster, apply_insecurely, in_maintenance, named
from tests.lab.node.factory import NO_SUCH_VERSION, WITH_ISCSI
from tests.lab.node.site import REBOOT, Machine, Site, image

pytestmark = pytest.mark.engine

CP1, CP2, OLD = "10.5.0.11", "10.5.0.12", "10.5.0.41"
NOW = ("--timeout", "90s")


def installer(version: str, schematic: str = SCHEMATIC) -> str:
    return f"factory.talos.dev/metal-installer/{schematic}:{version}"


def entries(machine: Machine) -> list[tuple[str, str]]:
    """The boot loader's entries with their versions; the first one boots."""
    boot = json.loads((machine.disk / "image.json").read_text())
    return [(entry["label"], entry["version"]) for entry in (boot, boot.get("other")) if entry]


def meta(cluster: Cluster, address: str) -> dict[str, str]:
    return {str(r["metadata"]["id"]): r["spec"]["value"] for r in cluster.resources("metakeys", address)}


def version(cluster: Cluster, address: str) -> str:
    answer = cluster.attempt("version", "--short", node=address).stdout.partition("Server:")[2]
    return next((line.split()[-1] for line in answer.splitlines() if "Tag:" in line), "")


def runs_version(cluster: Cluster, address: str, wanted: str) -> bool:
    return version(cluster, address) == wanted and cluster.runs(address)


@pytest.fixture(scope="module")
def cluster(site: Site) -> Cluster:
    return Cluster(site, "home", CP1)


@pytest.fixture(scope="module")
def cp1(site: Site, cluster: Cluster) -> Machine:
    machine = site.machine("cp1", CP1)
    machine.start()
    site.wait("maintenance mode", partial(in_maintenance, site, CP1))
    assert apply_insecurely(site, CP1, cluster.config("controlplane", named("cp1"))).returncode == 0
    site.wait("bootstrap", lambda: cluster.attempt("bootstrap").returncode == 0)
    site.wait("running", partial(cluster.runs, CP1))
    return machine


def test_without_an_upgrade_there_is_nothing_to_roll_back_to(cluster: Cluster, cp1: Machine) -> None:
    assert entries(cp1) == [("A", "v1.13.0")]
    assert 'cannot rollback to "", label does not exist' in cluster.attempt("rollback").stderr


def test_an_image_that_does_not_exist_is_refused(cluster: Cluster, cp1: Machine) -> None:
    boots, missing = len(cp1.exits), installer(NO_SUCH_VERSION)
    legacy = cluster.attempt("upgrade", "--legacy", "--image", missing, *NOW)
    assert legacy.returncode != 0
    assert f'error validating installer image "{missing}": failed to pull image "{missing}": not found' in legacy.stderr
    streamed = cluster.attempt("upgrade", "--drain=false", "--image", missing, *NOW)
    assert streamed.returncode != 0
    assert "NotFound" in streamed.stderr
    assert (len(cp1.exits), entries(cp1)) == (boots, [("A", "v1.13.0")])


def test_the_legacy_upgrade_installs_beside_what_runs_and_reboots(site: Site, cluster: Cluster, cp1: Machine) -> None:
    boots = len(cp1.exits)
    upgraded = cluster.attempt("upgrade", "--legacy", "--image", installer("v1.13.1", WITH_ISCSI), *NOW, timeout=120)
    assert upgraded.returncode == 0, upgraded.stderr
    assert "post check passed" in upgraded.stderr
    for step in ("stopAllPods", "stopServices", "upgrade", "kexec", "stopAllServices", "reboot"):
        assert re.search(rf"task {step}\w* \(1/1\): starting", cp1.console), step
    assert cp1.exits[boots:] == [REBOOT]
    assert version(cluster, CP1) == "v1.13.1"
    assert "iscsi-tools" in cluster("get", "extensions")
    assert entries(cp1) == [("B", "v1.13.1"), ("A", "v1.13.0")]
    site.wait("the new system to be kept", lambda: "removing fallback entry" in cp1.console)
    assert meta(cluster, CP1) == {}
    assert len(cluster("etcd", "members").splitlines()) == 2


def test_the_upgrade_of_1_13_pulls_installs_and_reboots_in_three_calls(cluster: Cluster, cp1: Machine) -> None:
    boots, image = len(cp1.exits), installer("v1.13.2")
    upgraded = cluster.attempt("upgrade", "--drain=false", "--image", image, *NOW, timeout=120)
    assert upgraded.returncode == 0, upgraded.stderr
    output = upgraded.stdout + upgraded.stderr
    assert f"{CP1}: pulled image {image.removesuffix(':v1.13.2')}@sha256:" in output
    assert f"{CP1}: upgrade completed" in output
    assert cp1.exits[boots:] == [REBOOT]
    assert version(cluster, CP1) == "v1.13.2"
    assert "iscsi-tools" not in cluster("get", "extensions")
    assert entries(cp1) == [("A", "v1.13.2"), ("B", "v1.13.1")]


def test_images(cluster: Cluster, cp1: Machine) -> None:
    image = installer("v1.13.3")
    assert image not in cluster("image", "list", "--namespace", "system")
    cluster("image", "pull", "--namespace", "system", image)
    listed = cluster("image", "list", "--namespace", "system")
    assert image in listed
    assert installer("v1.13.2") in listed, "the disk keeps it through the reboot"
    assert image not in cluster("image", "list", "--namespace", "inmem")
    other = cluster.attempt("image", "pull", "registry.k8s.io/pause:3.10")
    assert "the lab knows factory.talos.dev and ghcr.io/siderolabs/installer" in other.stderr
    cluster("image", "remove", "--namespace", "system", image)
    assert image not in cluster("image", "list", "--namespace", "system")
    gone = cluster.attempt("image", "remove", "--namespace", "system", image)
    assert gone.returncode != 0
    assert f"image {image} not found" in gone.stderr


def test_a_rollback_boots_the_other_entry(site: Site, cluster: Cluster, cp1: Machine) -> None:
    boots = len(cp1.exits)
    cluster("rollback")
    site.wait("v1.13.1", partial(runs_version, cluster, CP1, "v1.13.1"))
    assert cp1.exits[boots:] == [REBOOT]
    assert entries(cp1) == [("B", "v1.13.1"), ("A", "v1.13.2")]


def test_a_staged_upgrade_is_installed_at_the_next_boot(site: Site, cluster: Cluster, cp1: Machine) -> None:
    boots = len(cp1.exits)
    staged = cluster.attempt("upgrade", "--legacy", "--stage", "--image", installer("v1.13.3"), *NOW, timeout=120)
    assert staged.returncode == 0, staged.stderr
    site.wait("v1.13.3", partial(runs_version, cluster, CP1, "v1.13.3"))
    assert cp1.exits[boots:] == [REBOOT, REBOOT], "into the old system, which installs, and into the new one"
    assert "staged upgrade successful" in cp1.console
    assert entries(cp1) == [("A", "v1.13.3"), ("B", "v1.13.1")]
    site.wait("an empty META", lambda: meta(cluster, CP1) == {})


def test_an_image_that_dies_gives_way_to_the_one_before(site: Site, cluster: Cluster, cp1: Machine) -> None:
    (cp1.folder / "faults.json").write_text(json.dumps({"brokenImages": ["v1.13.4"]}))
    boots = len(cp1.exits)
    upgraded = cluster.attempt("upgrade", "--drain=false", "--image", installer("v1.13.4"), *NOW, timeout=120)
    assert upgraded.returncode == 0, "talosctl only waits for a machine that is ready after another boot"
    site.wait("v1.13.3", partial(runs_version, cluster, CP1, "v1.13.3"))
    assert cp1.exits[boots:] == [REBOOT, REBOOT]
    assert 'reverting failed upgrade, switching to "A"' in cp1.console
    assert entries(cp1) == [("A", "v1.13.3"), ("B", "v1.13.4")]
    assert meta(cluster, CP1) == {}


def test_ways_to_reboot(cluster: Cluster, cp1: Machine) -> None:
    for mode, said in (
        ("default", "prepared kexec environment"),
        ("powercycle", "kexec skipped as reboot with power cycle was requested"),
        ("force", "reboot sequence: 1 phase(s)"),
    ):
        boots, before = len(cp1.exits), len(cp1.console)
        cluster("reboot", "--mode", mode, *NOW, timeout=120)
        assert cp1.exits[boots:] == [REBOOT]
        assert said in cp1.console[before:], mode


def test_two_members_do_not_survive_an_upgrade(site: Site, cluster: Cluster, cp1: Machine) -> None:
    cp2 = site.machine("cp2", CP2)
    cp2.start()
    site.wait("maintenance mode", partial(in_maintenance, site, CP2))
    assert apply_insecurely(site, CP2, cluster.config("controlplane", named("cp2"))).returncode == 0
    site.wait("cp2", partial(cluster.runs, CP2))
    cluster("image", "pull", "--namespace", "system", installer("v1.13.1"), endpoint=CP1, node=CP2)
    refused = cluster.attempt("upgrade", "--legacy", "--image", installer("v1.13.1"), *NOW, node=CP2)
    assert refused.returncode != 0
    assert (
        "error validating etcd for upgrade: etcd member count(2) is insufficient to maintain quorum" in refused.stderr
    )
    assert entries(cp2) == [("A", "v1.13.0")]
    forced = cluster.attempt(
        "upgrade", "--legacy", "--force", "--image", installer("v1.13.1"), *NOW, endpoint=CP1, node=CP2, timeout=120
    )
    assert forced.returncode == 0, forced.stderr
    assert version(cluster, CP2) == "v1.13.1"


def test_a_member_is_removed_by_another_and_its_machine_shut_down(site: Site, cluster: Cluster, cp1: Machine) -> None:
    cp2 = site.machines[-1]
    member = next(line.split()[1] for line in cluster("etcd", "members").splitlines() if " cp2 " in line)
    unknown = cluster.attempt("etcd", "remove-member", "beef")
    assert "NotFound" in unknown.stderr
    # etcd removes nobody before all have been connected for a while: the quorum of two goes with either.
    site.wait("the removal", lambda: cluster.attempt("etcd", "remove-member", member).returncode == 0)
    assert "cp2" not in cluster("etcd", "members")
    stopped = cluster.attempt("shutdown", *NOW, endpoint=CP1, node=CP2, timeout=120)
    assert stopped.returncode == 0, stopped.stderr
    site.wait("power off", lambda: cp2.process is None)
    assert cp2.exits[-1] == 0


def test_the_configuration_is_patched_and_edited(site: Site, cluster: Cluster, cp1: Machine) -> None:
    boots = len(cp1.exits)

    def label(name: str) -> str:
        return json.dumps({"machine": {"nodeLabels": {name: "yes"}}})

    def configuration(which: str) -> str:
        return cluster("get", "machineconfig", which, "-o", "yaml")

    file = {"path": "/var/x", "permissions": 0o600, "op": "create", "content": "x"}
    files = json.dumps({"machine": {"files": [file]}})
    full = json.dumps({"cluster": {"etcd": {"extraArgs": {"quota-backend-bytes": "1"}}}})
    assert "without a reboot" in cluster.attempt("patch", "mc", "--patch", label("patched")).stderr
    assert "patched: yes" in configuration("v1alpha1").replace('"', "")
    refused = cluster.attempt("patch", "mc", "--mode", "no-reboot", "--patch", files)
    assert "this config change can't be applied in immediate mode" in refused.stderr
    assert "/var/x" in cluster.attempt("patch", "mc", "--dry-run", "--patch", files).stderr
    cluster("patch", "mc", "--mode", "staged", "--patch", label("staged"))
    assert "staged: yes" not in configuration("v1alpha1").replace('"', "")
    assert "staged: yes" in configuration("persistent").replace('"', "")
    cluster("patch", "mc", "--mode", "try", "--timeout", "2s", "--patch", label("tried"))
    assert "tried: yes" in configuration("v1alpha1").replace('"', "")
    site.wait("the trial's end", lambda: "tried" not in configuration("v1alpha1"))
    editor = site.folder / "editor"
    editor.write_text('#!/bin/sh\nsed -i \'s/patched: .*/edited: "yes"/\' "$1"\n')
    editor.chmod(0o755)
    site.environment["EDITOR"] = str(editor)
    cluster("edit", "mc", "--mode", "no-reboot")
    assert "edited: yes" in configuration("v1alpha1").replace('"', "")
    assert len(cp1.exits) == boots
    rebooting = cluster.attempt("patch", "mc", "--mode", "reboot", "--patch", files, "--patch", full)
    assert "with a reboot" in rebooting.stderr
    site.wait("a reboot", lambda: len(cp1.exits) > boots)
    site.wait("running", partial(cluster.runs, CP1))
    assert "/var/x" in configuration("v1alpha1")


def test_a_full_etcd_refuses_an_upgrade_and_raises_an_alarm(cluster: Cluster, cp1: Machine) -> None:
    assert "NOSPACE" not in cluster("etcd", "alarm", "list")
    before = entries(cp1)
    refused = cluster.attempt("upgrade", "--legacy", "--image", installer("v1.13.1"), *NOW)
    assert refused.returncode != 0
    assert "failed to acquire upgrade mutex" in refused.stderr
    assert "etcdserver: mvcc: database space exceeded" in refused.stderr
    assert entries(cp1) == before
    assert "NOSPACE" in cluster("etcd", "alarm", "list")
    assert "NOSPACE" in cluster("etcd", "status")
    assert "NOSPACE" in cluster("etcd", "alarm", "disarm")
    assert "NOSPACE" not in cluster("etcd", "alarm", "list")


def test_an_older_machine_knows_the_legacy_upgrade_only(site: Site) -> None:
    """With UEFI, so that the entries are files of systemd-boot."""
    old = Cluster(site, "old", OLD, contract="v1.10")
    firmware = {"kind": "ovmf", "secureBoot": False, "efiDisk": True, "keys": "none"}
    medium = {"device": "/dev/sr0", "image": image("v1.10.9", "metal")}
    machine = site.machine("old", OLD, cdrom=medium, firmware=firmware)
    machine.start()
    site.wait("maintenance mode", partial(in_maintenance, site, OLD))
    config = old.config("controlplane", {"machine": {"network": {"hostname": "old"}}}, version="v1.10.9")
    assert apply_insecurely(site, OLD, config).returncode == 0
    site.wait("bootstrap", lambda: old.attempt("bootstrap").returncode == 0)
    site.wait("running", partial(old.runs, OLD))
    boots = len(machine.exits)
    too_far = old.attempt("upgrade", "--drain=false", "--image", installer("v1.13.0"), *NOW, timeout=120)
    assert "New upgrade API is not available, falling back to legacy" in too_far.stdout + too_far.stderr
    assert too_far.returncode != 0
    assert "pre-flight checks failed: host version 1.10.9 is too old to upgrade to Talos 1.13.0" in too_far.stderr
    site.wait("v1.10.9 again", partial(runs_version, old, OLD, "v1.10.9"))
    assert len(machine.exits) == boots + 1, "a sequence that fails reboots the machine"
    assert entries(machine) == [("Talos-v1.10.9.efi", "v1.10.9")]
    assert "unknown service machine.ImageService" in old.attempt("image", "remove", installer("v1.12.3")).stderr
    old("image", "pull", installer("v1.12.3"))
    assert installer("v1.12.3") in old("image", "list")
    upgraded = old.attempt("upgrade", "--drain=false", "--image", installer("v1.12.3"), *NOW, timeout=120)
    assert upgraded.returncode == 0, upgraded.stderr
    assert version(old, OLD) == "v1.12.3"
    assert entries(machine) == [("Talos-v1.12.3.efi", "v1.12.3"), ("Talos-v1.10.9.efi", "v1.10.9")]
    assert "Talos-v1.12.3.efi" in old("get", "bootedentries")
