"""What is set for the whole cluster and for each host: /etc/pve/datacenter.cfg and the hosts' own files."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from lab.directory import read_json, write_json

DEFAULT_TIMEZONE = "Etc/UTC"


class Settings:
    def __init__(self, path: Path) -> None:
        self._path = path
        self._kept: dict[str, Any] = read_json(path, {"cluster": {}, "nodes": {}, "timezones": {}})

    def of_cluster(self) -> Mapping[str, str]:
        found: Mapping[str, str] = self._kept["cluster"]
        return found

    def set_cluster(self, given: Mapping[str, str], deleted: Iterable[str]) -> None:
        self._kept["cluster"] = _changed(self._kept["cluster"], given, deleted)
        self._save()

    def of_node(self, node: str) -> Mapping[str, str | int]:
        found: Mapping[str, str | int] = self._kept["nodes"].get(node, {})
        return found

    def set_node(self, node: str, given: Mapping[str, str | int], deleted: Iterable[str]) -> None:
        self._kept["nodes"][node] = _changed(self.of_node(node), given, deleted)
        self._save()

    def timezone(self, node: str) -> str:
        found: str = self._kept["timezones"].get(node, DEFAULT_TIMEZONE)
        return found

    def set_timezone(self, node: str, zone: str) -> None:
        self._kept["timezones"][node] = zone
        self._save()

    def _save(self) -> None:
        write_json(self._path, self._kept)


def _changed(present: Mapping[str, Any], given: Mapping[str, Any], deleted: Iterable[str]) -> dict[str, Any]:
    gone = set(deleted)
    return {name: value for name, value in {**present, **given}.items() if name not in gone}
