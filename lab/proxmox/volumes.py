"""Volumes: how they are called on each type of storage, where they lie on a host, and what can be done with them.

With files (dir, nfs) a name carries the format, and a linked clone's name that of its base; block devices (lvmthin,
rbd) are raw. Owns names and the table of features; which volumes exist is lab.proxmox.storage's business.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from lab.datacentre import Image, Storage
from lab.proxmox.errors import failure
from lab.proxmox.formats import words

FILE_FORMATS = ("raw", "qcow2", "vmdk")
DEFAULT_FORMAT = "raw"
FOLDERS = {"images": "images/", "iso": "template/", "vztmpl": "template/"}
_FILE_DISK = re.compile(r"(?:(?P<base>\d+/base-[^/]+)/)?(?P<owner>\d+)/(?P<file>[^/\s]+)\.(?P<format>raw|qcow2|vmdk)")
_BLOCK_DISK = re.compile(r"(?:(?P<base>base-\d+-[^/\s]+)/)?(?:vm|base)-(?P<owner>\d+)-[^/\s]+")

Feature = Literal["snapshot", "clone", "template", "copy", "rename"]
Kind = Literal["base", "current", "snap"]

_EVERY_FORMAT = frozenset(FILE_FORMATS)
_FEATURES: Mapping[str, Mapping[Feature, Mapping[Kind, frozenset[str]]]] = {
    "file": {
        "snapshot": {"current": words("qcow2"), "snap": words("qcow2")},
        "clone": {"base": _EVERY_FORMAT},
        "template": {"current": _EVERY_FORMAT},
        "copy": {"base": _EVERY_FORMAT, "current": _EVERY_FORMAT, "snap": words("qcow2")},
        "rename": {"current": _EVERY_FORMAT},
    },
    "block": {
        "snapshot": {"current": words("raw"), "snap": words("raw")},
        "clone": {"base": words("raw"), "snap": words("raw")},
        "template": {"current": words("raw")},
        "copy": {"base": words("raw"), "current": words("raw"), "snap": words("raw")},
        "rename": {"current": words("raw")},
    },
}
"""Which formats have a feature: as a base image, as an ordinary disk, in a snapshot."""


@dataclass(frozen=True)
class VolumeName:
    """A parsed volume id: `local:800/vm-800-disk-0.raw`, `ceph:vm-800-disk-0`."""

    storage: str
    name: str
    content: str
    format: str
    owner: int | None
    base: str | None = None
    """The name of the base image, where this is a linked clone of one."""

    @property
    def id(self) -> str:
        return f"{self.storage}:{self.name}"

    @property
    def stem(self) -> str:
        """The last part of the name, without its format: `vm-800-disk-0`."""
        return self.name.rpartition("/")[2].removesuffix(f".{self.format}")

    @property
    def is_base(self) -> bool:
        return self.stem.startswith("base-")


@dataclass(frozen=True)
class Volume:
    name: VolumeName
    size: int
    """The size of the disk in it, for what is or has a disk image."""
    created: int
    image: Image | None = None
    vmid: int | None = None
    file_size: int | None = None
    """The size of the file, where it is not a VM's disk."""
    written: int = 0
    """How much of a VM's disk takes space: what was copied into it. What guests write is not counted."""
    parent: str | None = None
    snapshots: tuple[str, ...] = ()
    sums: Mapping[str, str] = field(default_factory=dict)
    """The checksums of a file, by algorithm."""
    notes: str | None = None
    protected: bool = False

    @property
    def used(self) -> int:
        if self.vmid is not None:
            return self.written
        return self.size if self.file_size is None else self.file_size


def parse(storage: Storage, name: str) -> VolumeName:
    """Take the name of a volume on a storage apart."""
    if not storage.keeps_files:
        if disk := _BLOCK_DISK.fullmatch(name):
            return VolumeName(storage.id, name, "images", DEFAULT_FORMAT, int(disk["owner"]), disk["base"])
        raise failure(f"unable to parse {'lvm' if storage.type == 'lvmthin' else storage.type} volume name '{name}'")
    if disk := _FILE_DISK.fullmatch(name):
        return VolumeName(storage.id, name, "images", disk["format"], int(disk["owner"]), disk["base"])
    if iso := re.fullmatch(r"iso/([^/]+\.(?:iso|img))", name, re.IGNORECASE):
        return VolumeName(storage.id, f"iso/{iso[1]}", "iso", "iso", None)
    if imported := re.fullmatch(r"import/[^/]+\.(ova|qcow2|raw|vmdk)", name):
        return VolumeName(storage.id, name, "import", imported[1], None)
    if template := re.fullmatch(r"vztmpl/[^/]+\.(?:tar\.)?(gz|xz|zst|bz2|tar)", name):
        return VolumeName(storage.id, name, "vztmpl", f"t{template[1]}", None)
    if backup := re.fullmatch(r"backup/[^/]+\.((?:tar|vma)(?:\.(?:gz|lzo|zst))?)", name):
        return VolumeName(storage.id, name, "backup", backup[1], None)
    if re.fullmatch(r"snippets/[^/]+", name):
        return VolumeName(storage.id, name, "snippets", "snippet", None)
    raise failure(f"unable to parse directory volume name '{name}'")


def disk_name(storage: Storage, vmid: int, stem: str, file_format: str, base: VolumeName | None = None) -> str:
    """The name of a VM's disk; `base` is what it is a linked clone of."""
    if storage.keeps_files:
        own = f"{vmid}/{stem}.{file_format}"
        return f"{base.name.rpartition('/')[0].rpartition('/')[2]}/{_last(base)}/{own}" if base else own
    # An LVM snapshot does not tell in its name what it was made from; a clone in Ceph does.
    return f"{_last(base)}/{stem}" if base and storage.type == "rbd" else stem


def host_path(storage: Storage, name: VolumeName) -> str:
    """Where a volume lies on a host."""
    if storage.type == "rbd":
        return f"rbd:{storage.id}/{_last(name)}"
    if storage.type == "lvmthin":
        return f"/dev/pve/{name.name}"
    own = f"{name.owner}/{_last(name)}" if name.content == "images" else name.name.replace("vztmpl/", "cache/")
    return f"{storage.root}/{FOLDERS.get(name.content, '')}{own.replace('backup/', 'dump/')}"


def has_feature(storage: Storage, name: VolumeName, feature: Feature, snapshot: str | None = None) -> bool:
    kind: Kind = "snap" if snapshot else "base" if name.is_base else "current"
    table = _FEATURES["file" if storage.keeps_files else "block"]
    return name.format in table[feature].get(kind, frozenset())


def _last(name: VolumeName) -> str:
    return name.name.rpartition("/")[2]
