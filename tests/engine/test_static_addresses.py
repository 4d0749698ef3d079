"""Static addresses: no DHCP, no guest agent; the nocloud image reads its address from the drive that Proxmox makes."""

from __future__ import annotations

from tests.engine.site import Site

CLUSTER = """
metadata: {name: static}
cluster:
  talos: {version: v1.13.0, platform: nocloud}
  topology:
    controlPlane: {count: 1, resources: {cores: 2, memory: 4096, disk: 20}}
    workers: {count: 1, resources: {cores: 2, memory: 4096, disk: 20}}
proxmox:
  endpoint: https://px.wd.ktz.me/
  node: ms01
  storage: {datastore: local, isoPath: "c137-isos:iso/talos-1.13.0-nocloud-amd64.iso"}
  network:
    cidr: 10.42.0.0/24
    gateway: 10.42.0.1
    nameservers: [10.42.0.1]
    ipRanges: {controlPlane: 10.42.0.51-10.42.0.59, workers: 10.42.0.61-10.42.0.69}
  vm: {idBase: 700}
"""


def test_a_cluster_without_dhcp(site: Site) -> None:
    file = site.cluster_file("static")
    file.parent.mkdir()
    file.write_text(CLUSTER)
    site.control.set_fault("dhcp-silent")
    try:
        # Known before any machine exists, so a preview shows them.
        shown = site.call("preview", "static")
        assert shown.created == 13
        first = site.up("static")
        assert first.outputs.control_plane_ips == ("10.42.0.51",)
        assert first.outputs.worker_ips == ("10.42.0.61",)
        everyone = ["10.42.0.51", "10.42.0.61"]
        # The worker's API is up once a control plane has signed its certificate.
        versions = site.eventually(lambda: site.talosctl(first.outputs, everyone, "version"))
        assert versions.count("v1.13.0") >= 2
        members = site.talosctl(first.outputs, everyone[:1], "get", "members")
        assert "static-cp1" in members
        assert not site.up("static").changes.any
        created = [request for request in site.writes() if request["parameters"].get("vmid") == "700"]
        assert created[0]["parameters"]["ipconfig0"] == "gw=10.42.0.1,ip=10.42.0.51/24"
        # The image has the agent, which shuts a machine down in order; nobody waits for an address from it.
        assert "enabled=1" in created[0]["parameters"]["agent"]
    finally:
        site.control.clear_faults()
        site.destroy("static")
        file.unlink()
        file.parent.rmdir()
    assert not {700, 710} & set(site.guests())
