"""What a preview says of control planes that go, while they are still members of etcd."""

from __future__ import annotations

import pytest

from cluster_stack.config import load_text
from cluster_stack.plan import quorum
from cluster_stack.plan.nodes import plan_nodes

FILE = "clusters/small/cluster.yaml"
TEXT = """\
metadata: {name: small}
cluster:
  talos: {version: v1.13.0}
  topology:
    controlPlane:
      count: COUNT
    workers: {count: 0}
proxmox:
  endpoint: https://px.example:8006/
  node: ms01
  storage: {datastore: local}
  vm: {idBase: 700}
"""
KEY = f"{FILE}:6: cluster.topology.controlPlane.count: "
LEAVE = "Before the update, one after another: `talosctl etcd leave` on"


@pytest.mark.parametrize(
    ("before", "count", "said"),
    [
        (0, 3, []),
        (1, 3, []),
        (3, 3, []),
        (
            3,
            1,
            [f"{KEY}1 of 3 members of etcd stay, and with less than 2 it stops. {LEAVE} small-cp2, small-cp3."],
        ),
        (
            5,
            3,
            [
                f"{KEY}etcd goes on with 3 of 5 members, and counts the others until they leave. "
                f"{LEAVE} small-cp4, small-cp5."
            ],
        ),
    ],
)
def test_fewer_control_planes(before: int, count: int, said: list[str]) -> None:
    file = load_text(TEXT.replace("COUNT", str(count)).encode(), FILE)
    names = [f"small-cp{number}" for number in range(1, before + 1)]
    assert [str(problem) for problem in quorum.warnings(file, plan_nodes(file.config), names)] == said
