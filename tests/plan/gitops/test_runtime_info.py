"""The facts that reach the components: each is read from one key of cluster.yaml."""

from __future__ import annotations

import pytest

from cluster_stack.config import load_text
from cluster_stack.config.places import place_at
from cluster_stack.plan.gitops.runtime_info import FACTS, runtime_info
from tests.sites import text_of


def facts(site: str) -> dict[str, str]:
    return runtime_info(load_text(text_of(site).encode(), f"clusters/{site}/cluster.yaml").config, [])


def test_the_facts_of_a_site_with_its_own_network() -> None:
    assert facts("vip-static") == {
        "CLUSTER_DOMAIN": "cluster.local",
        "CLUSTER_NAME": "vip-static",
        "CLUSTER_VIP": "10.0.0.50",
        "CONTROL_PLANE_RANGE": "10.0.0.41-10.0.0.49",
        "NODE_NETWORK": "10.0.0.0/24",
        "POD_SUBNETS": "10.244.0.0/16",
        "PROXMOX_API": "https://10.0.0.5:8006/api2/json",
        "PROXMOX_DATASTORE": "local-lvm",
        "PROXMOX_INSECURE": "false",
        "PROXMOX_ZONES": "a,b,c",
        "SERVICE_SUBNETS": "10.96.0.0/12",
        "WORKER_RANGE": "10.0.0.51-10.0.0.99",
    }


def test_two_families_of_addresses_are_one_text() -> None:
    assert "," in facts("dual-stack")["POD_SUBNETS"]


@pytest.mark.parametrize("name", FACTS)
def test_the_key_that_is_named_in_messages_is_one(name: str) -> None:
    assert place_at(tuple(FACTS[name].key.split("."))).kind is not None
