"""Talos' suite, as far as it can be judged without running it."""

from __future__ import annotations

import socket
from pathlib import Path

import yaml

from tests.conformance.expectations import Expectations
from tests.conformance.talos import cluster, configurations
from tests.conformance.talos.suite import PACKAGE, Talos
from toolchain.pins import TALOS


def test_the_data_file_names_the_package_of_the_suite() -> None:
    assert set(Expectations.read(Talos.folder / "expectations.yaml").packages) == {PACKAGE}


def test_the_cluster_is_of_the_version_of_the_tests() -> None:
    assert yaml.safe_load(cluster.FILE.read_text())["cluster"]["talos"]["version"] == f"v{TALOS}"


def test_the_tests_are_told_of_every_machine(tmp_path: Path) -> None:
    cluster.write_state(tmp_path)
    state = yaml.safe_load((tmp_path / cluster.NAME / "state.yaml").read_text())
    machines = {node["name"]: (node["type"], *node["ips"]) for node in state["clusterinfo"]["nodes"]}
    assert machines["suites-cp3"] == ("controlplane", "10.42.0.53")
    assert machines["suites-worker1"] == ("worker", "10.42.0.61")
    assert len(machines) == 5


def test_the_secrets_of_a_configuration_are_found_wherever_they_are() -> None:
    documents = [{"machine": {"token": "a", "ca": {"crt": "public", "key": "b"}}}, {"contexts": [{"key": "c"}]}, None]
    assert list(cluster.secrets_in(documents)) == ["a", "b", "c"]


def test_a_machine_that_is_off_is_not_in_maintenance() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        assert not configurations.in_maintenance("127.0.0.1", unused.getsockname()[1])
