"""How near a whole `pulumi up` comes to the time that nobody could save: what the providers wait for by themselves.

The lab has no artificial delays here, so what remains are the Proxmox provider's one-second polls, the Talos provider's
back-off, and the machines' boot and installation. Proxmox's tasks keep their third of a second: on a real host a task
is a process of its own, which has never ended when the provider first looks. Those that follow each other are the
chain. What the engine, the program and the making of keys take is not in it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import accumulate, pairwise

from tests.bench.figure import Figure
from tests.bench.recording import record_up
from tests.bench.steps import MachineSteps, Step, UpSteps, steps_of
from tests.engine.site import Site

LIMIT = 1.5
WITHOUT_DELAY = ("boot", "install", "service")


def measure(site: Site, cluster: str) -> Figure:
    """Makes the cluster, on a site without artificial delays."""
    steps = steps_of(record_up(site, cluster, "--skip-preview"), cluster)
    chain = longest_chain(steps)
    waited = sum(link.seconds for _, link in chain)
    lines = [f"{link.seconds:6.2f} s  {name}: {link.title}  ({link.source})" for name, link in chain]
    lines += [f"{waited:6.2f} s  the chain", "", f"{steps.seconds:6.2f} s  the whole up, of which not in the chain:"]
    lines += [f"{seconds:6.2f} s  {words}" for words, seconds in _besides(steps, chain)]
    return Figure("`up` of 1+1, against the providers' own waits", steps.seconds / waited, LIMIT, "times", tuple(lines))


def longest_chain(steps: UpSteps) -> list[tuple[str, Step]]:
    """The waits that follow each other, of the machine that needs the most."""
    return max(
        (_chain(machine, steps) for machine in steps.machines), key=lambda chain: sum(link.seconds for _, link in chain)
    )


def _chain(way: MachineSteps, steps: UpSteps) -> list[tuple[str, Step]]:
    links = [way.create, way.power_on, way.boot, way.configure]
    if way is steps.machines[0]:
        # The bootstrap is asked for again and again until the installed node answers: first that node's own time,
        # then what is left until the provider asks the next time.
        source = "console: apid runs, engine event of the bootstrap"
        again = Step("until the provider asks again, bootstrap", "talos", way.install.end, steps.bootstrap.end, source)
        links += [way.install, again, steps.kubeconfig]
    ends = accumulate((link.end for link in links), max, initial=links[0].begin)
    # What overlaps counts once: a machine boots while the provider waits for its next look at the power-on.
    return [
        (way.machine.name, replace(link, begin=max(link.begin, before)))
        for link, before in zip(links, ends, strict=False)
    ]


def _besides(steps: UpSteps, chain: Sequence[tuple[str, Step]]) -> list[tuple[str, float]]:
    links = [link for _, link in chain]
    gaps = sum(after.begin - before.end for before, after in pairwise(links))
    return [
        ("engine and program start, cluster.yaml is read, Proxmox is asked", steps.begin.seconds),
        ("the Talos provider makes the cluster's keys", steps.secrets.seconds),
        ("engine, between the keys and the first request", links[0].begin - steps.secrets.end),
        ("engine and provider, between the links", gaps),
        ("engine, after the last link", steps.seconds - links[-1].end),
    ]
