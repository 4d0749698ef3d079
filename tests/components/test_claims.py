"""Machines that say that one address is theirs."""

from __future__ import annotations

import pulumi
import pytest

from cluster_stack import project
from cluster_stack.components.claims import AddressClaims
from cluster_stack.plan.nodes import NodePlan

BOTH = r"homelab-worker1 \(VM 810 on ms01\) and homelab-cp1 \(VM 800 on ms01\) have the same address, 10\.0\.0\.7"


@pytest.fixture
def nodes() -> tuple[NodePlan, ...]:
    return project.plan("homelab").nodes


def test_each_has_its_own(nodes: tuple[NodePlan, ...]) -> None:
    claims = AddressClaims()
    assert [claims.claim(node, f"10.0.0.{node.vm_id % 100}", None) for node in nodes] == ["10.0.0.0", "10.0.0.10"]
    assert claims.claim(nodes[0], "10.0.0.0", None) == "10.0.0.0"


@pytest.mark.parametrize(
    ("macs", "words"),
    [
        (
            ("bc:24:11:00:00:01", "BC:24:11:00:00:01"),
            BOTH + r", because they have the same MAC address, BC:24:11:00:00:01: .* remove the VM that is newer.*"
            r"cluster\.topology\.nodes\.homelab-worker1\.macAddress",
        ),
        (
            ("BC:24:11:00:00:01", "BC:24:11:00:00:02"),
            BOTH + r" \(MAC addresses BC:24:11:00:00:02 and BC:24:11:00:00:01\)\. Look at the DHCP server",
        ),
        ((None, "BC:24:11:00:00:02"), BOTH + r"\. Look at the DHCP server"),
    ],
    ids=["one MAC address", "two MAC addresses", "one not known"],
)
def test_the_second_is_told(nodes: tuple[NodePlan, ...], macs: tuple[str | None, str | None], words: str) -> None:
    claims = AddressClaims()
    claims.claim(nodes[0], "10.0.0.7", macs[0])
    with pytest.raises(pulumi.RunError, match=words):
        claims.claim(nodes[1], "10.0.0.7", macs[1])
