"""The storages of the cluster, as /etc/pve/storage.cfg has them.

Owns which there are, their options, and what Proxmox refuses to configure. The site's own come from the datacentre
file; those that somebody has changed, added or removed since are kept in the lab's folder.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from lab.datacentre import Proxmox, Storage
from lab.directory import read_json, write_json
from lab.proxmox.errors import failure
from lab.proxmox.formats import split_list, words

COMMON = words("content nodes disable bwlimit")
WITH_FILES = COMMON | words(
    "shared format mkdir create-base-path create-subdirs preallocation prune-backups max-protected-backups "
    "content-dirs snapshot-as-volume-chain"
)
OPTIONS: Mapping[str, tuple[frozenset[str], frozenset[str], frozenset[str]]] = {
    "dir": (words("path"), frozenset(), WITH_FILES | words("is_mountpoint")),
    "nfs": (words("server export"), words("path"), (WITH_FILES | words("options")) - words("shared")),
    "lvmthin": (words("vgname thinpool"), frozenset(), COMMON),
    "rbd": (words("pool"), words("data-pool namespace"), COMMON | words("monhost username krbd authsupported")),
}
"""For each type: what must be given, what may be given but not changed, and what may be given and changed."""
ALWAYS_SHARED = ("nfs", "rbd")
DEFAULT_CONTENT = {"dir": "images,rootdir,vztmpl,iso,snippets,backup,import", "nfs": "images"}
FLAGS = words("shared disable mkdir create-base-path create-subdirs krbd snapshot-as-volume-chain")
NUMBERS = words("max-protected-backups")
DEFAULT_SIZE_GIB = 1000
CHANGED = "detected modified configuration - file changed by other user? Try again."
KEEP_ALL = "keep-all cannot be set together with other options."

Options = dict[str, str | int]


class StorageConfiguration:
    def __init__(self, path: Path, site: Proxmox) -> None:
        self._path = path
        self._site = {storage.id: storage for storage in site.storages}
        kept = read_json(path)
        self._options: dict[str, Options] = kept or {name: _of_site(storage) for name, storage in self._site.items()}
        self._storages = {name: self._storage(name) for name in self._options}

    def __iter__(self) -> Iterator[Storage]:
        return iter(self._storages.values())

    def __contains__(self, identifier: object) -> bool:
        return identifier in self._storages

    def get(self, identifier: str) -> Storage:
        self.options(identifier)
        return self._storages[identifier]

    def _storage(self, identifier: str) -> Storage:
        options = self._options[identifier]
        size = self._site[identifier].size_gib if identifier in self._site else DEFAULT_SIZE_GIB
        used = self._site[identifier].used_gib if identifier in self._site else 0
        kind = str(options["type"])
        return Storage.model_validate(
            {
                "id": identifier,
                "type": kind,
                "content": split_list(str(options.get("content", DEFAULT_CONTENT.get(kind, "images,rootdir")))),
                "size_gib": size,
                "used_gib": used,
                "shared": kind in ALWAYS_SHARED or bool(options.get("shared")),
                "nodes": split_list(str(options.get("nodes", ""))),
                "disabled": bool(options.get("disable")),
                "path": options.get("path", ""),
            }
        )

    def options(self, identifier: str) -> Options:
        if identifier not in self._options:
            raise failure(f"storage '{identifier}' does not exist")
        return self._options[identifier]

    @property
    def digest(self) -> str:
        return hashlib.sha1(json.dumps(self._options).encode()).hexdigest()  # noqa: S324 - as Proxmox, to tell changes

    def add(self, identifier: str, values: Mapping[str, str]) -> None:
        kind = values["type"]
        if kind not in OPTIONS:
            raise failure(f"storage type '{kind}' is not built in this lab")
        required = OPTIONS[kind][0]
        wanted = _checked(kind, {k: v for k, v in values.items() if k not in ("type", "storage")}, "create")
        for option in sorted(required):
            if option not in wanted:
                raise failure(f"create storage failed: missing value for required option '{option}'")
        if identifier in self._options:
            raise failure(f"create storage failed: storage ID '{identifier}' already defined")
        if kind == "nfs":
            wanted.setdefault("path", f"/mnt/pve/{identifier}")
        if kind in ALWAYS_SHARED:
            wanted["shared"] = 1
        if "content" not in wanted and kind in DEFAULT_CONTENT:
            wanted["content"] = DEFAULT_CONTENT[kind]
        self._options[identifier] = {"type": kind, **wanted}
        self._save()

    def update(self, identifier: str, values: Mapping[str, str], deleted: Iterable[str]) -> None:
        options = self.options(identifier)
        if values.get("digest", self.digest) != self.digest:
            raise failure(f"update storage failed: {CHANGED}")
        kind = str(options["type"])
        required, fixed, _ = OPTIONS[kind]
        own = {k: v for k, v in values.items() if k not in ("storage", "digest", "delete")}
        wanted = _checked(kind, own, "update")
        for option in sorted(wanted.keys() & (required | fixed)):
            raise failure(f"update storage failed: can't change value of fixed parameter '{option}'")
        for option in deleted:
            if option in required | fixed:
                raise failure(f"update storage failed: unable to delete required option '{option}'")
            if option in wanted:
                raise failure(f"update storage failed: '{option}' cannot be given and deleted at the same time")
        self._options[identifier] = {k: v for k, v in {**options, **wanted}.items() if k not in set(deleted)}
        self._save()

    def remove(self, identifier: str) -> None:
        self.options(identifier)
        del self._options[identifier]
        self._save()

    def _save(self) -> None:
        self._storages = {name: self._storage(name) for name in self._options}
        write_json(self._path, self._options)


def _checked(kind: str, values: Mapping[str, str], verb: str) -> Options:
    allowed = frozenset().union(*OPTIONS[kind])
    for option in sorted(values):
        if option not in allowed:
            raise failure(f"{verb} storage failed: unexpected property '{option}'")
    if backups := values.get("prune-backups"):
        kept = [part.partition("=") for part in backups.split(",")]
        if len(kept) > 1 and any(name == "keep-all" and value == "1" for name, _, value in kept):
            raise failure(f"{verb} storage failed: {KEEP_ALL}")
    return {name: int(value) if name in FLAGS | NUMBERS else value for name, value in values.items()}


def _of_site(storage: Storage) -> Options:
    """What somebody had to enter to have a storage of the site."""
    options: dict[str, Any] = {"type": storage.type, "content": ",".join(storage.content)}
    if storage.type in ("dir", "nfs"):
        options["path"] = storage.root
    if storage.type == "nfs":
        options |= {"server": "nas", "export": f"/export/{storage.id}"}
    if storage.type == "lvmthin":
        options |= {"vgname": "pve", "thinpool": "data"}
    if storage.type == "rbd":
        options["pool"] = storage.id
    if storage.shared:
        options["shared"] = 1
    if storage.nodes:
        options["nodes"] = ",".join(storage.nodes)
    return options
