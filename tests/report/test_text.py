"""A cluster on terminals of all kinds."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest

from cluster_stack.report.cluster import as_json
from cluster_stack.report.terminal import PIPE_WIDTH, Terminal, printable, terminal
from cluster_stack.report.text import draw
from tests.report.sites import RICH, view

ESCAPE = "\033"


def test_a_wide_terminal(tmp_path: Path) -> None:
    assert draw(view(tmp_path), Terminal(140)) == (
        """\
prod: 3 control planes, 3 workers, VM ids 900 to 950

Talos             v1.12.4, Kubernetes v1.34.2
Kubernetes API    https://10.0.0.50:6443
shared address    10.0.0.50, which one of the control planes has
network           vmbr0 VLAN 20, 10.0.0.0/24, gateway 10.0.0.1, DNS 10.0.0.1 9.9.9.9
further networks  vmbr1 VLAN 30
pods              10.244.0.0/16, services 10.96.0.0/12, pod network flannel

name          role           VM id  address    host  cores  memory    disk  further              schematic
prod-cp1      control plane    900  10.0.0.51  pve1      4    8 GB   32 GB                       ce4c9805
prod-cp2      control plane    901  10.0.0.52  pve2      4    8 GB   32 GB                       ce4c9805
prod-cp3      control plane    902  10.0.0.53  pve3      4    8 GB   32 GB                       ce4c9805
prod-worker1  worker           910  10.0.0.60  pve3      8   16 GB  100 GB  scsi1 200 GB (data)  ce4c9805
prod-worker2  worker           911  10.0.0.61  pve4      8   16 GB  100 GB  scsi1 200 GB (data)  ce4c9805
prod-gpu1     worker (gpu)     950  10.0.0.80  pve3  8 x 2   64 GB  200 GB  rtx4090              ce4c9805

┌─ pve1 ────────────────────────┐  ┌─ pve2 ───────────────────┐  ┌─ pve3 ───────────────────────┐  ┌─ pve4 ───────────────────────┐
│ 4 virtual cores on 32 threads │  │ 4 virtual cores          │  │ 28 virtual cores             │  │ 8 virtual cores              │
│ 8 GB of 128 GB memory         │  │ 8 GB memory              │  │ 88 GB memory                 │  │ 16 GB of 64 GB memory        │
│ 32 GB of 2000 GB disk         │  │ 32 GB disk               │  │ 532 GB disk                  │  │ 300 GB disk                  │
├───────────────────────────────┤  ├──────────────────────────┤  ├──────────────────────────────┤  ├──────────────────────────────┤
│ prod-cp1  900  10.0.0.51      │  │ prod-cp2  901  10.0.0.52 │  │ prod-cp3      902  10.0.0.53 │  │ prod-worker2  911  10.0.0.61 │
└───────────────────────────────┘  └──────────────────────────┘  │ prod-worker1  910  10.0.0.60 │  └──────────────────────────────┘
                                                                 │ prod-gpu1     950  10.0.0.80 │
                                                                 └──────────────────────────────┘"""  # noqa: E501
    )


@pytest.mark.parametrize("width", [30, 47, 80, 118, 200])
def test_no_line_is_wider_than_the_screen(tmp_path: Path, width: int) -> None:
    longest = RICH.replace("name: gpu", "name: graphics-processing")
    shown = draw(view(tmp_path, longest), Terminal(width))
    assert max(map(len, shown.splitlines())) <= width
    assert all(node in shown for node in ("prod-cp1", "prod-worker2", "prod-graphics-processing1"))


def test_a_narrow_terminal_lists_what_the_table_has(tmp_path: Path) -> None:
    words = " ".join(draw(view(tmp_path), Terminal(60)).split())
    assert (
        "prod-gpu1 worker (gpu), VM 950 on pve3, 10.0.0.80, 16 cores (2 sockets), 64 GB memory, 200 GB disk, rtx4090, "
        "schematic ce4c9805" in words
    )


def test_a_terminal_that_knows_no_lines(tmp_path: Path) -> None:
    shown = draw(view(tmp_path), Terminal(30, lines="+-+|++++"))
    assert shown.isascii()
    assert "+- pve1 ---------------------+\n| 4 virtual cores on 32 thr. |" in shown


def test_a_host_without_machines(tmp_path: Path) -> None:
    text = RICH.replace("count: 2\n", "count: 0\n")
    assert "┌─ pve4 ───────────────┐\n│ none of its machines │\n└──────────────────────┘" in draw(
        view(tmp_path, text), Terminal(30)
    )


def test_colours_only_where_they_are_wanted(tmp_path: Path) -> None:
    found = view(tmp_path)
    plain, coloured = (draw(found, Terminal(140, colours=colours)) for colours in (False, True))
    assert ESCAPE not in plain
    assert f"{ESCAPE}[1mprod{ESCAPE}[0m: 3 control planes" in coloured


class _Screen(io.StringIO):
    def __init__(self, encoding: str = "utf-8", *, tty: bool = True) -> None:
        super().__init__()
        self._encoding, self._tty = encoding, tty

    @property
    def encoding(self) -> str:  # type: ignore[override]
        return self._encoding

    def isatty(self) -> bool:
        return self._tty


@pytest.mark.parametrize(
    ("screen", "variables", "colours"),
    [
        (_Screen(), {"TERM": "xterm"}, True),
        (_Screen(), {"TERM": "xterm", "NO_COLOR": ""}, True),
        (_Screen(), {"TERM": "xterm", "NO_COLOR": "1"}, False),
        (_Screen(), {"TERM": "dumb"}, False),
        (_Screen(tty=False), {"TERM": "xterm"}, False),
    ],
)
def test_who_wants_colours(
    monkeypatch: pytest.MonkeyPatch, screen: _Screen, variables: dict[str, str], colours: bool
) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert terminal(screen).colours is colours


def test_how_wide_a_screen_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "77")
    assert terminal(_Screen()).width == 77
    monkeypatch.setenv("COLUMNS", "3")
    assert terminal(_Screen()).width == 30
    monkeypatch.delenv("COLUMNS")
    monkeypatch.setattr("sys.__stdout__", None)
    assert terminal(_Screen(tty=False)).width == PIPE_WIDTH


@pytest.mark.parametrize(("encoding", "lines"), [("utf-8", "┌─┐│└┘├┤"), ("ascii", "+-+|++++"), ("latin-1", "+-+|++++")])
def test_the_lines_of_a_screen(encoding: str, lines: str) -> None:
    assert terminal(_Screen(encoding)).lines == lines


def test_a_file_cannot_command_the_terminal(tmp_path: Path) -> None:
    text = RICH.replace("vip: 10.0.0.50", 'endpoint: "https://api.example:6443/\\e]0;x"')
    assert ESCAPE not in draw(view(tmp_path, text), Terminal(140))
    assert printable("a\x1b[0m\nb") == "a?[0m?b"


def test_for_programs(tmp_path: Path) -> None:
    document = json.loads(as_json(view(tmp_path)))
    assert (document["kubernetes"], document["endpoint"], document["vip"]) == (
        "1.34.2",
        "https://10.0.0.50:6443",
        "10.0.0.50",
    )
    assert document["hosts"][3] == {
        "name": "pve4",
        "cores": None,
        "memory": 65536,
        "disk": None,
        "nodes": ["prod-worker2"],
    }
    worker, gpu = document["nodes"][3], document["nodes"][5]
    assert worker["extraDisks"] == [{"interface": "scsi1", "size": 200, "datastore": "local-zfs", "volume": "data"}]
    assert worker["networks"] == ["vmbr0 VLAN 20", "vmbr1 VLAN 30"]
    assert (gpu["pool"], gpu["address"], gpu["sockets"], gpu["pciDevices"]) == ("gpu", "10.0.0.80", 2, ["rtx4090"])
