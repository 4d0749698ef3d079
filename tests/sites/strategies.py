"""Made-up clusters: data that is a valid cluster.yaml, of every shape."""

from __future__ import annotations

import copy
from ipaddress import IPv4Network, IPv6Network
from typing import Any

from hypothesis import strategies as st

Data = dict[str, Any]

_WORDS = st.sampled_from(["red", "blue", "gpu", "batch", "ingress", "storage", "edge", "x", "very-long-pool-name"])
_HOSTS = ["pve1", "pve2", "ms01", "big", "A-1"]
_ROOM = 100
"""Ids and addresses that each pool has for itself."""


@st.composite
def clusters(draw: st.DrawFn) -> Data:
    """The data of one valid cluster.yaml, for the cluster called ``made``."""
    pools = draw(st.lists(_WORDS, max_size=3, unique=True))
    base = draw(st.integers(100, 900_000_000))
    topology: Data = {
        "controlPlane": {"count": draw(st.sampled_from([1, 3, 5, 9])), **draw(_machines())},
        "workers": {"count": draw(st.integers(0, 12)), **draw(_machines())},
        "nodePools": [
            {
                "name": name,
                "count": draw(st.integers(0, 5)),
                "idBase": base + _ROOM * (number + 2),
                **draw(_machines()),
            }
            for number, name in enumerate(pools)
        ],
    }
    hosts = draw(st.lists(st.sampled_from(_HOSTS), min_size=1, max_size=4, unique=True))
    data: Data = {
        "metadata": {"name": "made", "labels": draw(_labels())},
        "cluster": {"talos": draw(_talos()), "topology": topology},
        "proxmox": {
            "endpoint": "https://pve.example:8006/",
            **draw(st.sampled_from([{"node": hosts[0]}, {"nodes": hosts}])),
            "storage": {"datastore": "local-lvm", "imageDatastore": "local"},
            "vm": {"idBase": base, **draw(_vm())},
        },
    }
    if draw(st.booleans()):
        data["proxmox"]["network"] = draw(_static(topology))
    topology["nodes"] = draw(_overrides(data, hosts))
    return data


def _optional(**keys: st.SearchStrategy[Any]) -> st.SearchStrategy[Data]:
    return st.fixed_dictionaries({}, optional=keys)


def _labels() -> st.SearchStrategy[Data]:
    return st.dictionaries(st.sampled_from(["tier", "example.com/site"]), st.sampled_from(["gold", "Berlin", ""]))


_PARTICULARS: list[Data] = [
    {},
    {"placement": {"strategy": "pack"}},
    {"resources": {"cores": 2, "memory": 2048, "disk": 10}},
    {"resources": {"cores": 64, "memory": 262_144}, "labels": {"size": "large"}, "taints": ["large=true:NoSchedule"]},
    {"extensions": ["siderolabs/gvisor"], "pciDevices": [{"mapping": "card"}]},
    {"disks": [{"size": 1}, {"size": 4000, "ssd": True}], "networkInterfaces": [{"bridge": "vmbr1", "vlan": 4094}]},
]


def _machines() -> st.SearchStrategy[Data]:
    return st.sampled_from(_PARTICULARS).map(copy.deepcopy)


def _talos() -> st.SearchStrategy[Data]:
    return st.fixed_dictionaries(
        {"version": st.sampled_from(["v1.10.9", "v1.11.5", "v1.12.4", "v1.13.3"])},
        optional={
            "clusterName": st.just("talos-made"),
            "secureboot": st.booleans(),
            "diskEncryption": st.sampled_from(["tpm", "nodeID"]),
        },
    )


def _vm() -> st.SearchStrategy[Data]:
    return _optional(
        cpuType=st.sampled_from(["host", "x86-64-v3"]),
        onBoot=st.booleans(),
        tpm=st.booleans(),
        machine=st.just("q35"),
        tags=st.lists(st.sampled_from(["one", "two"]), unique=True),
    )


@st.composite
def _static(draw: st.DrawFn, topology: Data) -> Data:
    """A network with room for everybody; gives each pool its range."""
    cidr = IPv4Network((int(IPv4Network("10.0.0.0/8").network_address) + 1024 * draw(st.integers(0, 5000)), 22))
    first = cidr.network_address + 2
    for number, pool in enumerate(topology["nodePools"]):
        start = first + _ROOM * (number + 2)
        pool["ipRange"] = f"{start}-{start + _ROOM - 1}"
    network: Data = {
        "cidr": str(cidr),
        "gateway": str(cidr.network_address + 1),
        "ipRanges": {
            "controlPlane": f"{first}-{first + _ROOM - 1}",
            "workers": f"{first + _ROOM}-{first + 2 * _ROOM - 1}",
        },
    }
    if draw(st.booleans()):
        network["cidr6"] = str(IPv6Network((draw(st.integers(0xFD00, 0xFDFF)) << 112, 64)))
    return network


@st.composite
def _overrides(draw: st.DrawFn, data: Data, hosts: list[str]) -> Data:
    names = sorted(machine_names(data))
    chosen = draw(st.lists(st.sampled_from(names), max_size=3, unique=True))
    own = hosts if "nodes" in data["proxmox"] else hosts[:1]
    return {
        name: draw(
            _optional(
                node=st.sampled_from(own),
                macAddress=st.just(f"02:00:00:00:00:{number:02x}"),
                vmId=st.just(950_000_000 + number),
                resources=_optional(cores=st.integers(2, 64)),
            )
        )
        for number, name in enumerate(chosen)
    }


def machine_names(data: Data) -> list[str]:
    topology = data["cluster"]["topology"]
    suffixes = [("cp", topology["controlPlane"]), ("worker", topology["workers"])]
    suffixes += [(pool["name"], pool) for pool in topology["nodePools"]]
    return [f"made-{suffix}{number + 1}" for suffix, pool in suffixes for number in range(pool["count"])]


@st.composite
def grown(draw: st.DrawFn) -> tuple[Data, Data]:
    """A cluster, and the same one with more nodes, and perhaps a further pool."""
    small = draw(clusters())
    large = copy.deepcopy(small)
    topology = large["cluster"]["topology"]
    topology["controlPlane"]["count"] = draw(st.sampled_from([5, 7, 9]).filter(lambda count: count >= _count(small)))
    for pool in (topology["workers"], *topology["nodePools"]):
        pool["count"] += draw(st.integers(0, 20))
    if draw(st.booleans()):
        further: Data = {"name": "further", "count": 2, "idBase": 940_000_000}
        network = large["proxmox"].get("network")
        if network:
            last = IPv4Network(network["cidr"]).broadcast_address
            further["ipRange"] = f"{last - 50}-{last - 1}"
        topology["nodePools"].append(further)
    return small, large


def _count(data: Data) -> int:
    return int(data["cluster"]["topology"]["controlPlane"]["count"])
