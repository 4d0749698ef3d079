"""What faults mean for one machine, whether or not anything runs."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from lab.network.faults import NetworkFaults, SlowNic


def test_a_nic_is_cut_off_by_itself_with_its_machine_or_with_its_host() -> None:
    assert not NetworkFaults().cuts(800, "ms01", "eth0")
    assert NetworkFaults(cut_nics=frozenset({(800, "eth0")})).cuts(800, "ms01", "eth0")
    assert not NetworkFaults(cut_nics=frozenset({(800, "eth0")})).cuts(800, "ms01", "eth1")
    assert NetworkFaults(cut_machines=frozenset({800})).cuts(800, "ms01", "eth1")
    assert not NetworkFaults(cut_machines=frozenset({800})).cuts(801, "ms01", "eth0")
    assert NetworkFaults(cut_hosts=frozenset({"ms01"})).cuts(801, "ms01", "eth0")
    assert not NetworkFaults(cut_hosts=frozenset({"ms01"})).cuts(801, "ms02", "eth0")
    assert not NetworkFaults(cut_hosts=frozenset({"ms01"})).cuts(801, None, "eth0")


def test_the_slowest_of_several_limits_holds() -> None:
    slow = [SlowNic(vmid=800, nic="eth0", kilobits_per_second=rate) for rate in (500, 64, 1000)]
    faults = NetworkFaults(slow_nics=tuple(slow))
    assert (faults.limit(800, "eth0"), faults.limit(800, "eth1"), faults.limit(801, "eth0")) == (64, None, None)
    with pytest.raises(ValidationError):
        SlowNic(vmid=800, nic="eth0", kilobits_per_second=0)


def test_a_machine_is_deaf_one_way() -> None:
    faults = NetworkFaults(one_way=frozenset({(800, 801), (802, 801), (801, 803)}))
    assert [faults.unheard_by(vmid) for vmid in (800, 801, 803)] == [set(), {800, 802}, {801}]
