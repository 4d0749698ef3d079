"""What the lab takes of the machine's memory. Shared pages count in shares (PSS), so the parts add up."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from lab import lifecycle, namespace
from tests.bench.figure import Figure
from tests.engine.site import Site

LIMIT_MEGABYTES = 60
LIMIT_WORKER_MEGABYTES = 12


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
    own_megabytes: float
    """Of these, what no other process has."""


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
            megabytes=size["Pss"],
            own_megabytes=size["Private_Clean"] + size["Private_Dirty"],
        )
        for pid, program, network, words in found
        if (size := _megabytes(pid))
    ]


def measure(site: Site) -> Iterator[Figure]:
    """Of the lab as it runs now: the largest node counts, and the largest worker."""
    found = processes(site)
    yield _largest_node(found)
    yield _largest_worker([process for process in found if process.is_node and "-worker" in (process.machine or "")])


def _largest_node(found: Sequence[Process]) -> Figure:
    nodes: dict[str, float] = {}
    others: dict[str, float] = {}
    for process in found:
        where, name = (others, process.name) if process.machine is None else (nodes, process.machine)
        if not process.is_command:
            where[name] = where.get(name, 0.0) + process.megabytes
    details = [f"{size:6.1f} MB  {name}" for name, size in [*sorted(nodes.items()), *sorted(others.items())]]
    total = sum(nodes.values()) + sum(others.values())
    name = f"memory of a simulated node, the largest of {len(nodes)}"
    return Figure(name, max(nodes.values()), LIMIT_MEGABYTES, "MB", (*details, f"{total:6.1f} MB  in all"))


def _largest_worker(found: Sequence[Process]) -> Figure:
    """Without the program's code, of which a worker's share is next to nothing where there are hundreds."""
    details = [f"{process.own_megabytes:6.1f} MB  {process.machine}" for process in found]
    largest = max(process.own_megabytes for process in found)
    name = f"memory that a worker has for itself, the largest of {len(found)}"
    return Figure(name, largest, LIMIT_WORKER_MEGABYTES, "MB", tuple(details))


def _name(program: str, words: list[str]) -> str:
    first = Path(words[0]).name or program
    more = [] if not words[1:2] or words[1].startswith(("-", "/")) else words[1:2]
    return " ".join([first, *more])


def _megabytes(pid: int) -> dict[str, float]:
    """By kind, as the kernel counts; nothing of a process that has ended."""
    found: dict[str, float] = {}
    with contextlib.suppress(OSError):
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:]:
            kind, _, size = line.partition(":")
            found[kind] = int(size.split()[0]) * 1024 / 1e6
    return found
