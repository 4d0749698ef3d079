"""The sentence at the top: what is broken comes first, then what is on its way."""

from __future__ import annotations

from typing import Any

import pytest

from lab.control import Faults
from lab.page import faults
from lab.page.headline import headline


def vm(name: str, stage: str | None = "running", **more: Any) -> dict[str, Any]:
    made = {"name": name, "power": "on" if stage else "off", "foreign": False, "template": False}
    made |= {"cut_off": False, "unmet": []}
    if stage:
        made |= {"stage": stage, "ready": stage == "running", "talos": "v1.11.5"}
    return {**made, **more}


def cluster(up: int, voters: int = 3, errors: tuple[str, ...] = ()) -> dict[str, Any]:
    return {
        "c1": {
            "name": "homelab",
            "up": up,
            "voters": voters,
            "quorum": up > voters // 2,
            "members": {"m1": {"errors": list(errors)}},
        }
    }


NONE = "No machines yet: they appear here as `pulumi up` makes them."
THREE = [vm("cp1"), vm("cp2"), vm("cp3")]


@pytest.mark.parametrize(
    ("machines", "etcd", "mood", "text"),
    [
        ([], {}, "well", NONE),
        ([vm("pfsense", None, foreign=True)], {}, "well", NONE),
        (THREE, cluster(3), "well", "All 3 machines are ready."),
        ([vm("cp1")], cluster(1, 1), "well", "The machine is ready."),
        ([vm("cp1", None), vm("cp2", None)], {}, "well", "All 2 machines are off."),
        ([vm("cp1", "installing"), vm("cp2")], {}, "busy", "cp1 installs Talos v1.11.5."),
        ([vm("cp1", "booting"), vm("cp2", "booting")], {}, "busy", "cp1 and cp2 boot."),
        ([vm(f"w{n}", "maintenance") for n in range(9)], {}, "busy",
         "w0, w1, w2 and 6 more wait for their configurations."),
        ([vm("cp1"), vm("cp2", cut_off=True)], {}, "well", "1 of 2 machines is ready."),
        ([vm("cp1", None, task={"words": "created"})], {}, "busy", "cp1 is being created."),
        (THREE, cluster(2), "trouble", "2 of 3 etcd members are up: homelab still has a quorum."),
        (THREE, cluster(1), "trouble", "1 of 3 etcd members is up: homelab has lost its quorum."),
        (THREE, cluster(3, errors=("memberID:1 alarm:NOSPACE",)), "trouble",
         "etcd of homelab has an alarm: memberID:1 alarm:NOSPACE."),
        ([vm("cp1", ready=False, unmet=[{"name": "services", "reason": "kubelet not running"}])], {}, "trouble",
         "cp1 runs and is not ready (services: kubelet not running)."),
    ],
)  # fmt: skip
def test_what_is_going_on(machines: list[dict[str, Any]], etcd: dict[str, Any], mood: str, text: str) -> None:
    found = headline(machines, etcd, [])
    assert (found["mood"], found["text"]) == (mood, text)


def test_what_is_broken_comes_before_what_is_on_its_way() -> None:
    found = headline([*THREE, vm("cp4", "booting")], cluster(2), ["DHCP answers nobody."])
    assert [found["text"], *found["more"]] == [
        "2 of 3 etcd members are up: homelab still has a quorum.",
        "DHCP answers nobody.",
        "cp4 boots.",
        "3 of 4 machines are ready.",
    ]


def test_every_fault_has_a_sentence() -> None:
    every: dict[str, Any] = {
        "revoked_privileges": ["VM.Audit"],
        "dhcp_silent": True,
        "dhcp_silent_for": ["BC:24:11:00:00:01"],
        "missing_volumes": ["local:iso/x.iso"],
        "occupied_vmids": [900],
        "proxmox_unreachable": True,
    }
    delays = {"boot_seconds": 1, "install_seconds": 1, "service_seconds": 1, "task_seconds": 1}
    network: dict[str, Any] = {
        "cut_machines": [800],
        "cut_nics": [(801, "eth0")],
        "cut_hosts": ["ms02"],
        "slow_nics": [{"vmid": 800, "nic": "eth0", "kilobits_per_second": 64}],
        "one_way": [(800, 801)],
    }
    assert {*every, *delays, "network"} == set(Faults.model_fields)
    assert set(network) == set(type(Faults().network).model_fields)
    for name, value in every.items():
        assert len(faults.broken(Faults.model_validate({name: value}))) == 1, name
    for name, value in delays.items():
        slow = Faults.model_validate({name: value})
        assert (faults.broken(slow), len(faults.unusual_delays(slow))) == ([], 1), name
    for name, value in network.items():
        assert len(faults.broken(Faults.model_validate({"network": {name: value}}))) == 1, name
    assert faults.broken(Faults()) == faults.unusual_delays(Faults()) == []
