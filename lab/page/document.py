"""The whole state of a lab as one JSON document: what the page shows, and what tools may read.

Owns which facts are in it and what they are called. What is not known is left out, and things that come and go have
their id for a key, so that the difference between two documents is small.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Mapping
from typing import Any

from lab.faults.fault import Faults
from lab.hypervisor import Hypervisor
from lab.page import etcd, faults
from lab.page.headline import headline
from lab.page.recent_requests import RecentRequests
from lab.page.reports import Report, Reports
from lab.proxmox.cluster import Cluster
from lab.proxmox.config_values import memory_mib, processors
from lab.proxmox.guests import Guest
from lab.proxmox.tasks import Task

EVENTS = 60
TASKS = 20
WORDS = {
    "hamigrate": "moved",
    "hastart": "started",
    "hastop": "stopped",
    "qmclone": "cloned",
    "qmconfig": "reconfigured",
    "qmcreate": "created",
    "qmdelsnapshot": "relieved of a snapshot",
    "qmdestroy": "destroyed",
    "qmigrate": "moved",
    "qmmove": "given another disk",
    "qmreboot": "rebooted",
    "qmreset": "reset",
    "qmrollback": "rolled back",
    "qmshutdown": "shut down",
    "qmsnapshot": "put into a snapshot",
    "qmstart": "started",
    "qmstop": "stopped",
    "qmtemplate": "made a template",
    "resize": "given a larger disk",
}
"""What a task of Proxmox does to a VM: it is being ..."""


class Document:
    def __init__(
        self,
        cluster: Cluster,
        hypervisor: Hypervisor,
        reports: Reports,
        requests: RecentRequests,
        faults_now: Callable[[], Faults],
    ) -> None:
        self._cluster = cluster
        self._hypervisor = hypervisor
        self._reports = reports
        self._requests = requests
        self._faults = faults_now

    def __call__(self) -> dict[str, Any]:
        guests, holding = list(self._cluster.guests), self._faults()
        reports = self._reports_of(guests)
        tasks = list(self._cluster.tasks)
        running = {task.id: task for task in reversed(tasks) if task.running and task.type in WORDS}
        vms = {str(guest.vmid): self._vm(guest, reports, running, holding) for guest in guests}
        members, broken = etcd.clusters(reports), faults.broken(holding)
        site = self._cluster.datacentre.proxmox
        return {
            "lab": {"cluster": site.cluster, "proxmox": site.version["version"], "address": f"https://{site.name}/"},
            "headline": headline(list(vms.values()), members, broken),
            "hosts": {
                node.name: {
                    "cpus": node.cpus,
                    "memory_mib": node.memory_mib,
                    "cut_off": node.name in holding.network.cut_hosts,
                }
                for node in site.nodes
            },
            "vms": vms,
            "etcd": members,
            "kubernetes": _kubernetes(reports),
            "faults": broken + faults.unusual_delays(holding),
            "tasks": {task.upid: _task(task) for task in tasks[:TASKS]},
            "requests": self._requests.document(),
            "events": _events(reports, {guest.vmid: guest.name for guest in guests}),
        }

    def _reports_of(self, guests: list[Guest]) -> dict[int, Report]:
        found = {}
        for guest in guests:
            if not guest.foreign and self._hypervisor.is_running(guest.vmid):
                report = self._reports.of(guest.vmid, self._hypervisor.pid(guest.vmid))
                if report:
                    found[guest.vmid] = report
        self._reports.forget_all_but({guest.vmid for guest in guests})
        return found

    def _vm(
        self, guest: Guest, reports: Mapping[int, Report], running: Mapping[str, Task], holding: Faults
    ) -> dict[str, Any]:
        on = self._cluster.machines.is_running(guest)
        network = holding.network
        vm: dict[str, Any] = {
            "id": guest.vmid,
            "name": guest.name,
            "host": guest.node,
            "power": "on" if on else "off",
            "cpus": processors(guest.config),
            "memory_mib": memory_mib(guest.config),
            "tags": [tag for tag in str(guest.config.get("tags", "")).split(";") if tag],
            "foreign": guest.foreign,
            "template": guest.is_template,
            "cut_off": guest.vmid in network.cut_machines or guest.node in network.cut_hosts,
            "cut_nics": sorted(nic for vmid, nic in network.cut_nics if vmid == guest.vmid),
        }
        if guest.pool:
            vm["pool"] = guest.pool
        if task := running.get(str(guest.vmid)):
            vm["task"] = {"type": task.type, "words": WORDS[task.type], "since": task.starttime}
        if on and not guest.foreign:
            vm |= _inside(reports.get(guest.vmid))
        return vm


def _inside(report: Report | None) -> dict[str, Any]:
    """What the machine says of itself; before its system has started it says nothing."""
    if report is None:
        return {"stage": "firmware", "ready": False, "unmet": []}
    shown = report.model_dump(exclude={"pid", "events", "etcd", "kubernetes"}, exclude_none=True, mode="json")
    return {**shown, "has_etcd": report.etcd is not None}


def _kubernetes(reports: Mapping[int, Report]) -> dict[str, Any]:
    return {
        report.kubernetes.node: {
            **report.kubernetes.model_dump(exclude_none=True, mode="json"),
            "vm": vmid,
            **({"cluster": report.cluster} if report.cluster else {}),
        }
        for vmid, report in reports.items()
        if report.kubernetes
    }


def _task(task: Task) -> dict[str, Any]:
    shown: dict[str, Any] = {"type": task.type, "id": task.id, "host": task.node, "started": task.starttime}
    if not task.running:
        shown |= {"ended": task.endtime, "status": task.exitstatus}
    return shown


def _events(reports: Mapping[int, Report], names: Mapping[int, str]) -> dict[str, Any]:
    """The latest events of all machines by id, the oldest first. The ids are in the order of time."""
    latest = heapq.nlargest(
        EVENTS, ((event.id, vmid, event) for vmid, report in reports.items() for event in report.events)
    )
    return {
        identifier: {"time": event.time, "vm": vmid, "machine": names[vmid], "text": event.text}
        for identifier, vmid, event in reversed(latest)
    }
