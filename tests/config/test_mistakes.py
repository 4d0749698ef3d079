"""Every mistake in cluster.yaml gets one sentence: where, what, what to write instead."""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest

from cluster_stack.config import ConfigError, load, load_text

ROOT = Path(__file__).parents[2]
FILE = "clusters/homelab/cluster.yaml"
HOMELAB = (ROOT / FILE).read_text()
STATIC = "bridge: vmbr0, cidr: 10.0.0.0/24, gateway: 10.0.0.1, ipRanges: {controlPlane: 10.0.0.51-10.0.0.59, workers: 10.0.0.61-10.0.0.99}"


def messages(text: str | bytes) -> list[str]:
    raw = text if isinstance(text, bytes) else text.encode()
    with pytest.raises(ConfigError) as caught:
        load_text(raw, FILE)
    return str(caught.value).splitlines()


def edited(*edits: tuple[str, str]) -> str:
    text = HOMELAB
    for old, new in edits:
        assert text.count(old) == 1, f"{old!r} is there {text.count(old)} times"
        text = text.replace(old, new)
    return text


def static(old: str, new: str) -> str:
    assert old in STATIC
    network = STATIC.replace(old, new)
    platform = ("installDisk: /dev/sda", "platform: nocloud")
    return edited(platform, ("bridge: vmbr0                  # DHCP only, no other key", "{" + network + "}"))


CASES = {
    "unknown key": (
        edited(("clusterName:", "clustername:")),
        "8: cluster.talos.clustername: there is no such key. Did you mean clusterName? "
        "Keys that belong here: version, clusterName, factorySchematic, installDisk, platform.",
    ),
    "unknown key in another style": (
        edited(("controlPlane:", "control_plane:")),
        "12: cluster.topology.control_plane: there is no such key. Did you mean controlPlane? "
        "Keys that belong here: controlPlane, workers.",
    ),
    "no control plane": (
        edited(("count: 1\n      resources: {cores: 4", "count: 0\n      resources: {cores: 4")),
        "13: cluster.topology.controlPlane.count: 0 is too small. Write 1 or more. How many control planes: 1, or 3 to "
        "survive the loss of one, or 5 to survive the loss of two.",
    ),
    "even control planes": (
        edited(("count: 1\n      resources: {cores: 4", "count: 2\n      resources: {cores: 4")),
        "13: cluster.topology.controlPlane.count: 2 control planes: etcd needs a majority of 2, so 2 survive no more "
        "losses than 1 do. Write 1 or 3.",
    ),
    "more control planes than ids": (
        edited(("count: 1\n      resources: {cores: 4", "count: 11\n      resources: {cores: 4")),
        "13: cluster.topology.controlPlane.count: 11 control planes do not fit into the VM ids 800 to 809, workers begin "
        "at 810. Write 9 or less; more than 5 make etcd slower, not safer.",
    ),
    "memory with a unit": (
        edited(("memory: 8192", "memory: 8GB")),
        "14: cluster.topology.controlPlane.resources.memory: '8GB' is not a whole number. Write 8192: the number of MB, "
        "without a unit.",
    ),
    "memory in quotes": (
        edited(("memory: 8192", 'memory: "8192"')),
        "14: cluster.topology.controlPlane.resources.memory: '8192' is not a whole number. Write the number of MB, without "
        "a unit or quotes.",
    ),
    "memory too small for a control plane": (
        edited(("memory: 8192", "memory: 1024")),
        "14: cluster.topology.controlPlane.resources.memory: 1024 is too small. Write 2048 MB or more. Memory in MB. Talos "
        "asks for 2048 at least on a control plane.",
    ),
    "disk with a unit": (
        edited(("disk: 32", "disk: 0.5Ti")),
        "14: cluster.topology.controlPlane.resources.disk: '0.5Ti' is not a whole number. Write 512: the number of GB, "
        "without a unit.",
    ),
    "a word instead of a mapping": (
        edited(("resources: {cores: 8, memory: 16384, disk: 100}", "resources: large")),
        "17: cluster.topology.workers.resources: 'large' is not a mapping of keys. Keys that belong here: cores, memory, disk.",
    ),
    "a boolean in quotes": (
        edited(("onBoot: false", 'onBoot: "false"')),
        "30: proxmox.vm.onBoot: 'false' is neither true nor false. Write true or false, without quotes.",
    ),
    "a version that YAML reads as a number": (
        edited(("version: v1.11.5", "version: 1.11")),
        "7: cluster.talos.version: 1.11 is not text. Put it in quotes. Talos Linux version of the nodes, for example "
        "`v1.11.5`.",
    ),
    "a version without its v": (
        edited(("version: v1.11.5", "version: 1.11.5")),
        "7: cluster.talos.version: '1.11.5' does not have the right form. Talos Linux version of the nodes, for example "
        "`v1.11.5`.",
    ),
    "a Talos that the provider does not know": (
        edited(("version: v1.11.5", "version: v1.14.0")),
        "7: cluster.talos.version: Talos v1.14.0 is not supported. Write a version from v1.10 to v1.13.",
    ),
    "an endpoint without TLS": (
        edited(("https://px.wd.ktz.me/", "http://px.wd.ktz.me/")),
        "19: proxmox.endpoint: 'http://px.wd.ktz.me/' is not an https address. Proxmox answers https only: write "
        "https://<host>:8006/.",
    ),
    "an endpoint without a host": (
        edited(("https://px.wd.ktz.me/", "https:///api2")),
        "19: proxmox.endpoint: 'https:///api2' is not an https address. Proxmox answers https only: write "
        "https://<host>:8006/.",
    ),
    "an endpoint with a port that is none": (
        edited(("https://px.wd.ktz.me/", "https://px.wd.ktz.me:80x6/")),
        "19: proxmox.endpoint: 'https://px.wd.ktz.me:80x6/' is not an https address. Proxmox answers https only: write "
        "https://<host>:8006/.",
    ),
    "a missing key": (
        edited(("  node: ms01\n", "")),
        "18: proxmox.node: the key is missing. Proxmox host that the VMs run on.",
    ),
    "a missing section": (
        edited(
            (
                "  storage:\n    datastore: local\n    isoPath: c137-isos:iso/talos-1.11.5-qemuguest-metal-amd64.iso\n",
                "",
            )
        ),
        "18: proxmox.storage: the key is missing. Keys that belong below it: datastore, isoPath.",
    ),
    "another name than the folder's": (
        edited(("name: homelab", "name: office")),
        "2: metadata.name: the cluster is called 'office', its folder 'homelab'. Write `name: homelab`, or rename the "
        "folder: a cluster, its folder and its stack have one name.",
    ),
    "a tab": (
        edited(("  node: ms01", "\tnode: ms01")),
        "20: a tab is used for indentation. YAML allows only spaces there: write two spaces for each level.",
    ),
    "broken YAML": (
        edited(("core: [cert-manager, ingress-nginx]", "core: [cert-manager")),
        "37: not YAML: did not find expected ',' or ']' (while parsing a flow sequence). Check the indentation, quotes and "
        "brackets on this line and the one above.",
    ),
    "a key twice": (
        edited(("  insecure: false\n", "  insecure: false\n  node: ms02\n")),
        "22: proxmox.node: the key is there twice. It stands on line 20 already: keep one of the two.",
    ),
    "static addresses on a metal image": (
        edited(("bridge: vmbr0                  # DHCP only, no other key", "{" + STATIC + "}")),
        "26: proxmox.network.cidr: static addresses need an image of the nocloud platform; a metal image asks DHCP. Write "
        "`platform: nocloud` under cluster.talos and name a nocloud ISO in proxmox.storage.isoPath.",
    ),
    "a gateway without static addresses": (
        edited(("bridge: vmbr0  ", "gateway: 10.0.0.1  ")),
        "26: proxmox.network.gateway: it is only for static addresses. Write proxmox.network.cidr beside it, or remove it.",
    ),
    "a range outside the network": (
        static("10.0.0.51-10.0.0.59", "10.0.1.51-10.0.1.59"),
        "26: proxmox.network.ipRanges.controlPlane: 10.0.1.51-10.0.1.59 is not inside 10.0.0.0/24. Write addresses of "
        "proxmox.network.cidr.",
    ),
    "a range that holds the gateway": (
        static("10.0.0.51-10.0.0.59", "10.0.0.1-10.0.0.9"),
        "26: proxmox.network.ipRanges.controlPlane: 10.0.0.1-10.0.0.9 holds 10.0.0.1, the gateway. Write a range without it.",
    ),
    "ranges that overlap": (
        static("10.0.0.61", "10.0.0.55"),
        "26: proxmox.network.ipRanges.workers: 10.0.0.55-10.0.0.99 overlaps the control planes' 10.0.0.51-10.0.0.59. Write "
        "two ranges apart.",
    ),
    "a range that ends before it begins": (
        static("10.0.0.51-10.0.0.59", "10.0.0.59-10.0.0.51"),
        "26: proxmox.network.ipRanges.controlPlane: '10.0.0.59-10.0.0.51' ends before it begins. Write the smaller address "
        "first.",
    ),
    "a network with host bits": (
        static("10.0.0.0/24", "10.0.0.1/24"),
        "26: proxmox.network.cidr: '10.0.0.1/24' is not a network. Write its first address and its length: 10.0.0.0/24.",
    ),
    "an empty file": ("", " the file is empty. Start from clusters/homelab/cluster.yaml."),
    "a list": ("- a\n", "1: the file is not a mapping of keys. Start it with `metadata:`."),
    "a file that is not UTF-8": (
        HOMELAB.encode().replace(b"Homelab", b"H\xf6melab"),
        "4: byte 61 is not UTF-8. Save the file as UTF-8.",
    ),
    "exploding aliases": (
        "a: &a [x, x, x, x, x, x, x, x, x, x]\n"
        + "".join(f"{chr(98 + n)}: &{chr(98 + n)} [{', '.join(['*' + chr(97 + n)] * 10)}]\n" for n in range(8)),
        "1: aliases make it more than 100,000 values. Write the values out instead of `*aliases`.",
    ),
    "an alias that contains itself": (
        "a: &a\n  b: *a\n",
        "1: an alias contains itself. Write the values out instead of `*aliases`.",
    ),
    "a deep file": (
        "a: " + "[" * 50 + "]" * 50,
        "1: nested more than 40 levels deep. No key of cluster.yaml is that deep.",
    ),
    "a huge file": (
        "#" * 1_000_001,
        " the file has 1,000,001 bytes. A cluster.yaml has at most 1,000,000.",
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_one_mistake_one_sentence(case: str) -> None:
    text, expected = CASES[case]
    found = messages(text)
    assert found == [f"{FILE}:{expected}"]


def test_all_mistakes_at_once_in_the_order_of_the_file() -> None:
    text = edited(
        ("memory: 8192", "memory: 8GB"), ("node: ms01", "nodes: ms01"), ("environment: dev", "environment: 7")
    )
    keys = [message.split(": ")[1] for message in messages(text)]
    assert keys == [
        "metadata.environment",
        "cluster.topology.controlPlane.resources.memory",
        "proxmox.nodes",
    ]


def test_the_error_travels_between_processes() -> None:
    with pytest.raises(ConfigError) as caught:
        load_text(b"metadata: 1", FILE)
    again = pickle.loads(pickle.dumps(caught.value))
    assert (str(again), again.problems) == (str(caught.value), caught.value.problems)


def test_an_unknown_stack_lists_the_clusters() -> None:
    with pytest.raises(ConfigError) as caught:
        load(ROOT, "homelap")
    assert str(caught.value) == (
        "clusters/homelap/cluster.yaml: there is no cluster 'homelap'. Did you mean homelab? Clusters here: dev, homelab, "
        "prod. A stack has the name of its folder in clusters/."
    )


@pytest.mark.parametrize("change", [lambda text: "\ufeff" + text, lambda text: text.replace("\n", "\r\n")])
def test_byte_order_mark_and_windows_line_ends_are_no_mistakes(change) -> None:
    assert load_text(change(HOMELAB).encode(), FILE).config == load_text(HOMELAB.encode(), FILE).config


def test_anchors_and_merge_keys_work() -> None:
    text = edited(
        ("resources: {cores: 4, memory: 8192, disk: 32}", "resources: &big {cores: 4, memory: 8192, disk: 32}"),
        ("resources: {cores: 8, memory: 16384, disk: 100}", "resources: {<<: *big, disk: 50}"),
    )
    workers = load_text(text.encode(), FILE).config.cluster.topology.workers.resources
    assert (workers.cores, workers.memory, workers.disk) == (4, 8192, 50)
