"""The sentence at the top: what is broken comes first, then what is on its way."""

from __future__ import annotations

from typing import Any

import pytest

from lab.faults.fault import Fault, Faults
from lab.page import faults
from lab.page.headline import headline


def vm(name: str, stage: str | None = "running", **more: Any) -> dict[str, Any]:
    made: dict[str, Any] = {"name": name, "power": "on" if stage else "off", "foreign": False, "template": False}
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


def test_what_holds_has_a_line_and_what_waits_has_none() -> None:
    holding = Faults(
        (
            Fault(kind="network-cut", target="800"),
            Fault(kind="delay", target="boot", options={"seconds": 2.0}),
            Fault(kind="api-error", at=3),
        )
    )
    assert faults.broken(holding) == ["The network of a VM is cut: network-cut 800"]
    assert faults.unusual_delays(holding) == ["Not as usual: delay boot --seconds 2.0"]
