"""A fault, and all of them together: what the rest of the lab asks when it wants to know whether it works.

A fault is a fact about the site, kept in the lab's folder, so it holds through a restart and can be set before a start.
Owns the form of the record and what follows from several at once; lab.faults.ledger keeps them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from lab.directory import LabDirectory, read_json, write_json
from lab.faults import kinds
from lab.faults.kinds import FaultError, Kind, Shape, Value
from lab.hardware import MachineFaults
from lab.network.faults import NetworkFaults, SlowNic

METHODS = ("GET", "POST", "PUT", "DELETE", "*")


class Fault(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    id: str = ""
    """What `fault clear` calls it; given when it is set."""
    kind: str
    target: str | None = None
    options: Mapping[str, Value] = {}
    match: str | None = None
    """Which requests it is about, as METHOD:PATH; a fault that strikes no request waits for one of them."""
    at: int | None = Field(None, ge=1)
    """The first of the requests that match to be struck."""
    times: int | None = Field(None, ge=1)
    """How many are struck from then on; without it all, and with `at` alone one."""
    seen: int = 0
    """How many have matched so far."""

    @property
    def of(self) -> Kind:
        return kinds.find(self.kind)

    @property
    def is_armed(self) -> bool:
        """Whether it waits for a request; what strikes requests is not armed by naming which."""
        return self.at is not None or (self.match is not None and self.of.shape in (Shape.STATE, Shape.EVENT))

    @property
    def strikes(self) -> int | None:
        """How many requests or tasks it strikes in all; None is no end."""
        return self.times or (1 if self.is_armed else None)

    @property
    def is_spent(self) -> bool:
        """Whether it has struck as often as it should."""
        if self.of.shape is Shape.STATE or self.strikes is None:
            return False
        return self.seen >= (self.at or 1) + self.strikes - 1

    @property
    def holds(self) -> bool:
        """For a state: whether the site is in it now."""
        return not self.is_armed or self.seen >= (self.at or 1)

    @property
    def condition(self) -> str:
        """In a word or two: how it stands."""
        if self.is_spent:
            return "has struck"
        if self.is_armed and self.seen < (self.at or 1):
            return f"waits for request {self.at or 1}, {self.seen} seen"
        return "holds"

    def option(self, name: str) -> Any:
        """The value of an option, or its default."""
        return self.options.get(name, self.of.option(name).default)

    def matches(self, method: str, path: str) -> bool:
        return self.match is None or _pattern(self.match).fullmatch(f"{method}:{path}") is not None

    @property
    def is_counting(self) -> bool:
        """Whether requests that match still mean something to it."""
        if self.of.shape is Shape.STATE:
            return not self.holds
        return not self.is_spent

    def counts_now(self) -> bool:
        """Whether the request that has just been counted is one that it strikes."""
        first = self.at or 1
        return self.seen >= first and (self.strikes is None or self.seen < first + self.strikes)

    def stands_for(self, other: Fault) -> bool:
        """Whether it takes the other's place: the same thing said once more, perhaps with other words."""
        names = [option.name for option in self.of.options if option.distinguishes]
        mine = [self.option(name) for name in names]
        return (
            self.of.shape is Shape.STATE
            and (self.kind, self.target, self.match) == (other.kind, other.target, other.match)
            and mine == [other.option(name) for name in names]
        )


def check_match(text: str) -> str:
    """A match that can match something; FaultError else."""
    method, colon, path = text.partition(":")
    if not colon or method not in METHODS or not path.startswith(("/", "*")):
        raise FaultError(
            f"--match is METHOD:PATH, such as 'POST:/nodes/*/qemu/800/**', not '{text}'. The method is one of "
            f"{', '.join(METHODS)}; the path is as Proxmox's API viewer shows it, * is one part of it, ** any number."
        )
    return text


def _pattern(match: str) -> re.Pattern[str]:
    """METHOD:PATH, in which * is one part of the path and ** any number of them."""
    method, _, path = match.partition(":")
    parts = re.split(r"(\*\*|\*)", path)
    wild = {"**": ".*", "*": "[^/]*"}
    return re.compile(f"{wild['*'] if method == '*' else method}:{''.join(wild.get(p, re.escape(p)) for p in parts)}")


class Faults:
    """The faults of a site at one moment. Who asks whether something is broken asks here."""

    def __init__(self, all_of_them: tuple[Fault, ...] = ()) -> None:
        self.all = all_of_them

    def __iter__(self) -> Iterator[Fault]:
        return iter(self.all)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Faults) and self.all == other.all

    __hash__ = None  # type: ignore[assignment]

    def holding(self, kind: str) -> list[Fault]:
        """The faults of a kind that is a state, as far as they hold."""
        return [fault for fault in self.all if fault.kind == kind and fault.holds]

    def targets(self, kind: str) -> frozenset[str]:
        return frozenset(fault.target for fault in self.holding(kind) if fault.target is not None)

    def machines(self, kind: str) -> frozenset[int]:
        return frozenset(int(target) for target in self.targets(kind))

    @property
    def proxmox_unreachable(self) -> bool:
        return bool(self.holding("api-unreachable"))

    @property
    def hosts_down(self) -> frozenset[str]:
        return self.targets("host-down")

    @property
    def revoked_privileges(self) -> frozenset[str]:
        return self.targets("privilege-revoked")

    @property
    def expired_tokens(self) -> frozenset[str]:
        return self.targets("token-expired")

    @property
    def missing_volumes(self) -> frozenset[str]:
        return self.targets("volume-missing")

    @property
    def full_storages(self) -> frozenset[str]:
        return self.targets("storage-full")

    @property
    def occupied_vmids(self) -> frozenset[int]:
        return self.machines("vmid-taken")

    @property
    def mac_is_repeated(self) -> bool:
        return bool(self.holding("mac-repeated"))

    @property
    def full_disks(self) -> frozenset[int]:
        return self.machines("disk-full")

    def of_machine(self, vmid: int) -> MachineFaults:
        """What a machine itself has to play."""
        skews = (fault for fault in self.holding("clock-skew") if fault.target == str(vmid))
        slow = (fault for fault in self.holding("disk-slow") if fault.target == str(vmid))
        return MachineFaults(
            clockOffsetSeconds=next((float(fault.option("seconds")) for fault in skews), 0.0),
            certificateExpired=vmid in self.machines("certificate-expired"),
            diskDelaySeconds=next((int(fault.option("milliseconds")) / 1000 for fault in slow), 0.0),
            brokenImages=sorted(self.targets("image-broken")),
        )

    def dhcp_answers(self, vmid: int) -> bool:
        return all(fault.target not in (None, str(vmid)) for fault in self.holding("dhcp-silent"))

    def agent_answers(self, vmid: int) -> bool:
        return vmid not in self.machines("agent-silent")

    def seconds(self, step: str) -> float | None:
        """How long a step takes, where that is not as usual."""
        return next((float(fault.option("seconds")) for fault in self.holding("delay") if fault.target == step), None)

    @property
    def network(self) -> NetworkFaults:
        cuts = self.holding("network-cut")
        return NetworkFaults(
            cut_machines=frozenset(_vmid(fault) for fault in cuts if fault.option("nic") is None),
            cut_nics=frozenset((_vmid(fault), fault.option("nic")) for fault in cuts if fault.option("nic")),
            cut_hosts=self.targets("host-network-cut"),
            slow_nics=tuple(
                SlowNic(vmid=_vmid(fault), nic=fault.option("nic"), kilobits_per_second=fault.option("kbit"))
                for fault in self.holding("network-slow")
            ),
            one_way=frozenset((_vmid(fault), int(fault.option("to"))) for fault in self.holding("one-way-cut")),
        )


def _vmid(fault: Fault) -> int:
    assert fault.target is not None, fault
    return int(fault.target)


def load(directory: LabDirectory) -> Faults:
    return Faults(tuple(Fault.model_validate(entry) for entry in read_json(directory.faults, [])))


def save(directory: LabDirectory, faults: Faults) -> None:
    write_json(directory.faults, [fault.model_dump(mode="json", exclude_defaults=True) for fault in faults])
