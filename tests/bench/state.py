"""How much of the state a node is. The file backend writes the whole state after every step of an update."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from tests.bench.figure import Figure
from tests.engine.site import Site

LIMITS = (("a control plane", "cp1", 40), ("a worker", "worker1", 24))
LARGEST = 5


def measure(site: Site, cluster: str) -> Iterator[Figure]:
    exported = json.loads(site.run("pulumi", "stack", "export", "-s", cluster).stdout)
    resources: list[Mapping[str, Any]] = exported["deployment"]["resources"]
    for words, suffix, limit in LIMITS:
        node = f"{cluster}-{suffix}"
        parts = [part for part in resources if _name(part) in (node, f"{node}-vm", f"{node}-config")]
        details = [line for part in parts for line in _described(part)]
        size = sum(_size(part) for part in parts)
        yield Figure(f"state: {words}", size / 1000, limit, "KB", (*details, f"{size:6} bytes  in all"))


def _described(resource: Mapping[str, Any]) -> Iterator[str]:
    yield f"{_size(resource):6} bytes  {_name(resource)} ({resource['type']})"
    inputs, outputs = resource.get("inputs", {}), resource.get("outputs", {})
    if not outputs:
        return
    yield f"{'':9}{_size(inputs)} inputs, {_size(outputs)} outputs, {_frame(resource)} names and dependencies; largest:"
    properties = [
        (_size(value), f"{kind}.{name}")
        for kind, found in (("inputs", inputs), ("outputs", outputs))
        for name, value in found.items()
    ]
    largest = sorted(properties, key=lambda entry: (-entry[0], entry[1]))[:LARGEST]
    yield f"{'':9}{', '.join(f'{name} {size}' for size, name in largest)}"


def _frame(resource: Mapping[str, Any]) -> int:
    return _size({key: value for key, value in resource.items() if key not in ("inputs", "outputs")})


def _name(resource: Mapping[str, Any]) -> str:
    return str(resource["urn"]).rsplit("::", 1)[1]


def _size(value: object) -> int:
    """As the backend writes it: JSON without spaces."""
    return len(json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode())
