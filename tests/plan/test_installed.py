"""What an edit of cluster.yaml cannot change, because the machines are installed already."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from cluster_stack.config import ClusterFile, load_text
from cluster_stack.plan import upgrades
from cluster_stack.plan.installed import installation
from cluster_stack.plan.upgrades import NEW, Previous

FILE = "clusters/small/cluster.yaml"
HOMELAB = (Path(__file__).parents[2] / "clusters/homelab/cluster.yaml").read_text()


def small(talos: str = "", vm: str = "", cni: str = "flannel") -> ClusterFile:
    text = f"""\
metadata: {{name: small}}
cluster:
  talos: {{version: v1.13.0{talos}}}
  cni: {{name: {cni}}}
  topology: {{controlPlane: {{count: 1}}, workers: {{count: 0}}}}
proxmox:
  endpoint: https://px.example:8006/
  node: ms01
  storage: {{datastore: local}}
  vm: {{idBase: 700{vm}}}
"""
    return load_text(text.encode(), FILE)


def told(before: ClusterFile, after: ClusterFile) -> list[str]:
    previous = Previous(installation=installation(before.config))
    return [str(problem).removeprefix(FILE) for problem in upgrades.check(after, previous)]


NO_ENCRYPTION = "the disks of this cluster have the encryption `none`. "
NOT_OPENED = "With another one, Talos would not open them at its next start. "


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        (
            ("",),
            (", diskEncryption: tpm",),
            f":3: cluster.talos.diskEncryption: {NO_ENCRYPTION}{NOT_OPENED}"
            "Remove the key: only a new cluster can have it otherwise.",
        ),
        (
            (", diskEncryption: tpm",),
            (", diskEncryption: nodeID", ", tpm: true"),
            ":3: cluster.talos.diskEncryption: the disks of this cluster have the encryption `tpm`. "
            f"{NOT_OPENED}Write `diskEncryption: tpm`: only a new cluster can have it otherwise.",
        ),
        (
            (", secureboot: true",),
            ("",),
            ":3: cluster.talos.secureboot: this cluster was installed with Secure Boot, and no upgrade of Talos "
            "changes that. Write `secureboot: true`: only a new cluster can have it otherwise.",
        ),
        (
            ("", ", bios: ovmf"),
            (", secureboot: true",),
            ":3: cluster.talos.secureboot: this cluster was installed without Secure Boot, and no upgrade of Talos "
            "changes that. Remove the key: only a new cluster can have it otherwise.",
        ),
        (
            ("",),
            ("", ", tpm: true"),
            ":10: proxmox.vm.tpm: the machines of this cluster have the firmware seabios, and since their first start "
            "their disks have the boot loader for no other. Remove the key: a TPM needs the firmware ovmf.",
        ),
        (
            ("", ", tpm: true"),
            ("",),
            ":10: proxmox.vm.bios: the machines of this cluster have the firmware ovmf, and since their first start "
            "their disks have the boot loader for no other. Write `bios: ovmf`.",
        ),
    ],
)
def test_a_cluster_stays_installed_as_it_is(before: tuple[str, ...], after: tuple[str, ...], expected: str) -> None:
    assert told(small(*before), small(*after)) == [expected]
    assert told(small(*after), small(*after)) == []
    assert list(upgrades.check(small(*after), NEW)) == []


def test_what_an_iso_installed_boots_under_either_firmware() -> None:
    def homelab(bios: str) -> ClusterFile:
        return load_text(
            HOMELAB.replace("idBase: 800", f"idBase: 800\n    bios: {bios}").encode(), "clusters/homelab/cluster.yaml"
        )

    assert told(homelab("seabios"), homelab("ovmf")) == []


def test_nobody_takes_the_old_pod_network_away() -> None:
    flannel, cilium, none = (small(cni=name) for name in ("flannel", "cilium", "none"))
    assert told(flannel, cilium) == [
        ":4: cluster.cni.name: the pods of this cluster are connected by flannel, which nobody would remove: flannel "
        "and cilium would both run. Write `name: flannel`. To move a cluster that runs, write `name: none`, follow the "
        "guide of cilium for migrations, and write `name: cilium` when it is done."
    ]
    assert [line.partition(": the pods")[0] for line in told(cilium, flannel)] == [":4: cluster.cni.name"]
    assert told(flannel, none) == told(none, cilium) == told(cilium, cilium) == []


def test_a_state_that_does_not_tell_the_pod_network_forbids_none() -> None:
    before = replace(installation(small().config), pod_network=None)
    assert list(upgrades.check(small(cni="cilium"), Previous(installation=before))) == []
