"""What the files of this project and the examples of the original's documents mean."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from cluster_stack.config import cluster_names, load, load_text
from cluster_stack.config.documentation import description
from cluster_stack.config.models import ClusterConfig

ROOT = Path(__file__).parents[2]
MINIMAL = """
metadata: {name: small}
cluster:
  talos: {version: v1.13.0}
  topology: {controlPlane: {count: 1}, workers: {count: 0}}
proxmox:
  endpoint: https://pve.example:8006/
  node: pve
  storage: {datastore: local-lvm, isoPath: "local:iso/talos.iso"}
  vm: {idBase: 500}
"""


def test_the_clusters_of_this_project() -> None:
    assert cluster_names(ROOT) == ["dev", "homelab", "prod"]
    counts = {}
    for name in cluster_names(ROOT):
        config = load(ROOT, name).config
        topology = config.cluster.topology
        counts[name] = (topology.control_plane.count, topology.workers.count, config.proxmox.vm.id_base)
    assert counts == {"homelab": (1, 1, 800), "dev": (1, 1, 850), "prod": (3, 5, 900)}


def test_what_a_minimal_file_leaves_out_has_the_originals_values() -> None:
    config = load_text(MINIMAL.encode(), "clusters/small/cluster.yaml").config
    assert config.talos_cluster_name == "small"
    assert config.platform == "metal"
    assert config.cluster.topology.control_plane.resources.model_dump() == {
        "cores": 4,
        "sockets": 1,
        "memory": 8192,
        "disk": 32,
    }
    assert config.cluster.topology.workers.resources.model_dump() == {
        "cores": 8,
        "sockets": 1,
        "memory": 16384,
        "disk": 100,
    }
    assert (config.proxmox.vm.cpu_type, config.proxmox.vm.on_boot, config.proxmox.vm.force_stop) == (
        "x86-64-v2-AES",
        False,
        False,
    )
    assert (config.proxmox.network.bridge, config.static_addresses, config.gitops.enabled) == ("vmbr0", False, False)


@pytest.mark.parametrize(
    ("resources", "expected"),
    [
        ("{cores: 4, memory: 8192}", (4, 8192, 32)),
        ("{cores: 2, memory: 4096, disk: 20}", (2, 4096, 20)),
        ("{cores: 8, memory: 32768, disk: 100}", (8, 32768, 100)),
    ],
)
def test_the_sizes_of_the_original_documents(resources: str, expected: tuple[int, int, int]) -> None:
    text = MINIMAL.replace("controlPlane: {count: 1}", f"controlPlane: {{count: 1, resources: {resources}}}")
    found = load_text(text.encode(), "clusters/small/cluster.yaml").config.cluster.topology.control_plane.resources
    assert (found.cores, found.memory, found.disk) == expected


def test_every_key_is_explained() -> None:
    silent = []

    def look(model: Any, path: str) -> None:
        for name, info in model.model_fields.items():
            below = getattr(info.annotation, "model_fields", None)
            if below is not None:
                look(info.annotation, f"{path}{info.alias}.")
            elif not description(model, name):
                silent.append(f"{path}{name}")

    look(ClusterConfig, "")
    assert silent == []
