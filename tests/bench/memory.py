"""What the lab takes of the machine's memory. Shared pages count in shares (PSS), so the parts add up."""

from __future__ import annotations

from pathlib import Path

from lab import lifecycle, namespace
from tests.bench.figure import Figure
from tests.engine.site import Site

LIMIT_MEGABYTES = 60


def measure(site: Site) -> Figure:
    """Of the lab as it runs now: the largest node counts."""
    daemon = lifecycle.running(site.lab)
    if daemon is None:
        raise RuntimeError("the lab does not run")
    names = {str(vmid): guest["name"] for vmid, guest in site.guests().items()}
    machines: dict[str, str] = {}
    processes: list[tuple[str, str, float]] = []
    # The daemon is the first process of a PID namespace; the host's /proc shows all of it.
    for pid, program in namespace.members("pid", namespace.namespace_of(daemon, "pid")):
        words = Path(f"/proc/{pid}/cmdline").read_bytes().decode().split("\0")
        network = namespace.namespace_of(pid, "net")
        if words[1:2] == ["machine"]:
            machines[network] = names[Path(words[2]).name]
        name = "the daemon" if pid == daemon else " ".join([program, *words[1:2]])
        processes.append((network, name, _megabytes(pid)))
    nodes = dict.fromkeys(machines.values(), 0.0)
    others: dict[str, float] = {}
    for network, program, size in processes:
        if network in machines:  # a machine's programs, such as etcd, are in its network
            nodes[machines[network]] += size
        else:
            others[program] = size
    details = [f"{size:6.1f} MB  {name}" for name, size in [*sorted(nodes.items()), *sorted(others.items())]]
    total = sum(nodes.values()) + sum(others.values())
    name = f"memory of a simulated node, the largest of {len(nodes)}"
    return Figure(name, max(nodes.values()), LIMIT_MEGABYTES, "MB", (*details, f"{total:6.1f} MB  in all"))


def _megabytes(pid: int) -> float:
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) * 1024 / 1e6
    raise RuntimeError(f"/proc/{pid}/smaps_rollup has no Pss")
