"""What the lab takes of the machine's memory. Shared pages count in shares (PSS), so the parts add up."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from pathlib import Path

from lab import lifecycle, namespace
from tests.bench.figure import Figure
from tests.engine.site import Site

LIMIT_MEGABYTES = 60


@dataclass(frozen=True)
class Process:
    """A process of the lab's site, or a command that runs inside."""

    name: str
    machine: str | None
    """The machine in whose network it runs."""
    is_node: bool
    """Whether it is a machine's `talos-node`."""
    is_command: bool
    """Whether somebody runs it inside, such as the engine and its plugins: it is no part of the site."""
    megabytes: float


def processes(site: Site) -> list[Process]:
    """All that run now."""
    daemon = lifecycle.running(site.lab)
    if daemon is None:
        raise RuntimeError("the lab does not run")
    names = {str(vmid): guest["name"] for vmid, guest in site.guests().items()}
    # The daemon is the first process of a PID namespace; the host's /proc shows all of it.
    inside = dict(namespace.members("pid", namespace.namespace_of(daemon, "pid")))
    main = namespace.namespace_of(daemon, "net")
    commands = {pid: name for pid, name in namespace.members("net", main) if pid not in inside}
    found: list[tuple[int, str, str, list[str]]] = []
    machines: dict[str, str] = {}
    for pid, program in [*inside.items(), *commands.items()]:
        with contextlib.suppress(OSError):  # it has ended meanwhile
            words = Path(f"/proc/{pid}/cmdline").read_bytes().decode().split("\0")
            network = namespace.namespace_of(pid, "net")
            if words[1:2] == ["machine"]:
                machines[network] = names[Path(words[2]).name]
            found.append((pid, program, network, words))
    return [
        Process(
            name="the daemon" if pid == daemon else _name(program, words),
            machine=machines.get(network),  # a machine's programs, such as etcd, are in its network
            is_node=words[1:2] == ["machine"],
            is_command=pid in commands,
            megabytes=size,
        )
        for pid, program, network, words in found
        if (size := _megabytes(pid)) is not None
    ]


def measure(site: Site) -> Figure:
    """Of the lab as it runs now: the largest node counts."""
    nodes: dict[str, float] = {}
    others: dict[str, float] = {}
    for process in processes(site):
        where, name = (others, process.name) if process.machine is None else (nodes, process.machine)
        if not process.is_command:
            where[name] = where.get(name, 0.0) + process.megabytes
    details = [f"{size:6.1f} MB  {name}" for name, size in [*sorted(nodes.items()), *sorted(others.items())]]
    total = sum(nodes.values()) + sum(others.values())
    name = f"memory of a simulated node, the largest of {len(nodes)}"
    return Figure(name, max(nodes.values()), LIMIT_MEGABYTES, "MB", (*details, f"{total:6.1f} MB  in all"))


def _name(program: str, words: list[str]) -> str:
    first = Path(words[0]).name or program
    more = [] if not words[1:2] or words[1].startswith(("-", "/")) else words[1:2]
    return " ".join([first, *more])


def _megabytes(pid: int) -> float | None:
    with contextlib.suppress(OSError):
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1]) * 1024 / 1e6
    return None
