"""How near a whole `pulumi up` comes to the time that nobody could save: what the providers wait for by themselves.

The lab has no artificial delays here, so what remains are the Proxmox provider's one-second polls, the Talos provider's
back-off, and the machines' boot and installation. Proxmox's tasks keep their third of a second: on a real host a task
is a process of its own, which has never ended when the provider first looks. Those that follow each other are the
chain. What the engine, the program and the making of keys take is not in it.

One update is no measure: whether the node is up just before or just after the provider asks for it decides about a
second of the chain, and keys take between half a second and one and a half. So it is the median of several.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import accumulate, pairwise

from tests.bench.figure import Figure
from tests.bench.recording import record_up
from tests.bench.steps import MachineSteps, Step, UpSteps, steps_of
from tests.engine.site import Site

LIMIT = 1.5
WITHOUT_DELAY = ("boot", "install", "service")
UPDATES = 5


@dataclass(frozen=True)
class _Update:
    steps: UpSteps
    chain: list[tuple[str, Step]]

    @property
    def waited(self) -> float:
        return sum(link.seconds for _, link in self.chain)

    @property
    def ratio(self) -> float:
        return self.steps.seconds / self.waited

    @property
    def lines(self) -> list[str]:
        return [
            *(f"{link.seconds:6.2f} s  {name}: {link.title}  ({link.source})" for name, link in self.chain),
            f"{self.waited:6.2f} s  the chain",
            "",
            f"{self.steps.seconds:6.2f} s  the whole up, of which not in the chain:",
            *(f"{seconds:6.2f} s  {words}" for words, seconds in _besides(self.steps, self.chain)),
        ]


def measure(site: Site, cluster: str) -> Figure:
    """Makes the cluster again and again, on a site without artificial delays, and leaves the last one."""
    updates = [_update(site, cluster)]
    while len(updates) < UPDATES:
        site.destroy(cluster)
        updates.append(_update(site, cluster))
    by_ratio = sorted(updates, key=lambda update: update.ratio)
    shown = by_ratio[UPDATES // 2]
    of_each = " ".join(f"{update.ratio:.2f} ({update.steps.seconds:.2f} s)" for update in updates)
    lines = ("each update: " + of_each, "", "the one in the middle:", *shown.lines)
    return Figure("`up` of 1+1, against the providers' own waits", shown.ratio, LIMIT, "times", lines)


def _update(site: Site, cluster: str) -> _Update:
    steps = steps_of(record_up(site, cluster, "--skip-preview"), cluster)
    return _Update(steps, longest_chain(steps))


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
