"""What a fault can be about: what the site has now, read from the lab's folder, be it running or not.

Owns the refusals of what is not there.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from lab.datacentre import Datacentre
from lab.directory import LabDirectory, read_json
from lab.faults import kinds
from lab.faults.fault import Fault, check_match
from lab.faults.kinds import STEPS, TASK_TYPES, FaultError, Kind, Shape, Target, Value
from lab.proxmox.privileges import PRIVILEGES

SCHEMATIC = re.compile(r"[0-9a-f]{64}")
LEAST_VMID, MOST_VMID = 100, 999_999_999


@dataclass(frozen=True)
class Site:
    """The names of what there is."""

    machines: Mapping[int, str]
    """VMs with their names."""
    known: Mapping[Target, frozenset[str]]
    token: str
    """The lab's own API token."""

    @classmethod
    def read(cls, directory: LabDirectory, datacentre: Datacentre) -> Site:
        proxmox = datacentre.proxmox
        records = (read_json(file) for file in (directory.proxmox / "guests").glob("*.json"))
        machines = {record["vmid"]: str(record["config"].get("name", "")) for record in records}
        foreign = {guest.vmid: str(guest.config.get("name", "")) for guest in proxmox.guests}
        storages = read_json(directory.proxmox / "storages.json") or {storage.id for storage in proxmox.storages}
        volumes = {name for node in read_json(directory.proxmox / "volumes.json", {}).values() for name in node}
        accounts = read_json(directory.proxmox / "access.json") or {"tokens": {token.id for token in proxmox.tokens}}
        return cls(
            {**foreign, **machines},
            {
                Target.HOST: frozenset(node.name for node in proxmox.nodes),
                Target.STORAGE: frozenset(storages),
                Target.VOLUME: frozenset({*volumes, *(iso.volume for iso in proxmox.isos)}),
                Target.TOKEN: frozenset(accounts["tokens"]),
                Target.PRIVILEGE: PRIVILEGES,
                Target.STEP: frozenset(STEPS),
                Target.TASK_TYPE: TASK_TYPES,
                Target.IMAGE: frozenset({*datacentre.factory.versions, *(iso.image.version for iso in proxmox.isos)}),
            },
            proxmox.tokens[0].id,
        )

    def resolve(self, kind: Kind, what: Target, given: str, expected: bool) -> str:
        """The name under which a fault keeps what it is about; FaultError where there is no such thing."""
        if what is Target.VM:
            return str(self._vmid(given, expected))
        if what is Target.VM_ID:
            return str(self._free_vmid(kind, given))
        if given in self.known[what] or (what is Target.IMAGE and SCHEMATIC.fullmatch(given)):
            return given
        if expected and what is Target.VOLUME:
            return given
        near = kinds.did_you_mean(given, self.known[what])
        there = "" if len(self.known[what]) > 12 else f"; there is {', '.join(sorted(self.known[what]))}"
        raise FaultError(f"there is no {what.value} '{given}'{near}{there}")

    def _vmid(self, given: str, expected: bool) -> int:
        if given.isdigit() and (int(given) in self.machines or (expected and LEAST_VMID <= int(given) <= MOST_VMID)):
            return int(given)
        if ids := [vmid for vmid, name in self.machines.items() if name == given]:
            if len(ids) > 1:
                raise FaultError(f"there are several VMs '{given}': {', '.join(map(str, sorted(ids)))}; say which id")
            return ids[0]
        there = ", ".join(f"{vmid} {name}".strip() for vmid, name in sorted(self.machines.items())[:12])
        later = " (for one that is still to come: --expected)" if given.isdigit() else ""
        near = kinds.did_you_mean(given, filter(None, self.machines.values()))
        raise FaultError(f"there is no VM '{given}'{near}; there is {there}{later}")

    def _free_vmid(self, kind: Kind, given: str) -> int:
        if not given.isdigit() or not LEAST_VMID <= int(given) <= MOST_VMID:
            raise FaultError(f"{kind.name} needs a VM id from {LEAST_VMID} to {MOST_VMID}, not '{given}'")
        if int(given) in self.machines:
            raise FaultError(f"VM id {given} is taken already: {self.machines[int(given)]} has it")
        return int(given)


def checked(
    site: Site,
    name: str,
    target: str | None,
    options: Mapping[str, Value],
    *,
    match: str | None = None,
    at: int | None = None,
    times: int | None = None,
    expected: bool = False,
) -> Fault:
    """The fault that somebody asks for; FaultError with one sentence where it makes no sense."""
    kind = kinds.find(name)
    values = {key: kind.option(key).parse(kind.name, given) for key, given in options.items()}
    for option in kind.options:
        if option.required and option.name not in values:
            raise FaultError(f"{name} needs --{option.name}: {option.meaning} ({option.allowed})")
        if option.names and option.name in values:
            values[option.name] = site.resolve(kind, option.names, str(values[option.name]), expected)
    if times is not None and kind.shape is Shape.STATE:
        raise FaultError(f"{name} {kind.shape.value}: --times is for what strikes requests, tasks, or happens")
    if times is not None and kind.shape is Shape.EVENT and match is None and at is None:
        raise FaultError(f"{name} happens now, once; --times needs --match or --at")
    for text, number in (("at", at), ("times", times)):
        if number is not None and number < 1:
            raise FaultError(f"--{text} is a whole number, at least 1, not '{number}'")
    return Fault(
        kind=name,
        target=_target(site, kind, target, expected),
        options=values,
        match=None if match is None else check_match(match),
        at=at,
        times=times,
    )


def _target(site: Site, kind: Kind, given: str | None, expected: bool) -> str | None:
    if kind.target is None:
        if given is not None:
            raise FaultError(f"{kind.name} has no target, so '{given}' is one word too many")
        return None
    if given is not None:
        return site.resolve(kind, kind.target, given, expected)
    if kind.target is Target.TOKEN:
        return site.token
    if kind.target_required:
        raise FaultError(f"{kind.name} needs a target: which {kind.target.value}?")
    return None
