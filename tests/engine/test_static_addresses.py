"""Static addresses: no DHCP, no guest agent; the nocloud image reads its address from the drive that Proxmox makes."""

from __future__ import annotations

import shutil

from tests.engine.site import Site
from tests.engine.static_cluster import static_cluster


def test_a_cluster_without_dhcp(site: Site) -> None:
    folder = site.add_cluster("static", static_cluster("static"))
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
        shutil.rmtree(folder)
    assert not {700, 710} & set(site.guests())
