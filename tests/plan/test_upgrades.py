"""What an edit of versions, or of what machines boot, is told beside what the versions themselves say."""

from __future__ import annotations

import pytest

from cluster_stack.config import ClusterFile, load_text
from cluster_stack.plan import upgrades
from cluster_stack.plan.upgrades import NEW, Previous

FILE = "clusters/small/cluster.yaml"


def small(talos: str, kubernetes: str, iso: str = "talos.iso") -> ClusterFile:
    text = f"""\
metadata: {{name: small}}
cluster:
  talos: {{version: {talos}}}
  kubernetes: {{version: {kubernetes}}}
  topology: {{controlPlane: {{count: 1}}, workers: {{count: 0}}}}
proxmox:
  endpoint: https://px.example:8006/
  node: ms01
  storage: {{datastore: local, isoPath: "local:iso/{iso}"}}
  vm: {{idBase: 700}}
"""
    return load_text(text.encode(), FILE)


def told(file: ClusterFile, previous: Previous = NEW) -> list[str]:
    return [str(problem) for problem in upgrades.check(file, previous)]


def test_a_kubernetes_that_only_the_new_talos_runs_waits_for_it() -> None:
    before = Previous(talos="v1.12.12", kubernetes="1.35.10", contract="v1.12.0")
    assert told(small("v1.13.11", "1.36.6"), before) == [
        f"{FILE}:4: cluster.kubernetes.version: the machines run Talos v1.12.12 until each of them is upgraded, and "
        "that does not run Kubernetes 1.36.6. Write Kubernetes 1.35.10 again, run `pulumi up` and upgrade every "
        "machine; then write the new version."
    ]
    assert told(small("v1.13.11", "1.35.10"), before) == []
    assert told(small("v1.13.11", "1.36.6"), Previous(talos="v1.13.11", kubernetes="1.35.10")) == []


def test_a_kubernetes_that_both_run_goes_with_the_new_talos() -> None:
    before = Previous(talos="v1.12.12", kubernetes="1.34.3", contract="v1.12.0")
    assert told(small("v1.13.11", "1.35.10"), before) == []


OLD_ISO = (
    f"{FILE}:9: proxmox.storage.isoPath: the ISO boots Talos v1.11.5, which does not take the machine configuration of "
    "a cluster that began with Talos {}. Upload an ISO of Talos v1.13 or newer, and write its name here."
)


@pytest.mark.parametrize(
    ("version", "iso", "contract", "expected"),
    [
        ("v1.13.0", "talos-1.11.5-amd64.iso", None, [OLD_ISO.format("v1.13.0")]),
        ("v1.13.0", "talos-1.13.0-amd64.iso", None, []),
        ("v1.13.0", "mine.iso", None, []),
        ("v1.12.0", "talos-1.11.5-amd64.iso", None, []),
        ("v1.13.0", "talos-1.11.5-amd64.iso", "v1.12.3", []),
        ("v1.12.0", "talos-1.13.0-amd64.iso", None, []),
    ],
)
def test_an_iso_from_before_the_mode_without_reboot(
    version: str, iso: str, contract: str | None, expected: list[str]
) -> None:
    assert told(small(version, "1.34.0", iso), Previous(from_state=True, talos=contract, contract=contract)) == expected


def test_without_the_state_nobody_knows_with_what_a_cluster_began() -> None:
    assert told(small("v1.13.0", "1.34.0", "talos-1.11.5-amd64.iso")) == []
