"""What a person reads when the site does not fit the file; and that nothing was touched then."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest

from cluster_stack.automation import ClusterError
from cluster_stack.config import ConfigError
from tests.engine.site import Site

FILE = "clusters/dev/cluster.yaml"
ISO = "c137-isos:iso/talos-1.11.5-qemuguest-metal-amd64.iso"


@pytest.fixture
def original(site: Site) -> Iterator[str]:
    """The file of `dev`, put back afterwards; and the promise that a refusal sends nothing but questions."""
    text = site.cluster_file("dev").read_text()
    before = site.writes()
    yield text
    site.cluster_file("dev").write_text(text)
    assert site.writes() == before


def refused(site: Site) -> list[str]:
    with pytest.raises((ClusterError, ConfigError)) as caught:
        site.up("dev")
    assert "Traceback" not in str(caught.value)
    return str(caught.value).splitlines()


SITE_CASES: dict[str, tuple[list[tuple[str, str | None]], list[str]]] = {
    "a privilege that the token lacks": (
        [("privilege-revoked", "VM.Allocate"), ("privilege-revoked", "SDN.Use")],
        [
            f"{FILE}:27: proxmox.network.bridge: the API token lacks SDN.Use on /sdn/zones/localnetwork/vmbr0. Add it to "
            "the token's role (docs/proxmox.md has the whole role).",
            f"{FILE}:29: proxmox.vm.idBase: the API token lacks VM.Allocate on /vms/850. Add it to the token's role "
            "(docs/proxmox.md has the whole role).",
        ],
    ),
    "an ISO that somebody removed": (
        [("volume-missing", ISO)],
        [
            f"{FILE}:25: proxmox.storage.isoPath: there is no ISO {ISO}. Upload it, or write one of: "
            "c137-isos:iso/talos-1.13.0-nocloud-amd64.iso, c137-isos:iso/talos-1.13.0-qemuguest-metal-amd64.iso."
        ],
    ),
    "a Proxmox that is away": (
        [("api-unreachable", None)],
        [
            f"{FILE}:20: proxmox.endpoint: https://px.wd.ktz.me/ does not answer: connection refused. Is the address right, "
            "the host up, its certificate one that this machine trusts? (Without a port it is 443; Proxmox itself listens on 8006.)"
        ],
    ),
}


@pytest.mark.parametrize("case", SITE_CASES)
def test_what_the_site_does_not_give(site: Site, original: str, case: str) -> None:
    faults, expected = SITE_CASES[case]
    for kind, target in faults:
        site.control.set_fault(kind, target)
    assert refused(site) == expected


FILE_CASES = {
    "a host that does not exist": (
        ("node: ms01", "node: ms09"),
        f"{FILE}:21: proxmox.node: there is no host 'ms09'. Hosts: ms01, ms02, ms03.",
    ),
    "a datastore that does not exist": (
        ("datastore: local", "datastore: local-zfs"),
        f"{FILE}:24: proxmox.storage.datastore: there is no storage 'local-zfs' on ms01, or the API token may not see it. "
        "Storages for images there: ceph, local, local-lvm.",
    ),
    "a datastore for ISOs only": (
        ("datastore: local", "datastore: c137-isos"),
        f"{FILE}:24: proxmox.storage.datastore: the storage 'c137-isos' does not hold images. Allow it in Datacenter > "
        "Storage, or write one of: ceph, local, local-lvm.",
    ),
    "a bridge that does not exist": (
        ("bridge: vmbr0", "bridge: vmbr9"),
        f"{FILE}:27: proxmox.network.bridge: there is no bridge 'vmbr9' on ms01. Bridges there: vmbr0, vmbr1.",
    ),
    "a VM id of somebody else": (
        ("idBase: 850", "idBase: 100"),
        f"{FILE}:29: proxmox.vm.idBase: VM id 100 of dev-cp1 is taken: pfsense on ms01 has it. Write ids that are "
        "free.",
    ),
    "another cluster's VM ids": (
        ("idBase: 850", "idBase: 800"),
        f"{FILE}:29: proxmox.vm.idBase: VM id 800 would be both dev-cp1 and homelab-cp1 (clusters/homelab). Write an idBase "
        "that leaves room: homelab has 800 to 810.",
    ),
    "an endpoint with another name": (
        ("https://px.wd.ktz.me/", "https://proxmox.wd.ktz.me/"),
        f"{FILE}:20: proxmox.endpoint: https://proxmox.wd.ktz.me/ does not answer: ",
    ),
}


@pytest.mark.parametrize("case", FILE_CASES)
def test_what_the_file_names_and_the_site_does_not_have(site: Site, original: str, case: str) -> None:
    edit, expected = FILE_CASES[case]
    site.edit("dev", edit)
    found = refused(site)
    assert len(found) == 1
    assert found[0].startswith(expected)


def test_the_command_line_says_the_same_without_a_traceback(site: Site, original: str) -> None:
    site.edit("dev", ("node: ms01", "node: ms09"), ("bridge: vmbr0", "bridge: 7"))
    done = site.run(".venv/bin/python", "-m", "cluster_stack", "up", "dev", check=False)
    assert done.returncode == 1
    assert done.stderr.startswith(f"{FILE}:27: proxmox.network.bridge: 7 is not a bridge name.")
    site.cluster_file("dev").write_text(original)
    site.ensure_stack("dev")
    site.edit(
        "dev",
        (
            "count: 1\n      resources: {cores: 2, memory: 4096, disk: 20}       #",
            "count: 2\n      resources: {cores: 2, memory: 4096, disk: 20}       #",
        ),
    )
    done = site.run("pulumi", "up", "--yes", "-s", "dev", check=False)
    assert done.returncode != 0
    assert "2 control planes: etcd needs a majority of 2" in done.stdout + done.stderr
    assert "Traceback" not in done.stdout + done.stderr
    assert "unhandled" not in done.stdout + done.stderr, "the engine takes a user's mistake for the program's"


def test_a_certificate_that_nobody_trusts(site: Site) -> None:
    site.ensure_stack("dev")
    file = site.cluster_file("dev")
    original, before = file.read_text(), site.writes()
    stranger = ("env", "SSL_CERT_FILE=/dev/null")
    done = site.run(*stranger, "pulumi", "up", "--yes", "-s", "dev", check=False)
    assert done.returncode != 0
    assert "proxmox.endpoint: https://px.wd.ktz.me/ does not answer: its certificate is not trusted" in done.stdout
    assert site.writes() == before
    try:
        site.edit("dev", ("insecure: false", "insecure: true"))
        site.run(*stranger, "pulumi", "up", "--yes", "-s", "dev")
        assert {850, 860} <= set(site.guests())
    finally:
        site.run(*stranger, "pulumi", "destroy", "--yes", "-s", "dev")
        file.write_text(original)


def test_a_stack_without_a_folder(site: Site) -> None:
    with pytest.raises(
        ConfigError, match=r"there is no cluster 'homelap'\. Did you mean homelab\? Clusters here: dev, homelab"
    ):
        site.up("homelap")
    site.run("pulumi", "stack", "init", "homelap")
    done = site.run("pulumi", "preview", "-s", "homelap", check=False)
    assert done.returncode != 0
    assert "Did you mean homelab?" in done.stdout + done.stderr
    site.run("pulumi", "stack", "rm", "--yes", "homelap")


def test_no_token(site: Site) -> None:
    site.ensure_stack("dev")
    done = site.run("env", "-u", "PROXMOX_VE_API_TOKEN", "pulumi", "preview", "-s", "dev", check=False)
    assert done.returncode != 0
    assert "there is no Proxmox API token. Run `pulumi config set --secret proxmoxApiToken -s dev`" in done.stdout


def test_a_token_that_proxmox_does_not_know(site: Site) -> None:
    site.ensure_stack("dev")
    token = "pulumi@pve!cluster-stack=00000000-0000-0000-0000-000000000000"
    done = site.run("env", f"PROXMOX_VE_API_TOKEN={token}", "pulumi", "up", "--yes", "-s", "dev", check=False)
    assert done.returncode != 0
    assert "Proxmox does not accept the API token" in done.stdout
    assert token not in done.stdout + done.stderr


def test_the_token_may_be_a_setting_of_the_stack(site: Site) -> None:
    """As on a real site: `pulumi config set --secret`, nothing in the environment."""
    site.ensure_stack("dev")
    token = site.lab.token_secret()
    full = f"pulumi@pve!cluster-stack={token}"
    try:
        site.run("sh", "-c", f"printf %s '{full}' | pulumi config set --secret proxmoxApiToken -s dev")
        assert token not in (site.project / "stacks" / "Pulumi.dev.yaml").read_text()
        done = site.run("env", "-u", "PROXMOX_VE_API_TOKEN", "pulumi", "up", "--yes", "-s", "dev")
        assert "dev-cp1" in done.stdout
        assert token not in site.run("pulumi", "stack", "export", "-s", "dev").stdout
        site.run("env", "-u", "PROXMOX_VE_API_TOKEN", "pulumi", "destroy", "--yes", "-s", "dev")
    finally:
        site.run("pulumi", "config", "rm", "proxmoxApiToken", "-s", "dev")


def test_machines_that_never_get_an_address(site: Site) -> None:
    site.control.set_fault("dhcp-silent")
    try:
        with pytest.raises(ClusterError) as caught:
            site.up("dev")
        # The engine stops at the first one that it hears of.
        sentence = (
            r"dev-(cp|worker)1 \(VM 8[56]0 on ms01\) has no IPv4 address: its guest agent reported none within 3m\."
        )
        assert re.match(sentence, str(caught.value))
        assert "run `pulumi up -s dev --refresh`" in str(caught.value)
        assert "Traceback" not in str(caught.value)
        site.control.clear_faults()
        assert site.up("dev", refresh=True).outputs.all_vm_ids == (850, 860)
    finally:
        site.control.clear_faults()
        site.destroy("dev")
