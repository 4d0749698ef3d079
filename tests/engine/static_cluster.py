"""The cluster.yaml on which most end-to-end tests agree: few small machines, at addresses that are known beforehand."""

from __future__ import annotations

from textwrap import indent

_TEXT = """\
metadata: {{name: {name}}}
cluster:
  talos: {{version: v1.13.0, platform: nocloud}}
{cluster}\
  topology:
    controlPlane: {{count: {control_planes}, resources: {{cores: 2, memory: 4096, disk: 20}}}}
    workers: {{count: {workers}, resources: {{cores: 2, memory: 4096, disk: 20}}}}
proxmox:
  endpoint: https://px.wd.ktz.me/
  node: ms01
  storage: {{datastore: local, isoPath: "c137-isos:iso/talos-1.13.0-nocloud-amd64.iso"}}
  network:
    cidr: 10.42.0.0/24
    gateway: 10.42.0.1
    nameservers: [10.42.0.1]
    ipRanges: {{controlPlane: 10.42.0.51-10.42.0.59, workers: 10.42.0.61-10.42.0.69}}
  vm: {{idBase: {id_base}}}
"""


def static_cluster(
    name: str, *, control_planes: int = 1, workers: int = 1, id_base: int = 700, cluster: str = ""
) -> str:
    """``cluster``: further lines of the section of that name. Further sections go behind the text."""
    return _TEXT.format(
        name=name, control_planes=control_planes, workers=workers, id_base=id_base, cluster=indent(cluster, "  ")
    )
