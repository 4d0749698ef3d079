"""The VM configurations of the cluster: one file each, as /etc/pve/nodes/<node>/qemu-server/<vmid>.conf is one.

Owns configuration values, pending changes, locks and whether a VM has power (so that it gets it back after a power
cut of the site). What the values mean is lab.proxmox.guest_config's business.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path

from lab.datacentre import Guest as ForeignGuest
from lab.datacentre import Proxmox
from lab.directory import read_json, write_json
from lab.proxmox.errors import failure, no_such_guest

MOST_UNUSED = 256

Value = str | int
Config = dict[str, Value]


@dataclass
class Guest:
    vmid: int
    node: str
    config: Config
    pending: Config = field(default_factory=dict)
    pending_delete: dict[str, bool] = field(default_factory=dict)
    """What is to be deleted, and whether a disk among it is to be removed instead of kept unused."""
    cloudinit: dict[str, Value | None] = field(default_factory=dict)
    """Options changed since the cloud-init drive was made: as they were then, None where they were not set."""
    snapshots: dict[str, Config] = field(default_factory=dict)
    powered: bool = False
    foreign: bool = False
    pool: str | None = None

    @property
    def name(self) -> str:
        return str(self.config.get("name", f"VM {self.vmid}"))

    @property
    def digest(self) -> str:
        text = json.dumps([self.config, self.pending, self.pending_delete, self.snapshots])
        return hashlib.sha1(text.encode()).hexdigest()  # noqa: S324 - as Proxmox does, to tell changes

    def effective(self) -> Config:
        """The configuration with its pending changes applied, as `GET .../config` shows it."""
        merged = {key: value for key, value in self.config.items() if key not in self.pending_delete}
        return {**merged, **self.pending}

    @property
    def is_template(self) -> bool:
        return bool(self.config.get("template"))

    def add_unused(self, volume_id: str) -> str:
        """Keep a volume that is in no drive any more; returns the option that it stands under."""
        taken = {option: value for option, value in self.config.items() if re.fullmatch(r"unused\d+", option)}
        for option, value in taken.items():
            if value == volume_id:
                return option
        option = next(f"unused{number}" for number in range(MOST_UNUSED) if f"unused{number}" not in taken)
        self.config[option] = volume_id
        return option

    def check_digest(self, digest: str | None) -> None:
        if digest and digest != self.digest:
            raise failure("checksum mismatch (file change by other user?)")

    def check_lock(self) -> None:
        if lock := self.config.get("lock"):
            raise failure(f"VM is locked ({lock})")

    def check_protection(self, what: str) -> None:
        if self.config.get("protection"):
            raise failure(f"{what} - protection mode enabled")


class Guests:
    def __init__(self, folder: Path, site: Proxmox, occupied: Callable[[], frozenset[int]]) -> None:
        self._folder = folder
        self._default_node = site.nodes[0].name
        self._occupied = occupied
        folder.mkdir(parents=True, exist_ok=True)
        self._guests = {guest.vmid: _foreign(guest) for guest in site.guests}
        for file in folder.glob("*.json"):
            guest = Guest(**read_json(file))
            self._guests[guest.vmid] = guest

    def __iter__(self) -> Iterator[Guest]:
        strangers = (self._stranger(vmid) for vmid in sorted(self._occupied() - set(self._guests)))
        return iter([*sorted(self._guests.values(), key=lambda guest: guest.vmid), *strangers])

    def find(self, vmid: int) -> Guest | None:
        if vmid in self._guests:
            return self._guests[vmid]
        return self._stranger(vmid) if vmid in self._occupied() else None

    def get(self, node: str, vmid: int) -> Guest:
        guest = self.find(vmid)
        if guest is None or guest.node != node:
            raise no_such_guest(node, vmid)
        return guest

    def create_and_lock(self, vmid: int, node: str, lock: str = "create") -> Guest:
        """Take a VM id: an empty configuration under a lock."""
        if (present := self.find(vmid)) is not None:
            raise failure(f"unable to create VM {vmid} - VM {vmid} already exists on node '{present.node}'")
        guest = Guest(vmid=vmid, node=node, config={"lock": lock})
        self._guests[vmid] = guest
        self.save(guest)
        return guest

    def save(self, guest: Guest) -> None:
        if guest.vmid in self._guests:  # a stranger lasts as long as the fault that put it there
            write_json(self._folder / f"{guest.vmid}.json", asdict(guest))

    def remove(self, guest: Guest) -> None:
        self._guests.pop(guest.vmid, None)
        (self._folder / f"{guest.vmid}.json").unlink(missing_ok=True)

    def _stranger(self, vmid: int) -> Guest:
        return Guest(vmid=vmid, node=self._default_node, config=_STRANGER.copy(), powered=True, foreign=True)


_STRANGER: Config = {"name": "somebody-elses", "memory": "2048", "cores": 1, "ostype": "l26"}


def _foreign(guest: ForeignGuest) -> Guest:
    return Guest(vmid=guest.vmid, node=guest.node, config=dict(guest.config), powered=True, foreign=True)
