"""Files that nobody writes on purpose, read one after the other in a process that may not take much for it.

`python -m tests.sites.extremes` prints, as JSON, what is said of each, and the most memory that the process took.
"""

from __future__ import annotations

import json
import resource
from collections.abc import Iterable, Mapping
from pathlib import Path

from cluster_stack.config import ConfigError, load_text
from cluster_stack.config.document import MAX_BYTES
from tests.sites import text_of

NAME = "clusters/homelab/cluster.yaml"


def _homelab(old: str, new: str) -> bytes:
    text = text_of("homelab")
    assert text.count(old) == 1
    return text.replace(old, new).encode()


def _beside_workers(lines: Iterable[str]) -> bytes:
    return _homelab("    workers:\n", "".join(f"    {line}\n" for line in (*lines, "workers:")))


def _chain(first: str, following: str, length: int) -> bytes:
    """Lines, each of which refers to the one before it: N is its number, M that of the one before."""
    later = (following.replace("N", str(number)).replace("M", str(number - 1)) for number in range(1, length))
    return "".join([first, *later]).encode()


_REST = "9" * 300_000

FILES: Mapping[str, bytes] = {
    "more bytes than a file may have": b"#" * (MAX_BYTES + 1),
    "nothing but a comment": b"#" * MAX_BYTES,
    "nothing but a byte order mark": b"\xef\xbb\xbf",
    "nothing but tabs": b"\t" * MAX_BYTES,
    "nothing but NUL bytes": b"\0" * MAX_BYTES,
    "a NUL byte": _homelab("environment: dev", "environment: d\0v"),
    "an escape sequence": _homelab("environment: dev", "environment: \x1b[31mdev"),
    "UTF-16": text_of("homelab").encode("utf-16"),
    "Latin-1": text_of("laptop").encode("latin-1"),
    "half a character": b"description: \xed\xa0\x80\n",
    "a list of everything": b"a: [" + b"x," * 400_000 + b"]",
    "a line for everything": b"a:\n" + b"- x\n" * 200_000,
    "a long text": _homelab("description: Homelab k8s cluster", f"description: {_REST}x"),
    "a long key": b"? " + b"x" * 300_000 + b"\n: 1\n" + text_of("homelab").encode(),
    "a long name": _homelab("name: homelab\n", f"name: h{_REST}\n"),
    "a long version": _homelab("version: v1.11.5", f"version: v1.{_REST}.5"),
    "many unknown keys": "".join(f"key{number}: 1\n" for number in range(5000)).encode(),
    "many wrong items": _homelab("optional: []", f"optional: [{'7, ' * 5000}]"),
    "one key again and again": b"a: 1\n" * 5000,
    "many wrong nodes": _beside_workers(["nodes:", *(f"  n{n}: {{vmId: 5}}" for n in range(2000))]),
    "many pools of one name": _beside_workers(
        ["nodePools:", *(f"- {{name: p, count: 1, idBase: {n + 900}}}" for n in range(2000))]
    ),
    "deep brackets": b"a: " + b"[" * 100_000 + b"]" * 100_000,
    "deep braces": b"{a: " * 100_000 + b"}" * 100_000,
    "deep dashes": b"- " * 100_000,
    "deep question marks": b"? " * 100_000,
    "deep lines": "".join(f"{' ' * depth}a:\n" for depth in range(1300)).encode(),
    "brackets that do not close": b"a: " + b"[" * 900_000,
    "exploding aliases": _chain("a0: &a0 [x]\n", f"aN: &aN [{', '.join(['*aM'] * 10)}]\n", 9),
    "exploding merges": _chain("a0: &a0 {a: 1}\n", f"aN: &aN {{<<: [{', '.join(['*aM'] * 10)}]}}\n", 9),
    "a long chain of aliases": _chain("a0: &a0 [x]\n", "aN: &aN [*aM]\n", 3000),
    "a long chain of merges": _chain("a0: &a0 {a: 1}\n", "aN: &aN {<<: *aM}\n", 3000),
    "a number of many digits": _homelab("idBase: 800 ", f"idBase: {_REST} "),
    "a hexadecimal number of many digits": _homelab("idBase: 800 ", f"idBase: 0x{_REST} "),
    "a fraction of many digits": _homelab("idBase: 800 ", f"idBase: 0.{_REST} "),
    "more workers than atoms": _homelab(
        "count: 3\n      resources: {cores: 8", f"count: {2**62}\n      resources: {{cores: 8"
    ),
    "a range of all addresses": _homelab("bridge: vmbr0 ", "ipRanges: {controlPlane: 0.0.0.0-255.255.255.255} "),
}


def main() -> None:
    # What grows without end shall end here, and not with the machine that the tests run on.
    resource.setrlimit(resource.RLIMIT_AS, (4 << 30, 4 << 30))
    answers = {name: _answer(raw) for name, raw in FILES.items()}
    print(json.dumps({"answers": answers, "megabytes": _peak()}))


def _peak() -> int:
    """The most memory that this program had, in megabytes. Linux has who started it in `ru_maxrss` too."""
    status = Path("/proc/self/status")
    if status.exists():
        lines = (line.split() for line in status.read_text().splitlines())
        return next(int(words[1]) // 1024 for words in lines if words[0] == "VmHWM:")
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024


def _answer(raw: bytes) -> list[str]:
    """What is said of a file, line by line, without its name."""
    try:
        load_text(raw, NAME)
    except ConfigError as error:
        return [line.removeprefix(NAME) for line in str(error).splitlines()]
    return []


if __name__ == "__main__":
    main()
