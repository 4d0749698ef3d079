"""What is going on, in a sentence: the first thing that a person reads on the page.

Owns which of all facts matter most: what is broken, then what is on its way, then that all is well.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

TROUBLE, BUSY, WELL = "trouble", "busy", "well"
MOST_NAMES = 3
MOST_SENTENCES = 4

DOING = {
    "firmware": ("starts", "start"),
    "booting": ("boots", "boot"),
    "installing": ("installs Talos", "install Talos"),
    "maintenance": ("waits for its configuration", "wait for their configurations"),
    "rebooting": ("reboots", "reboot"),
    "shutting down": ("shuts down", "shut down"),
    "resetting": ("is being reset", "are being reset"),
    "upgrading": ("upgrades Talos", "upgrade Talos"),
}


def headline(vms: Sequence[Mapping[str, Any]], etcd: Mapping[str, Any], faults: Sequence[str]) -> dict[str, Any]:
    """The mood of the site, the sentence, and the next ones after it."""
    machines = [vm for vm in vms if not vm["foreign"] and not vm["template"]]
    broken = [*_broken(machines, etcd), *faults]
    doing = list(_doing(machines))
    steady = list(_steady(machines, etcd))
    sentences = [*broken, *doing, *steady]
    mood = TROUBLE if broken else BUSY if doing else WELL
    return {"mood": mood, "text": sentences[0], "more": sentences[1:MOST_SENTENCES]}


def _broken(machines: Sequence[Mapping[str, Any]], etcd: Mapping[str, Any]) -> Iterator[str]:
    for cluster in etcd.values():
        if not cluster["quorum"]:
            yield f"{_members(cluster)}: {cluster['name']} has lost its quorum."
    for cluster in etcd.values():
        if cluster["quorum"] and cluster["up"] < cluster["voters"]:
            yield f"{_members(cluster)}: {cluster['name']} still has a quorum."
        alarms = {error for member in cluster["members"].values() for error in member["errors"] if "alarm" in error}
        for alarm in sorted(alarms):
            yield f"etcd of {cluster['name']} has an alarm: {alarm}."
    for vm in machines:
        if vm.get("stage") == "running" and not vm["ready"] and not vm.get("task"):
            reasons = "; ".join(f"{unmet['name']}: {unmet['reason']}" for unmet in vm["unmet"])
            yield f"{vm['name']} runs and is not ready ({reasons or 'it does not say why'})."


def _doing(machines: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    asked: dict[str, list[str]] = {}
    stages: dict[str, list[Mapping[str, Any]]] = {}
    for vm in machines:
        if task := vm.get("task"):
            asked.setdefault(task["words"], []).append(vm["name"])
        elif vm["power"] == "on" and vm["stage"] in DOING:
            stages.setdefault(vm["stage"], []).append(vm)
    for stage, (one, many) in DOING.items():
        if concerned := stages.get(stage):
            versions = {vm.get("talos") for vm in concerned}
            version = f" {versions.pop()}" if stage in ("installing", "upgrading") and len(versions) == 1 else ""
            yield f"{_names([vm['name'] for vm in concerned])} {one if len(concerned) == 1 else many}{version}."
    for words, names in asked.items():
        yield f"{_names(names)} {'is' if len(names) == 1 else 'are'} being {words}."


def _steady(machines: Sequence[Mapping[str, Any]], etcd: Mapping[str, Any]) -> Iterator[str]:
    if not machines:
        yield "No machines yet: they appear here as `pulumi up` makes them."
        return
    ready = sum(
        vm["power"] == "on" and vm["stage"] == "running" and vm["ready"] and not vm["cut_off"] for vm in machines
    )
    off = sum(vm["power"] == "off" for vm in machines)
    if ready == len(machines):
        yield "The machine is ready." if ready == 1 else f"All {ready} machines are ready."
    elif off == len(machines):
        yield "The machine is off." if off == 1 else f"All {off} machines are off."
    else:
        yield f"{ready} of {len(machines)} machines {'is' if ready == 1 else 'are'} ready" + (
            f", {off} {'is' if off == 1 else 'are'} off." if off else "."
        )
    for cluster in etcd.values():
        if cluster["quorum"] and cluster["up"] == cluster["voters"]:
            yield f"{_members(cluster)}: {cluster['name']} has a quorum."


def _members(cluster: Mapping[str, Any]) -> str:
    up, voters = cluster["up"], cluster["voters"]
    if voters == 1:
        return "The only etcd member is up" if up else "The only etcd member is down"
    return f"{up} of {voters} etcd members {'is' if up == 1 else 'are'} up"


def _names(names: Sequence[str]) -> str:
    shown = list(names) if len(names) <= MOST_NAMES + 1 else [*names[:MOST_NAMES], f"{len(names) - MOST_NAMES} more"]
    return shown[0] if len(shown) == 1 else f"{', '.join(shown[:-1])} and {shown[-1]}"
