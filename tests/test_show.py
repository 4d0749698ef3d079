"""`python -m cluster_stack show`: what reaches the terminal, the file, and programs."""

from __future__ import annotations

import json
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from cluster_stack import project
from cluster_stack.cli import main

ROOT = Path(__file__).parents[1]
GOOD = (ROOT / "clusters/homelab/cluster.yaml").read_text()


@pytest.fixture
def homelab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The cluster.yaml of a project with one cluster; the terminal has 100 columns."""
    monkeypatch.setattr(project, "ROOT", tmp_path)
    monkeypatch.setenv("COLUMNS", "100")
    file = tmp_path / "clusters" / "homelab" / "cluster.yaml"
    file.parent.mkdir(parents=True)
    file.write_text(GOOD)
    return file


def test_on_a_terminal(homelab: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["show", "homelab"]) == 0
    assert capsys.readouterr().out == (
        """\
homelab: 1 control plane, 1 worker, VM ids 800 to 810

Talos           v1.11.5, Kubernetes v1.34.0 unless an older Talos made the cluster
Kubernetes API  at the address that DHCP gives homelab-cp1
network         vmbr0, DHCP
pods            10.244.0.0/16, services 10.96.0.0/12, pod network flannel

name             role           VM id  address  host  cores  memory    disk  schematic
homelab-cp1      control plane    800  DHCP     ms01      4    8 GB   32 GB  ce4c9805
homelab-worker1  worker           810  DHCP     ms01      8   16 GB  100 GB  ce4c9805

┌─ ms01 ─────────────────────┐
│ 12 virtual cores           │
│ 24 GB memory               │
│ 132 GB disk                │
├────────────────────────────┤
│ homelab-cp1      800  DHCP │
│ homelab-worker1  810  DHCP │
└────────────────────────────┘
"""
    )


def test_as_a_picture(homelab: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "homelab.svg"
    assert main(["show", "homelab", "--svg", str(file)]) == 0
    assert capsys.readouterr().out == f"{file}: 1 control plane, 1 worker, VM ids 800 to 810\n"
    assert ET.parse(file).getroot().tag == "{http://www.w3.org/2000/svg}svg"


def test_a_file_that_cannot_be_written(homelab: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "nowhere" / "homelab.svg"
    assert main(["show", "homelab", "--svg", str(file)]) == 1
    shown = capsys.readouterr()
    assert (shown.out, shown.err) == ("", f"{file} cannot be written: No such file or directory.\n")


def test_for_programs(homelab: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["show", "homelab", "--json", "--svg", str(tmp_path / "homelab.svg")]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["hosts"] == [
        {"name": "ms01", "cores": None, "memory": None, "disk": None, "nodes": ["homelab-cp1", "homelab-worker1"]}
    ]
    assert {key: document[key] for key in ("name", "talos", "kubernetes", "endpoint", "vip")} == {
        "name": "homelab",
        "talos": "v1.11.5",
        "kubernetes": "1.34.0",
        "endpoint": None,
        "vip": None,
    }
    assert document["nodes"][1] == {
        "name": "homelab-worker1",
        "role": "worker",
        "pool": None,
        "vmId": 810,
        "host": "ms01",
        "address": None,
        "ipv6Address": None,
        "cores": 8,
        "sockets": 1,
        "memory": 16384,
        "disk": 100,
        "extraDisks": [],
        "pciDevices": [],
        "networks": ["vmbr0"],
        "schematic": "ce4c980550dd2ab1b17bbf2b08801c7eb59418eafe8f279833297925d67c7515",
    }


def test_mistakes_are_told_and_nothing_is_shown(homelab: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["show", "homelub"]) == 1
    shown = capsys.readouterr()
    assert shown.out == ""
    assert "Did you mean homelab?" in shown.err
    homelab.write_text(GOOD.replace("idBase: 800", "idBase: high"))
    assert main(["show", "homelab"]) == 1
    shown = capsys.readouterr()
    assert shown.out == ""
    assert "proxmox.vm.idBase: 'high' is not a whole number." in shown.err
