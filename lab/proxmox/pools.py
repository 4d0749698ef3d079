"""Resource pools: names, comments, and the storages in them. Which pool a VM is in stands with the VM.

Owns the pools that the site has from the start and those made since.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path

from lab.datacentre import Proxmox
from lab.directory import read_json, write_json
from lab.proxmox.errors import failure


@dataclass
class Pool:
    comment: str = ""
    storages: list[str] = field(default_factory=list)


class Pools:
    def __init__(self, path: Path, site: Proxmox) -> None:
        self._path = path
        made = read_json(path)
        if made is None:
            made = {pool.id: asdict(Pool(pool.comment)) for pool in site.pools}
        self._pools = {name: Pool(**pool) for name, pool in made.items()}

    def __iter__(self) -> Iterator[str]:
        return iter(sorted(self._pools))

    def __contains__(self, name: object) -> bool:
        return name in self._pools

    def get(self, name: str) -> Pool:
        if name not in self._pools:
            raise failure(f"pool '{name}' does not exist")
        return self._pools[name]

    def create(self, name: str, comment: str) -> None:
        if name in self._pools:
            raise failure(f"pool '{name}' already exists")
        self._pools[name] = Pool(comment)
        self.save()

    def remove(self, name: str) -> None:
        del self._pools[name]
        self.save()

    def save(self) -> None:
        write_json(self._path, {name: asdict(pool) for name, pool in self._pools.items()})
