"""Which Proxmox host each machine runs on.

A host depends on the pool, the node's number and the list of hosts alone, so that a changed count moves nobody. Where
the list of hosts changes, machines move by live migration; nothing is made anew.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal
from zlib import crc32

Strategy = Literal["spread", "pack"]


def host_of(pool: str | None, index: int, hosts: Sequence[str], strategy: Strategy) -> str:
    """The host of node ``index`` (from 0) of a pool; ``pool`` is None for control planes.

    Control planes begin on the first host, so that as many of them as there are hosts are apart. Other pools begin
    somewhere that follows from their name, so that small pools do not all meet on the first host.
    """
    if strategy == "pack":
        return hosts[0]
    begin = 0 if pool is None else crc32(pool.encode())
    return hosts[(begin + index) % len(hosts)]
