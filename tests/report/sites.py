"""A cluster with everything that can be shown: several hosts, pools, disks, devices, a shared address."""

from __future__ import annotations

from pathlib import Path

from cluster_stack.project import Project
from cluster_stack.report.cluster import ClusterView

RICH = """\
metadata: {name: prod}
cluster:
  talos: {version: v1.12.4}
  kubernetes: {version: 1.34.2, vip: 10.0.0.50}
  topology:
    controlPlane: {count: 3}
    workers:
      count: 2
      disks: [{size: 200, volume: data}]
      networkInterfaces: [{bridge: vmbr1, vlan: 30}]
    nodePools:
      - name: gpu
        count: 1
        idBase: 950
        ipRange: 10.0.0.80-10.0.0.89
        pciDevices: [{mapping: rtx4090}]
        placement: {nodes: [pve3]}
        resources: {cores: 8, sockets: 2, memory: 65536, disk: 200}
proxmox:
  endpoint: https://px.example:8006/
  nodes: [{name: pve1, cores: 32, memory: 131072, disk: 2000}, pve2, pve3, {name: pve4, memory: 65536}]
  storage: {datastore: local-zfs}
  network:
    vlan: 20
    cidr: 10.0.0.0/24
    gateway: 10.0.0.1
    nameservers: [10.0.0.1, 9.9.9.9]
    ipRanges: {controlPlane: 10.0.0.51-10.0.0.59, workers: 10.0.0.60-10.0.0.79}
  vm: {idBase: 900}
"""


def view(root: Path, text: str = RICH) -> ClusterView:
    """The cluster of a cluster.yaml, which becomes the only one of the project at ``root``."""
    file = root / "clusters" / "prod" / "cluster.yaml"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)
    return ClusterView(Project(root).plan("prod"))
