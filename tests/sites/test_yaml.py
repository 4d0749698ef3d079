"""How YAML is read: as YAML 1.1 has it, less what everybody else takes for text."""

from __future__ import annotations

import pytest

from cluster_stack.config.document import Document, dotted, parse


def read(text: str) -> Document:
    return parse(text.encode(), "clusters/homelab/cluster.yaml")


@pytest.mark.parametrize(
    ("written", "value"),
    [
        ("yes", True),
        ("off", False),
        ("~", None),
        ("", None),
        ("0x1f", 31),
        ("1_000", 1000),
        ("-7", -7),
        ("0", 0),
        ("1.5", 1.5),
        ('"yes"', "yes"),
        ("08", "08"),
        # numbers of YAML 1.1, text in YAML 1.2
        ("12:30", "12:30"),
        ("10:20:30:40:50:11", "10:20:30:40:50:11"),
        ("1:30.5", "1:30.5"),
        ("2026-11-24", "2026-11-24"),
        ("2026-11-24T12:00:00Z", "2026-11-24T12:00:00Z"),
        ("=", "="),
        ("!!str 5", "5"),
        ("!!int '5'", 5),
    ],
)
def test_a_value(written: str, value: object) -> None:
    found = read(f"key: {written}\n").data["key"]
    assert (found, type(found)) == (value, type(value))


def test_values_that_are_not_text_are_known_as_they_are_written() -> None:
    document = read("a: [yes, 0x1f, text]\nb: {c: ~}\n")
    assert document.written == {("a", 0): "yes", ("a", 1): "0x1f", ("b", "c"): "~"}


def test_a_merge_gives_way_to_the_mappings_own_keys_and_to_earlier_sources() -> None:
    document = read(
        "one: &one {a: 1, b: 1, c: 1}\n"
        "two: &two {<<: *one, b: 2, d: 2}\n"
        "all: {a: 0, <<: [*two, *one]}\n"
        "last:\n"
        "  <<: *one\n"
        "  a: 0\n"
    )
    assert document.data["all"] == {"a": 0, "b": 2, "c": 1, "d": 2}
    assert document.data["last"] == {"a": 0, "b": 1, "c": 1}
    lines = {key: document.line(("all", key)) for key in "abcd"}
    assert lines == {"a": 3, "b": 2, "c": 1, "d": 2}
    assert document.line(("last", "a")) == 6


@pytest.mark.parametrize(
    ("path", "text"),
    [
        (("cluster", "topology", "nodePools", 0, "name"), "cluster.topology.nodePools[0].name"),
        (("cluster", "topology", "nodes", "homelab-cp1", "vmId"), "cluster.topology.nodes.homelab-cp1.vmId"),
        (("metadata", "labels", "example.com/site"), "metadata.labels['example.com/site']"),
        (("registries", "mirrors", "docker.io", "endpoints", 1), "registries.mirrors['docker.io'].endpoints[1]"),
        (("a key", "b\nc"), "['a key']['b\\nc']"),
        (("x" * 100,), f"['{'x' * 57}...']"),
        ((), ""),
    ],
)
def test_a_path_as_a_person_reads_it(path: tuple[str | int, ...], text: str) -> None:
    assert dotted(path) == text
