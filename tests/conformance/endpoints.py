"""The list of Proxmox's calls that the lab answers, for docs/lab.md: `python -m tests.conformance.endpoints`.

What is built comes from the lab's own registry; which of it others' tests have called, from what a run of them left
behind. A test keeps the page equal to both.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

from lab.proxmox import description, server
from lab.proxmox.registry import CALLS
from tests.conformance import table
from tests.conformance.site import REPOSITORY

PAGE = REPOSITORY / "docs" / "lab.md"
CALLED = Path(__file__).with_name("bpg") / "calls.txt"
METHODS = ("GET", "POST", "PUT", "DELETE")


def called(requests: Path) -> list[str]:
    """The calls that succeeded at least once, by the log of a lab's requests."""
    known, found = description.load(), set()
    for line in requests.read_text(encoding="utf-8").splitlines():
        request = json.loads(line)
        call = known.find(request["method"], request["path"])
        if call and request["status"] == 200:
            found.add(call[0].key)
    return sorted(found)


def as_markdown(built: Iterable[str], called_by_others: Iterable[str]) -> str:
    assert server.BUILT, "importing the server registers its calls"
    marked = set(called_by_others)
    paths: dict[str, list[str]] = {}
    for key in built:
        method, path = key.split(" ", 1)
        paths.setdefault(path, []).append(method)
    total = len(list(description.load()))
    lines = [
        f"{sum(map(len, paths.values()))} of {total} calls are built; those in bold have succeeded in bpg's tests.",
        "",
        "| Path | Calls |",
        "|---|---|",
    ]
    for path, methods in sorted(paths.items()):
        shown = sorted(methods, key=METHODS.index)
        cell = ", ".join(f"**{method}**" if f"{method} {path}" in marked else method for method in shown)
        lines.append(f"| `{path}` | {cell} |")
    return "\n".join(lines) + "\n"


def write(page: Path = PAGE) -> None:
    table.replace(page, "endpoints", as_markdown(CALLS, CALLED.read_text(encoding="utf-8").splitlines()))


if __name__ == "__main__":
    write()
