"""What holds for every cluster.yaml, the ones that nobody has thought of included."""

from __future__ import annotations

import copy
import datetime
import shutil
from collections.abc import Callable, Hashable
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from cluster_stack.config import ClusterFile, ConfigError, load_text
from cluster_stack.plan import checks
from cluster_stack.plan.nodes import plan_nodes
from cluster_stack.project import PlannedCluster, Project
from tests.sites import SITES, VALID, text_of
from tests.sites.strategies import Data, clusters, grown, machine_names

NAME = "clusters/made/cluster.yaml"
_MANY = 3 * settings().max_examples
"""Examples where one takes little time."""


def load(data: Data) -> ClusterFile:
    return load_text(yaml.dump(data, Dumper=yaml.CSafeDumper).encode(), NAME)


@given(clusters())
def test_every_machine_has_its_own_id_name_and_address(data: Data) -> None:
    file = load(data)
    nodes = plan_nodes(file.config)
    assert [node.name for node in nodes] == machine_names(data)
    assert list(checks.check(file, nodes, Path())) == []
    traits: list[list[Hashable]] = [
        [node.vm_id for node in nodes],
        [node.cards[0].mac for node in nodes if node.cards[0].mac],
        [node.address for node in nodes if node.address],
    ]
    for values in traits:
        assert len(values) == len(set(values))
    hosts = {host.name for host in file.config.hosts}
    assert {node.host for node in nodes} <= hosts


@given(clusters().filter(lambda data: "network" in data["proxmox"]))
def test_every_address_is_in_its_range(data: Data) -> None:
    config = load(data).config
    ranges = config.proxmox.network.ip_ranges
    assert ranges is not None
    pools = {pool.name: pool.ip_range for pool in config.cluster.topology.node_pools}
    for node in plan_nodes(config):
        own = pools[node.pool] if node.pool else ranges.control_plane if node.role == "controlplane" else ranges.workers
        assert node.address is not None
        assert own is not None
        assert node.address.interface.ip in own
        assert node.address.interface.network == config.proxmox.network.cidr
        six = node.address.interface6
        assert (six.network if six else None) == config.proxmox.network.cidr6


@given(grown())
def test_more_machines_leave_the_others_as_they_are(pair: tuple[Data, Data]) -> None:
    few, many = (plan_nodes(load(data).config) for data in pair)
    after = {node.name: node for node in many}
    assert [after[node.name] for node in few] == list(few)


@given(clusters())
def test_a_file_that_is_written_anew_means_the_same(data: Data) -> None:
    config = load(data).config
    assert load(config.model_dump(by_alias=True, mode="json")).config == config


Plan = Callable[[str, bytes], PlannedCluster | ConfigError]


@pytest.fixture(scope="module")
def plan(tmp_path_factory: pytest.TempPathFactory) -> Plan:
    """Plans a site with other bytes in its cluster.yaml; anything but an answer is an exception."""
    projects = tmp_path_factory.mktemp("damaged")

    def answer(site: str, raw: bytes) -> PlannedCluster | ConfigError:
        root = projects / site
        file = root / "clusters" / site / "cluster.yaml"
        if not root.exists():
            shutil.copytree(VALID / site, file.parent)
        file.write_bytes(raw)
        try:
            return Project(root).plan(site)
        except ConfigError as error:
            return error

    return answer


def check(answer: PlannedCluster | ConfigError) -> None:
    if isinstance(answer, ConfigError):
        assert answer.problems
        assert all(problem.what and len(str(problem)) < 2000 for problem in answer.problems)


@st.composite
def damaged(draw: st.DrawFn) -> tuple[str, bytes]:
    """A site, and the text of its file with some bytes or lines that are not as they were."""
    site = draw(st.sampled_from(SITES))
    raw = text_of(site).encode()
    for _ in range(draw(st.integers(1, 3))):
        lines = raw.splitlines(keepends=True) or [b""]
        first, second = (draw(st.integers(0, len(lines) - 1)) for _ in range(2))
        place = draw(st.integers(0, max(len(raw) - 1, 0)))
        match draw(st.sampled_from(["flip", "insert", "delete", "swap", "repeat", "indent"])):
            case "flip":
                raw = raw[:place] + bytes(byte ^ 1 << draw(st.integers(0, 7)) for byte in raw[place : place + 1])
            case "insert":
                added = draw(st.sampled_from([b"\t", b"\0", b"\xff", b"- ", b": ", b"*a", b"&a ", b"'", b"[", b"{"]))
                raw = raw[:place] + added + raw[place:]
            case "delete":
                raw = raw[:place] + raw[place + draw(st.integers(1, 200)) :]
            case "swap":
                lines[first], lines[second] = lines[second], lines[first]
                raw = b"".join(lines)
            case "repeat":
                raw = b"".join([*lines[:first], lines[second], *lines[first:]])
            case "indent":
                raw = b"".join([*lines[:first], b" ", *lines[first:]])
    return site, raw


@settings(max_examples=_MANY)
@given(case=damaged())
def test_a_damaged_text_gets_an_answer(plan: Plan, case: tuple[str, bytes]) -> None:
    check(plan(*case))


_WRONG = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.sampled_from([2**63, 2**200, -1, 0, 1.5, float("nan"), float("inf")]),
    st.text(st.sampled_from("aZ09 -_.:/#'\"*&!|>%@`{}[],\n\té\u2028😀"), max_size=20),
    st.sampled_from([[], {}, [[]], [None], {"a": {"b": None}}, datetime.date(2026, 11, 24), "yes", "0x1f", "10:20"]),
)


@st.composite
def wrong_values(draw: st.DrawFn) -> tuple[str, bytes]:
    """A site, and its file with another value somewhere, of whatever type."""
    site = draw(st.sampled_from(SITES))
    data: Any = yaml.load(text_of(site), Loader=yaml.CSafeLoader)
    for _ in range(draw(st.integers(1, 2))):
        place = data
        while True:
            key = draw(st.sampled_from(sorted(place) if isinstance(place, dict) else range(len(place))))
            if not (isinstance(place[key], (dict, list)) and place[key]) or draw(st.integers(0, 9)) == 0:
                break
            place = place[key]
        place[key] = copy.deepcopy(draw(_WRONG))  # the next round may change something inside it
    return site, yaml.dump(data, Dumper=yaml.CSafeDumper, allow_unicode=True).encode()


@settings(max_examples=_MANY)
@given(case=wrong_values())
def test_a_value_of_another_type_gets_an_answer(plan: Plan, case: tuple[str, bytes]) -> None:
    check(plan(*case))
