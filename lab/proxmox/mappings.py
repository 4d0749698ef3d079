"""Hardware mappings: one name for devices of several hosts, or for a folder on each.

Owns which there are and what Proxmox refuses of them. The site's own come from the datacentre file until somebody
changes one.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from lab.datacentre import PciMapping, Proxmox
from lab.directory import read_json, write_json
from lab.proxmox.errors import failure

Kind = Literal["dir", "pci", "usb"]
KINDS: tuple[Kind, ...] = ("dir", "pci", "usb")
CHANGED = "detected modified configuration - file changed by other user? Try again."
SUBJECTS: Mapping[Kind, str] = {"dir": "dir mapping", "pci": "hardware mapping", "usb": "hardware mapping"}


@dataclass(frozen=True)
class Device:
    """One entry of a mapping: what stands behind the name on one host."""

    text: str
    values: Mapping[str, str]

    @property
    def node(self) -> str:
        return self.values["node"]

    @property
    def path(self) -> str:
        return self.values.get("path", "")


class Mappings:
    def __init__(self, path: Path, site: Proxmox) -> None:
        self._path = path
        self._nodes = [node.name for node in site.nodes]
        kept = read_json(path)
        self._mappings: dict[Kind, dict[str, dict[str, Any]]] = kept or {kind: {} for kind in KINDS}
        if kept is None:
            self._mappings["pci"] = {mapping.id: _of_site(mapping) for mapping in site.mappings}

    def names(self, kind: Kind) -> Iterator[str]:
        return iter(self._mappings[kind])

    def find(self, kind: Kind, name: str) -> dict[str, Any] | None:
        return self._mappings[kind].get(name)

    def get(self, kind: Kind, name: str) -> dict[str, Any]:
        found = self.find(kind, name)
        if found is None:
            raise failure(f"mapping '{name}' not found")
        return found

    def devices(self, kind: Kind, name: str) -> list[Device]:
        """What stands behind a name, on all hosts; nothing where there is no such mapping."""
        found = self.find(kind, name)
        return [device(text) for text in found["map"]] if found else []

    def digest(self, kind: Kind) -> str:
        return hashlib.sha1(json.dumps(self._mappings[kind]).encode()).hexdigest()  # noqa: S324 - as Proxmox

    def add(self, kind: Kind, name: str, values: Mapping[str, Any]) -> None:
        where = f"create {SUBJECTS[kind]} failed"
        if name in self._mappings[kind]:
            raise failure(f"{where}: {kind} ID '{name}' already defined")
        self._mappings[kind][name] = dict(values)
        self._save()

    def update(self, kind: Kind, name: str, values: Mapping[str, Any], deleted: list[str], digest: str | None) -> None:
        where = f"update {SUBJECTS[kind]} failed"
        if digest and digest != self.digest(kind):
            raise failure(f"{where}: {CHANGED}")
        if name not in self._mappings[kind]:
            raise failure(f"{where}: {kind} ID '{name}' does not exist")
        if "map" in deleted:
            raise failure(f"{where}: unable to delete required option 'map'")
        changed = {**self._mappings[kind][name], **values}
        self._mappings[kind][name] = {key: value for key, value in changed.items() if key not in deleted}
        self._save()

    def remove(self, kind: Kind, name: str) -> None:
        if self._mappings[kind].pop(name, None) is not None:
            self._save()

    def _save(self) -> None:
        write_json(self._path, self._mappings)


def device(text: str) -> Device:
    parts = (part.partition("=") for part in text.split(","))
    return Device(text, {name: value for name, _, value in parts})


def devices_of_host(text: str) -> list[str]:
    """The addresses that a PCI device without a mapping names: `0000:01:00.0;0000:01:00.1`, with or without domain."""
    return [part if re.match(r"[0-9a-f]{4}:", part) else f"0000:{part}" for part in text.split(";") if part]


def _of_site(mapping: PciMapping) -> dict[str, Any]:
    entries = [f"id={d.id},iommugroup={d.iommugroup},node={d.node},path={d.path}" for d in mapping.map]
    return {"map": entries, **({"description": mapping.description} if mapping.description else {})}
