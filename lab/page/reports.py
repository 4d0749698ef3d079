"""What the machines say of themselves: the file that each keeps in its folder while it runs.

A machine is a program of its own, so its report is checked like anything that comes from elsewhere. Fields that are
not named here are not read.
"""

from __future__ import annotations

import logging
import os
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

FILE = "status.json"

log = logging.getLogger(__name__)


class Model(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True)


class Unmet(Model):
    """What keeps a machine from being ready."""

    name: str
    reason: str


class Address(Model):
    address: str
    link: str
    virtual: bool


class Service(Model):
    name: str
    state: str
    healthy: bool | None = None
    message: str = ""


class Peer(Model):
    """A member of etcd, as another one knows it."""

    id: str
    name: str = ""
    learner: bool


class EtcdMember(Model):
    cluster: str
    id: str
    leader: str | None = None
    learner: bool
    term: int
    database_bytes: int
    errors: tuple[str, ...]
    members: tuple[Peer, ...]


class KubernetesNode(Model):
    node: str
    ready: bool
    unschedulable: bool
    version: str | None = None
    taints: tuple[str, ...] | None = None
    pods: int | None = None


class Event(Model):
    id: str
    time: str
    text: str


class Report(Model):
    """All that one machine says. What it does not know is None."""

    pid: int
    booted: str
    stage: str
    ready: bool
    unmet: tuple[Unmet, ...]
    hostname: str | None = None
    cluster: str | None = None
    role: str | None = None
    talos: str
    schematic: str
    installed: bool
    addresses: tuple[Address, ...]
    services: tuple[Service, ...]
    etcd: EtcdMember | None = None
    kubernetes: KubernetesNode | None = None
    events: tuple[Event, ...]


class Reports:
    """The reports of all machines; a file is read again only once it was replaced."""

    def __init__(self, vms: Path) -> None:
        self._vms = vms
        self._read: dict[int, tuple[tuple[int, int], Report | None]] = {}

    def of(self, vmid: int, pid: int | None) -> Report | None:
        """What the machine says that runs as this process; None where it has not said anything yet."""
        path = self._vms / str(vmid) / "run" / FILE
        try:
            status = path.stat()
            version = (status.st_ino, status.st_mtime_ns)
            if vmid not in self._read or self._read[vmid][0] != version:
                self._read[vmid] = (version, _parse(path))
        except OSError:
            self._read.pop(vmid, None)
            return None
        report = self._read[vmid][1]
        return report if report and report.pid == pid else None

    def forget_all_but(self, vmids: set[int]) -> None:
        for vmid in set(self._read) - vmids:
            del self._read[vmid]


def _parse(path: Path) -> Report | None:
    try:
        return Report.model_validate_json(path.read_bytes())
    except ValidationError as error:
        log.warning("%s is no report of a machine: %s", os.fspath(path), error)
        return None
