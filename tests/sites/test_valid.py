"""Every site's cluster.yaml is taken, and what follows from it is what ``expected.yaml`` beside it says."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from cluster_stack.config import load_text
from cluster_stack.config.reference.keys import NAMED, dotted, keys
from cluster_stack.plan.nodes import plan_nodes
from tests.sites import SITES, VALID, project, summary, text_of


@pytest.mark.parametrize("site", SITES)
def test_what_follows_from_a_site(site: str, tmp_path: Path) -> None:
    expected = (VALID / site / "expected.yaml").read_text(encoding="utf-8")
    assert summary(project(tmp_path, site).plan(site)) == yaml.load(expected, Loader=yaml.CSafeLoader)


@pytest.mark.parametrize("site", SITES)
def test_a_file_that_is_written_anew_means_the_same(site: str) -> None:
    name = f"clusters/{site}/cluster.yaml"
    config = load_text(text_of(site).encode(), name).config
    text = yaml.dump(config.model_dump(by_alias=True, mode="json"), Dumper=yaml.CSafeDumper)
    again = load_text(text.encode(), name).config
    assert again == config
    assert plan_nodes(again) == plan_nodes(config)


@pytest.mark.parametrize("control_planes", [1, 3, 5, 7, 9])
def test_the_originals_file_at_every_size(control_planes: int) -> None:
    for workers in (0, 1, 3, 10, 90):
        head, middle, tail = text_of("homelab").split("count: 3")
        text = f"{head}count: {control_planes}{middle}count: {workers}{tail}"
        nodes = plan_nodes(load_text(text.encode(), "clusters/homelab/cluster.yaml").config)
        assert [(node.name, node.vm_id) for node in nodes] == [
            *((f"homelab-cp{number + 1}", 800 + number) for number in range(control_planes)),
            *((f"homelab-worker{number + 1}", 810 + number) for number in range(workers)),
        ]


def test_neighbours_that_leave_each_other_room(tmp_path: Path) -> None:
    neighbours = project(tmp_path, "lan-blue", "lan-green", "homelab", "dev", "prod", "pools", "no-dhcp")
    for site in neighbours.names:
        assert neighbours.plan(site).warnings == ()


def test_every_key_is_set_somewhere() -> None:
    sites = [yaml.load(text_of(site), Loader=yaml.CSafeLoader) for site in SITES]
    unset = [dotted(key.path) for key in keys() if not any(_has(site, key.path) for site in sites)]
    assert unset == []


def _has(data: object, path: tuple[str, ...]) -> bool:
    """Is a key set, in any item of the lists and under any of the names on its path?"""
    if not path:
        return True
    part, *rest = path
    if isinstance(data, list):
        return any(_has(item, tuple(rest)) for item in data)
    if not isinstance(data, dict):
        return False
    below = data.values() if part == NAMED else [data[part]] if part in data else []
    return any(_has(value, tuple(rest)) for value in below)
