"""A node without a range of the pods' network never becomes ready: the preview says so, with the network to write."""

from __future__ import annotations

from typing import Any

import pytest

from cluster_stack.config import load_text
from cluster_stack.plan import node_ranges
from cluster_stack.plan.nodes import plan_nodes

FILE = "clusters/large/cluster.yaml"
TEXT = """\
metadata: {name: large}
cluster:
  talos: {version: v1.13.0}
  kubernetes:
    podSubnets: PODS
    serviceSubnets: SERVICES
  cni: {name: CNI}
  topology:
    controlPlane: {count: 3}
    workers: {count: WORKERS}
proxmox:
  endpoint: https://px.example:8006/
  node: ms01
  storage: {datastore: local}
  vm: {idBase: 7000}
"""
KEY = f"{FILE}:5: cluster.kubernetes.podSubnets: "
IPV4 = "[10.244.0.0/16]"


def said(
    pods: str = IPV4, workers: int = 253, cni: str = "flannel", patch: dict[str, Any] | None = None
) -> tuple[list[str], list[str]]:
    """What is refused, and what is warned of."""
    services = "[10.96.0.0/12, 'fd00:96::/112']" if "," in pods else "['fd00:96::/112']"
    services = services if ":" in pods else "[10.96.0.0/12]"
    text = TEXT.replace("PODS", pods).replace("SERVICES", services).replace("CNI", cni).replace("WORKERS", f"{workers}")
    file = load_text(text.encode(), FILE)
    nodes = plan_nodes(file.config)
    patches = {node.name: [patch] for node in nodes if patch and node.role == "controlplane"}
    refused = [str(problem) for problem in node_ranges.check(file, nodes, patches)]
    return refused, [str(problem) for problem in node_ranges.warnings(file, nodes, patches)]


def arguments(**given: object) -> dict[str, Any]:
    return {"cluster": {"controllerManager": {"extraArgs": {name.replace("_", "-"): given[name] for name in given}}}}


ONE_TOO_MANY = f"{KEY}10.244.0.0/16 is enough for 256 nodes, and there are 257: each takes a /24 of it. "


@pytest.mark.parametrize(
    ("workers", "refused"),
    [
        (253, []),
        (254, [f"{ONE_TOO_MANY}Write a /15 or a larger network."]),
    ],
)
def test_a_range_for_each_node(workers: int, refused: list[str]) -> None:
    assert said(workers=workers) == (refused, [])


def test_the_network_that_is_enough() -> None:
    refused, _ = said(workers=1022)  # 1025 nodes: one more than a /14 is enough for
    assert [text.rpartition(". ")[2] for text in refused] == ["Write a /13 or a larger network."]
    assert said(pods="[10.240.0.0/13]", workers=1022) == ([], [])


def test_another_pod_network_may_have_ranges_of_its_own() -> None:
    assert said(workers=254, cni="none") == ([], [f"{ONE_TOO_MANY}Write a /15 or a larger network."])


def test_each_address_family() -> None:
    assert said(pods="[10.244.0.0/15, 'fd00:10:244::/56']", workers=254) == (
        [
            f"{KEY}fd00:10:244::/56 is enough for 256 nodes, and there are 257: each takes a /64 of it. "
            "Write a /55 or a larger network."
        ],
        [],
    )
    assert said(pods="['fd00:10:244::/48']", workers=1000) == ([], [])


@pytest.mark.parametrize("cni", ["flannel", "none"])
def test_networks_that_the_controller_manager_does_not_take(cni: str) -> None:
    assert said(pods="[10.244.0.0/25]", workers=0, cni=cni)[0] == [
        f"{KEY}10.244.0.0/25 is smaller than the /24 that each node takes of it. "
        "Write a larger network: one /24 for each node."
    ]
    assert said(pods="['fd00:10::/40']", workers=0, cni=cni)[0] == [
        f"{KEY}fd00:10::/40 is larger than Kubernetes takes, with a /64 for each node. "
        "Write a /48 or a smaller network."
    ]


@pytest.mark.parametrize(
    ("patch", "refused"),
    [
        (arguments(node_cidr_mask_size="25"), False),
        (arguments(node_cidr_mask_size_ipv4=25), False),
        (arguments(node_cidr_mask_size_ipv4=["24", "25"]), False),
        (arguments(node_cidr_mask_size_ipv6="72"), True),
        (arguments(allocate_node_cidrs="false"), False),
        (arguments(allocate_node_cidrs=False), False),
        ({"cluster": {"network": {"podSubnets": ["10.240.0.0/12"]}}}, False),
        ({"machine": {"sysctls": {"vm.swappiness": "10"}}}, True),
    ],
)
def test_a_patch_that_decides_it(patch: dict[str, Any], refused: bool) -> None:
    assert bool(said(workers=254, patch=patch)[0]) is refused


def test_fewer_ranges_by_a_patch() -> None:
    refused, _ = said(workers=14, patch=arguments(node_cidr_mask_size="20"))
    assert refused == [
        f"{KEY}10.244.0.0/16 is enough for 16 nodes, and there are 17: each takes a /20 of it. "
        "Write a /15 or a larger network."
    ]
