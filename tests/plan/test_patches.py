"""The user's patches: read with their lines, refused with a sentence, and taken where Talos takes them.

Whether a patch is good, Talos' own talosctl says, in the tests that are marked `engine`.
"""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

import jsonschema
import pytest
import yaml

import toolchain
from cluster_stack.config import ConfigError
from cluster_stack.config.document import parse
from cluster_stack.plan.nodes import Role
from cluster_stack.plan.patches import PatchDocument, Place, as_patch_texts, check, read
from cluster_stack.plan.patches.checking import CONTROL_PLANE_KEYS, CONTROL_PLANE_KINDS, OWNED_KEYS, OWNED_KINDS, SCHEMA
from cluster_stack.plan.patches.forms import FORMS
from toolchain.pins import TALOS

CLUSTER_YAML = "clusters/demo/cluster.yaml"
PATCH_FILE = "clusters/demo/patches/x.yaml"
ADVICE = "Write @patches/<file> for a file in clusters/demo/patches/."
START = "Start it with `machine:` or `cluster:`, or with `apiVersion: v1alpha1` and a `kind:`."
DATA: dict[str, Any] = json.loads(SCHEMA.read_text())
DOCUMENT_KINDS = {kind: described for kind, described in DATA["x-kinds"].items() if "$ref" in described}


def keys(definition: str) -> str:
    return f"Keys that belong here: {', '.join(DATA['$defs'][definition]['properties'])}."


class Cluster:
    """A folder with a cluster.yaml that has nothing but patches."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def write(self, file: str, content: str | bytes) -> None:
        path = self.folder / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)

    def read(self, patches: str) -> list[PatchDocument]:
        """The documents of a `patches` list, written in YAML; its first line becomes line 4."""
        text = "cluster:\n  talos:\n    patches:\n" + "".join(f"      {line}\n" for line in patches.splitlines())
        self.write("cluster.yaml", text)
        document = parse(text.encode(), CLUSTER_YAML)
        found: list[PatchDocument] = []
        for index, item in enumerate(document.data["cluster"]["talos"]["patches"]):
            found += read(item, folder=self.folder, where=Place(document, ("cluster", "talos", "patches", index)))
        return found

    def problems(self, patches: str, minor: int = 13, role: Role = "worker") -> list[str]:
        try:
            documents = self.read(patches)
        except ConfigError as error:
            return str(error).splitlines()
        return [str(problem) for problem in check(documents, minor, role)]

    def problems_of(self, content: str | bytes, minor: int = 13, role: Role = "worker") -> list[str]:
        """What is wrong with a file of patches, without the file's name."""
        self.write("patches/x.yaml", content)
        problems = self.problems('- "@patches/x.yaml"', minor, role)
        assert all(problem.startswith(f"{PATCH_FILE}:") for problem in problems), problems
        return [problem.removeprefix(f"{PATCH_FILE}:").strip() for problem in problems]


@pytest.fixture
def cluster(tmp_path: Path) -> Cluster:
    return Cluster(tmp_path / "demo")


def test_a_mapping_has_the_lines_and_keys_of_cluster_yaml(cluster: Cluster) -> None:
    assert cluster.problems("- machine:\n    sysctls: {}\n- machine:\n    sysctls: {}\n    sysctl: {}") == [
        f"{CLUSTER_YAML}:8: cluster.talos.patches[1].machine.sysctl: there is no such key. "
        f"Did you mean sysctls? {keys('v1alpha1.MachineConfig')}"
    ]


def test_a_block_of_text_has_the_lines_of_cluster_yaml(cluster: Cluster) -> None:
    patches = "- |\n  # labels\n  machine:\n    nodeLabels: [a]\n  ---\n  cluster:\n    proxy:\n      disabled: 1"
    assert cluster.problems(patches) == [
        f"{CLUSTER_YAML}:7: cluster.talos.patches[0].machine.nodeLabels: Talos expects a mapping here, not a list. "
        "Write `key: value` below it.",
        f"{CLUSTER_YAML}:11: cluster.talos.patches[0].cluster.proxy.disabled: 1 is neither true nor false. "
        "Write true or false, without quotes.",
    ]


def test_a_text_in_quotes_has_the_line_of_its_item(cluster: Cluster) -> None:
    assert cluster.problems('- "machine: {}"\n- "machine:\\n  sysctls: []\\n"\n# below') == [
        f"{CLUSTER_YAML}:5: cluster.talos.patches[1].machine.sysctls: Talos expects a mapping here, not a list. "
        "Write `key: value` below it."
    ]


def test_a_file_has_lines_and_keys_of_its_own(cluster: Cluster) -> None:
    content = "# first\nmachine: {}\n--- # second\n\ncluster:\n  proxy: {disabled: 1}\n"
    assert cluster.problems_of(content) == [
        "6: cluster.proxy.disabled: 1 is neither true nor false. Write true or false, without quotes."
    ]


def test_every_problem_is_told(cluster: Cluster) -> None:
    told = cluster.problems_of("- op: add\n---\nmachine\n---\n\tmachine: {}\n")
    assert [problem.split(":")[0] for problem in told] == ["1", "3", "5"]


@pytest.mark.parametrize(
    ("item", "told"),
    [
        ("@patches/y.yml", "there is no file clusters/demo/patches/y.yml. Did you mean @patches/y.yaml?"),
        ("@nothing", f"there is no file clusters/demo/nothing. {ADVICE}"),
        ("@patches", f"there is no file clusters/demo/patches. {ADVICE}"),
        ("@", f"there is no file clusters/demo. {ADVICE}"),
        ("@../other.yaml", f"clusters/demo/../other.yaml is outside the cluster's folder. {ADVICE}"),
        ("@/etc/hostname", f"/etc/hostname is outside the cluster's folder. {ADVICE}"),
        ("@patches/link.yaml", f"clusters/demo/patches/link.yaml is outside the cluster's folder. {ADVICE}"),
        ("@patches/circle.yaml", "clusters/demo/patches/circle.yaml"),
        (r"@a\0b", f"clusters/demo/a\0b cannot be read: embedded null byte. {ADVICE}"),
        ("# no patch", "there is no patch in the text. Write one, or remove the item."),
        ("machine", f"the patch is not a mapping of keys. {START}"),
    ],
)
def test_an_item_without_a_patch(cluster: Cluster, item: str, told: str) -> None:
    cluster.write("patches/y.yaml", "machine: {}\n")
    cluster.write("../other.yaml", "machine: {}\n")
    (cluster.folder / "patches/link.yaml").symlink_to(cluster.folder / "../other.yaml")
    (cluster.folder / "patches/circle.yaml").symlink_to("circle.yaml")
    (problem,) = cluster.problems(f'- "{item}"')
    if "circle" in item:  # what the links in a circle are called depends on the version of Python
        assert told in problem
    else:
        assert problem == f"{CLUSTER_YAML}:4: cluster.talos.patches[0]: {told}"


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("", "there is no patch in the file. Write one, or remove the item."),
        ("# nothing\n---\n---\n~\n", "there is no patch in the file. Write one, or remove the item."),
        (b"machine: {}\n# \xff\n", "2: byte 14 is not UTF-8. Save the file as UTF-8."),
        (b"#" * 1_000_001, "the file has more than 1,000,000 bytes. Is it a patch? Those are small."),
        ("machine: {}\n---\nmachine\n", f"3: the patch is not a mapping of keys. {START}"),
        (
            "machine: {}\n---\ncluster: {}\ncluster: {}\n",
            "4: cluster: the key is there twice. It stands on line 3 already: keep one of the two.",
        ),
    ],
)
def test_a_file_without_a_patch(cluster: Cluster, content: str | bytes, told: str) -> None:
    assert cluster.problems_of(content) == [told]


def test_talos_gets_texts_as_they_were_written(cluster: Cluster) -> None:
    cluster.write(
        "patches/x.yaml", "# off and 1.10 are words to Talos\nmachine: {nodeLabels: {a: off, b: 1.10, c: '<<'}}"
    )
    documents = cluster.read('- "@patches/x.yaml"\n- "machine:\\n---\\ncluster:"\n- {machine: {env: {a: é, b: 1}}}')
    assert as_patch_texts(documents) == [
        "# off and 1.10 are words to Talos\nmachine: {nodeLabels: {a: off, b: 1.10, c: '<<'}}\n",
        "machine:\n",
        "---\ncluster:\n",
        '{"machine":{"env":{"a":"é","b":1}}}',
    ]


def test_an_octal_number_of_a_mapping_is_told_in_decimals(cluster: Cluster) -> None:
    assert cluster.problems("- {machine: {files: [{path: /var/a, permissions: 0o644}]}}") == [
        f"{CLUSTER_YAML}:4: cluster.talos.patches[0].machine.files[0].permissions: '0o644' is not a whole number. "
        "Write 420."
    ]


def test_a_mapping_says_in_quotes_what_yaml_would_change(cluster: Cluster) -> None:
    patch = "- {machine: {nodeLabels: {a: off, b: 1.10, c: 0x1f, d: true, e: 1.5, f: 7, g: 12:30, h: 2026-11-24}}}"
    place = f"{CLUSTER_YAML}:4: cluster.talos.patches[0].machine.nodeLabels"
    assert cluster.problems(patch) == [
        f"{place}.a: YAML reads it as true or false, and Talos expects a text. Put it in quotes.",
        f"{place}.b: YAML reads it as a number, and Talos expects a text. Put it in quotes.",
        f"{place}.c: YAML reads it as a number, and Talos expects a text. Put it in quotes.",
    ]


GOOD: dict[str, str] = yaml.safe_load(r"""
a number where a text is expected: |
  machine: {sysctls: {vm.max_map_count: 262144}}
labels, annotations: |
  machine:
    nodeLabels: {example.org/rack: r1, topology.kubernetes.io/zone: pve1}
    nodeAnnotations: {a: b}
arguments of the kubelet: |
  machine: {kubelet: {extraArgs: {rotate-server-certificates: true, v: 2, x: off}}}
anything for the kubelet: |
  machine: {kubelet: {extraConfig: {maxPods: 250, a: [{b: 1.5}], c: 2026-01-01}}}
mounts of the kubelet: |
  machine:
    kubelet:
      extraMounts:
        - {destination: /var/mnt/a, type: bind, source: /var/mnt/a, options: [bind, rshared, rw]}
files: |
  machine:
    files:
      - {path: /var/a, permissions: 0o644, op: create, content: a}
registries: |
  machine:
    registries:
      mirrors: {docker.io: {endpoints: ["https://mirror.example"], overridePath: true}}
      config: {mirror.example: {auth: {username: a, password: b}}}
network interfaces: |
  machine:
    network:
      nameservers: [10.0.0.1]
      interfaces:
        - interface: eth1
          addresses: [10.1.0.5/24]
          routes: [{network: 10.2.0.0/16, gateway: 10.1.0.1}]
          vlans: [{vlanId: 30, dhcp: true}]
time: |
  machine: {time: {servers: [10.0.0.1], bootTimeout: 2m0s}}
kernel modules: |
  machine: {kernel: {modules: [{name: br_netfilter, parameters: [a=1]}]}}
rules of udev: |
  machine: {udev: {rules: ['SUBSYSTEM=="drm", MODE="0666"']}}
logs: |
  machine: {logging: {destinations: [{endpoint: "udp://127.0.0.1:12345", format: json_lines}]}}
features: |
  machine: {features: {hostDNS: {enabled: true, forwardKubeDNSToHost: false}, rbac: true}}
what else is in install: |
  machine: {install: {wipe: true}}
seccomp profiles: |
  machine: {seccompProfiles: [{name: a.json, value: {defaultAction: SCMP_ACT_LOG}}]}
networks of the cluster: |
  cluster: {network: {dnsDomain: cluster.local, podSubnets: [10.244.0.0/16]}}
discovery: |
  cluster: {discovery: {registries: {service: {disabled: true}}}}
version and debug: |
  version: v1alpha1
  debug: true
  persist: true
empty keys: |
  machine:
    network:
  cluster:
JSON: |
  {"machine":{"sysctls":{"vm.swappiness":"10"}}}
an alias: |
  machine:
    nodeLabels: &labels {a: b}
    nodeAnnotations: *labels
merged keys: |
  machine:
    network:
      interfaces:
        - &eth1 {interface: eth1, mtu: 9000, addresses: [10.1.0.5/24]}
        - <<: *eth1
          interface: eth2
several documents: |
  ---
  # nothing here
  ---
  machine: {env: {A: b}}
  --- # another
  cluster: {proxy: {mode: nftables}}
  ...
a deleted key: |
  machine: {kubelet: {defaultRuntimeSeccompProfileEnabled: {$patch: delete}}}
a deleted item: |
  machine: {network: {interfaces: [{interface: eth1, mtu: 9000}]}}
  ---
  machine: {network: {interfaces: [{interface: eth1, $patch: delete}]}}
a deleted document: |
  apiVersion: v1alpha1
  kind: LinkConfig
  name: eth1
  mtu: 9000
  ---
  apiVersion: v1alpha1
  kind: LinkConfig
  name: eth1
  $patch: delete
LinkConfig: |
  apiVersion: v1alpha1
  kind: LinkConfig
  name: eth1
  mtu: 9000
  addresses: [{address: 10.1.0.5/24}]
  routes: [{destination: "fd00::/8", gateway: "fd00::1", source: "", table: main, metric: 1024}]
BondConfig: |
  apiVersion: v1alpha1
  kind: BondConfig
  name: bond0
  links: [eth0, eth1]
  bondMode: 802.3ad
  miimon: 100
  adLACPActive: on
VLANConfig: |
  apiVersion: v1alpha1
  kind: VLANConfig
  name: eth0.30
  vlanID: 30
  parent: eth0
  vlanMode: 802.1q
WireguardConfig: |
  apiVersion: v1alpha1
  kind: WireguardConfig
  name: wg1
  listenPort: 51820
  privateKey: GB+VIu2J6OUJqOlJgdtAT6VSFu/7cSURWzDbNjxvmVE=
  peers:
    - publicKey: sTqvPaFoKX/BWDpj3cuY5ymSOBLyjuUZjjq9MfHKyQs=
      endpoint: 10.0.0.9:51820
      persistentKeepaliveInterval: 25s
      allowedIPs: [10.9.0.0/16]
UserVolumeConfig: |
  apiVersion: v1alpha1
  kind: UserVolumeConfig
  name: data
  provisioning: {diskSelector: {match: "!system_disk"}, minSize: 10GiB, maxSize: 50%}
  filesystem: {type: xfs}
VolumeConfig: |
  apiVersion: v1alpha1
  kind: VolumeConfig
  name: EPHEMERAL
  provisioning: {maxSize: 50GB}
  encryption: {provider: luks2, keys: [{slot: 0, tpm: {}}]}
ExtensionServiceConfig: |
  apiVersion: v1alpha1
  kind: ExtensionServiceConfig
  name: nut
  environment: [A=b]
  configFiles: [{content: a, mountPath: /etc/nut.conf}]
the firewall: |
  apiVersion: v1alpha1
  kind: NetworkDefaultActionConfig
  ingress: block
  ---
  apiVersion: v1alpha1
  kind: NetworkRuleConfig
  name: web
  portSelector: {ports: [443, 30000-32767], protocol: tcp}
  ingress: [{subnet: 10.0.0.0/8}]
RegistryMirrorConfig: |
  apiVersion: v1alpha1
  kind: RegistryMirrorConfig
  name: docker.io
  endpoints: [{url: "https://mirror.example", overridePath: true}]
TimeSyncConfig: |
  apiVersion: v1alpha1
  kind: TimeSyncConfig
  bootTimeout: 2m
  ntp: {servers: [10.0.0.1]}
ResolverConfig: |
  apiVersion: v1alpha1
  kind: ResolverConfig
  nameservers: [{address: 10.0.0.1}]
documents of the runtime: |
  apiVersion: v1alpha1
  kind: WatchdogTimerConfig
  device: /dev/watchdog0
  timeout: 3m
  ---
  apiVersion: v1alpha1
  kind: KmsgLogConfig
  name: logs
  url: tcp://10.0.0.1:5044
  ---
  apiVersion: v1alpha1
  kind: EnvironmentConfig
  variables: {HTTP_PROXY: "http://10.0.0.1:3128"}
""")
GOOD_ON_CONTROL_PLANES: dict[str, str] = yaml.safe_load(r"""
API server: |
  cluster:
    apiServer:
      extraArgs: {v: 2}
      admissionControl:
        - name: PodSecurity
          configuration: {defaults: {enforce: privileged}}
      auditPolicy: {kind: Policy, rules: [{level: Metadata}]}
other parts of Kubernetes: |
  cluster:
    allowSchedulingOnControlPlanes: true
    controllerManager: {extraArgs: {bind-address: 0.0.0.0}}
    scheduler: {config: {profiles: []}}
    coreDNS: {disabled: true}
manifests: |
  cluster:
    extraManifests: ["https://example.org/a.yaml"]
    inlineManifests:
      - name: a
        contents: |
          apiVersion: v1
          kind: Namespace
          metadata: {name: a}
etcd: |
  cluster: {etcd: {advertisedSubnets: [10.0.0.0/8], extraArgs: {quota-backend-bytes: 4294967296}}}
access to the API of Talos: |
  machine:
    features:
      kubernetesTalosAPIAccess:
        enabled: true
        allowedRoles: ["os:reader"]
        allowedKubernetesNamespaces: [kube-system]
an item that Talos itself writes, deleted: |
  cluster: {apiServer: {admissionControl: [{name: PodSecurity, $patch: delete}]}}
Layer2VIPConfig: |
  apiVersion: v1alpha1
  kind: Layer2VIPConfig
  name: 10.0.0.50
  link: eth0
a shared address: |
  machine: {network: {interfaces: [{interface: eth0, dhcp: true, vip: {ip: 10.0.0.50}}]}}
labels and taints: |
  machine:
    nodeLabels: {node-role.kubernetes.io/storage: ""}
    nodeTaints: {gpu: "true:NoSchedule"}
""")
GOOD_CASES = [
    *(pytest.param(content, "worker", id=name) for name, content in GOOD.items()),
    *(pytest.param(content, "controlplane", id=name) for name, content in GOOD_ON_CONTROL_PLANES.items()),
]


@pytest.mark.parametrize(("content", "role"), GOOD_CASES)
def test_a_good_patch(cluster: Cluster, content: str, role: Role) -> None:
    assert cluster.problems_of(content, role=role) == []


Verdict = Literal["patch", "validate", "never"]
"""Which of the commands of talosctl refuses a patch: `machineconfig patch`, `validate` of the result, or none."""

V1 = "apiVersion: v1alpha1\nkind: "
MINE = "this program writes it for every machine."
STATE = "It is among the secrets that are made once and kept, encrypted, in the stack's state: remove it."
CALLED = "A node is called after metadata.name and its number: remove it."
OPERATIONS = (
    "a list of operations (JSON 6902) cannot patch a configuration of several documents. Write the keys as they stand "
    "in the configuration, such as `machine: {sysctls: {vm.swappiness: 10}}`; to remove one, write `$patch: delete` "
    "below it."
)
MOVE = "it is for control planes, and this patch is for workers too. Move it to cluster.topology.controlPlane.patches."

BAD: dict[str, tuple[str, str, Verdict]] = {
    "an operation": ("- op: add\n  path: /machine/time\n  value: {}", f"1: {OPERATIONS}", "patch"),
    "operations in JSON": ('\n[{"op": "remove", "path": "/machine/time"}]', f"2: {OPERATIONS}", "patch"),
    "an operation alone": ("op: add\npath: /machine/time\nvalue: {}", f"1: {OPERATIONS}", "patch"),
    "an operation further down": (
        "machine: {}\n---\n\nop: add\npath: /machine/time",
        f"4: {OPERATIONS}",
        "patch",
    ),
    "nothing": ("{}", "1: there is nothing in the patch. Write machine or cluster, or remove it.", "patch"),
    "an unknown kind": (
        f"{V1}HostConfig\nname: a",
        "2: kind: Talos has no documents of kind 'HostConfig'. Did you mean HostnameConfig?",
        "patch",
    ),
    "a kind in another style": (
        f"{V1}linkconfig\nname: a",
        "2: kind: Talos has no documents of kind 'linkconfig'. Did you mean LinkConfig?",
        "patch",
    ),
    "a kind like no other": (
        f"{V1}Gadget",
        "2: kind: Talos has no documents of kind 'Gadget'. "
        f"Kinds of Talos 1.13: {', '.join(kind for kind in DOCUMENT_KINDS if kind != 'v1alpha1')}.",
        "patch",
    ),
    "a kind that is no text": (
        f"{V1}[LinkConfig]\nname: a",
        "2: kind: Talos has no documents of kind a list. Did you mean LinkConfig?",
        "patch",
    ),
    "a kind of Talos 1.14": (
        f"{V1}KubeletConfig",
        "2: kind: KubeletConfig needs Talos 1.14, this program writes machine configurations for "
        "Talos 1.13 at most. Write machine.kubelet instead.",
        "patch",
    ),
    "a manifest": (
        "apiVersion: apps/v1\nkind: Deployment",
        "1: apiVersion: 'apps/v1' is not a version of Talos documents. "
        "Write v1alpha1. What Kubernetes is to have goes into cluster.inlineManifests.",
        "patch",
    ),
    "no version": (
        "kind: LinkConfig\nname: a",
        "1: kind: apiVersion is missing. Write `apiVersion: v1alpha1` above it.",
        "patch",
    ),
    "no kind": (
        "apiVersion: v1alpha1\nmtu: 9000",
        "1: apiVersion: kind is missing. Write the kind of the document below it; "
        "one with machine and cluster has neither of the two.",
        "patch",
    ),
    "a version beside machine": (
        "apiVersion: v1alpha1\nmachine: {}",
        "1: apiVersion: a document with machine or cluster has no such key. Remove it.",
        "patch",
    ),
    "no name": (
        f"{V1}UserVolumeConfig\nfilesystem: {{type: xfs}}",
        "2: kind: name is missing. Documents of one kind are told "
        "apart by it: write `name: <name>` below `kind: UserVolumeConfig`.",
        "validate",
    ),
    "a key of machine at the top": (
        "nodeLabels: {}",
        f"1: nodeLabels: there is no such key. Did you mean machine.nodeLabels? {keys('v1alpha1.Config')}",
        "patch",
    ),
    "an unknown key": (
        "machine:\n  kubelet:\n    extraArg: {}",
        f"3: machine.kubelet.extraArg: there is no such key. Did you mean extraArgs? {keys('v1alpha1.KubeletConfig')}",
        "patch",
    ),
    "an unknown key in a list": (
        "machine:\n  network:\n    interfaces:\n      - interface: eth0\n        dhcpv4: true",
        f"5: machine.network.interfaces[0].dhcpv4: there is no such key. Did you mean dhcp? {keys('v1alpha1.Device')}",
        "patch",
    ),
    "an unknown key below any name": (
        "machine: {registries: {mirrors: {docker.io: {endpoint: []}}}}",
        "1: machine.registries.mirrors['docker.io'].endpoint: there is no such key. Did you mean endpoints? "
        f"{keys('v1alpha1.RegistryMirrorConfig')}",
        "patch",
    ),
    "an unknown key of a document": (
        f"{V1}LinkConfig\nname: a\nmtus: 1",
        f"4: mtus: there is no such key. Did you mean mtu? {keys('network.LinkConfigV1Alpha1')}",
        "patch",
    ),
    "a text for a list": (
        "machine:\n  network: {nameservers: 10.0.0.1}",
        "2: machine.network.nameservers: Talos expects a list here, not a text. Write [a, b], or one `- item` a line.",
        "patch",
    ),
    "a list for a text": (
        "machine: {kubelet: {extraArgs: {a: [b, c]}}}",
        "1: machine.kubelet.extraArgs.a: Talos expects a text here, not a list. Write one value, in quotes.",
        "patch",
    ),
    "a list for a mapping": (
        "machine:\n- type: worker",
        "1: machine: Talos expects a mapping here, not a list. Keys that belong below it: "
        f"{keys('v1alpha1.MachineConfig').partition(': ')[2]}",
        "patch",
    ),
    "a text for a boolean": (
        "cluster: {proxy: {disabled: 'true'}}",
        "1: cluster.proxy.disabled: 'true' is neither true nor false. Write true or false, without quotes.",
        "patch",
    ),
    "a text for a number": (
        "machine: {network: {interfaces: [{mtu: '9000'}]}}",
        "1: machine.network.interfaces[0].mtu: '9000' is not a whole number. Write a number without quotes.",
        "patch",
    ),
    "a boolean for a number": (
        f"{V1}LinkConfig\nname: a\nmtu: true",
        "4: mtu: true is not a whole number. Write a number without quotes.",
        "patch",
    ),
    "too large a number": (
        f"{V1}VLANConfig\nname: a\nparent: eth0\nvlanID: 70000",
        "5: vlanID: 70000 is too large. Write 65535 or less.",
        "patch",
    ),
    "too small a number": (f"{V1}LinkConfig\nname: a\nmtu: -1", "4: mtu: -1 is too small. Write 0 or more.", "patch"),
    "an unknown word": (
        f"{V1}NetworkDefaultActionConfig\ningress: deny",
        "3: ingress: 'deny' is not known here. Write accept or block.",
        "patch",
    ),
    "a word that is nearly known": (
        "machine: {files: [{path: /var/a, op: overwrit}]}",
        "1: machine.files[0].op: 'overwrit' is not known here. "
        "Did you mean overwrite? Write create, append or overwrite.",
        "never",
    ),
    "a word that YAML reads as a boolean": (
        f"{V1}BondConfig\nname: a\nlinks: [eth0]\nadLACPActive: yes",
        "5: adLACPActive: 'yes' is not known here. Write on or off.",
        "patch",
    ),
    "no address": (
        f"{V1}ResolverConfig\nnameservers: [{{address: 10.0.0.1:53}}]",
        "3: nameservers[0].address: '10.0.0.1:53' is "
        "not an IP address. Write one such as 10.0.0.1 or fd00::1, without /24 or a port.",
        "patch",
    ),
    "no network": (
        f"{V1}LinkConfig\nname: a\naddresses: [{{address: 10.0.0.1}}]",
        "4: addresses[0].address: '10.0.0.1' is not a network. Write an address and its length, such as 10.0.0.0/24.",
        "patch",
    ),
    "no duration": (
        "machine: {time: {bootTimeout: 2 minutes}}",
        "1: machine.time.bootTimeout: '2 minutes' is not a duration. "
        "Write one with its unit, such as 30s, 5m or 1h30m.",
        "patch",
    ),
    "no size": (
        f"{V1}SwapVolumeConfig\nname: a\nprovisioning: {{minSize: 4 gigs}}",
        "4: provisioning.minSize: '4 gigs' is not a size. Write one such as 10GiB or 500MB.",
        "patch",
    ),
    "one port in quotes": (
        f"{V1}NetworkRuleConfig\nname: a\nportSelector: {{ports: ['443'], protocol: tcp}}",
        "4: portSelector.ports[0]: "
        "'443' is not a range of ports. Write one such as 30000-32767, or one port without quotes.",
        "patch",
    ),
    "a secret that is no base64": (
        "machine: {registries: {config: {a: {tls: {clientIdentity: {key: hush!}}}}}}",
        "1: machine.registries.config.a.tls.clientIdentity.key: it is not base64. "
        "Write the output of `base64 --wrap 0 <file>`.",
        "patch",
    ),
    "an item without anything": (
        "machine:\n  nodeLabels: {}\n  certSANs:\n    -",
        "4: machine.certSANs[0]: Talos expects a text here, not an empty value. Write one value, in quotes.",
        "never",
    ),
    "etcd on a worker": ("cluster:\n  etcd: {}", f"2: cluster.etcd: {MOVE}", "validate"),
    "a shared address on a worker": (
        "machine: {network: {interfaces: [{interface: eth0, vip: {ip: 10.0.0.50}}]}}",
        f"1: machine.network.interfaces[0].vip: {MOVE}",
        "validate",
    ),
    "a document of a shared address on a worker": (
        f"{V1}Layer2VIPConfig\nname: 10.0.0.50\nlink: eth0",
        f"2: kind: {MOVE}",
        "never",
    ),
    "the type": (
        "machine: {type: worker}",
        f"1: machine.type: {MINE} It follows from cluster.topology: remove it.",
        "never",
    ),
    "the installer": (
        "machine:\n  install:\n    image: a",
        f"3: machine.install.image: {MINE} Write cluster.talos.version and cluster.talos.schematic instead.",
        "never",
    ),
    "the disk": (
        "machine: {install: {disk: /dev/vda}}",
        f"1: machine.install.disk: {MINE} Write cluster.talos.installDisk instead.",
        "never",
    ),
    "a secret": ("machine: {token: a}", f"1: machine.token: {MINE} {STATE}", "never"),
    "another secret": ("cluster: {ca: {crt: ''}}", f"1: cluster.ca: {MINE} {STATE}", "never"),
    "the name of a node": (
        "machine: {network: {hostname: a}}",
        f"1: machine.network.hostname: {MINE} {CALLED}",
        "validate",
    ),
    "the name of a node in a document": (
        f"{V1}HostnameConfig\nhostname: a\nauto: off",
        f"2: kind: {MINE} {CALLED}",
        "never",
    ),
    "the endpoint": (
        "cluster: {controlPlane: {endpoint: 'https://a:6443'}}",
        f"1: cluster.controlPlane.endpoint: {MINE} "
        "Write cluster.kubernetes.endpoint or cluster.kubernetes.vip instead.",
        "never",
    ),
    "the name of the cluster": (
        "cluster: {clusterName: a}",
        f"1: cluster.clusterName: {MINE} Write cluster.talos.clusterName instead.",
        "never",
    ),
    "another $patch": (
        "machine: {time: {$patch: replace}}",
        "1: machine.time['$patch']: 'replace' is not known here. "
        "Talos knows `$patch: delete` alone; without it, keys are merged.",
        "patch",
    ),
    "a deletion of everything": (
        "machine: {}\n$patch: delete",
        "2: ['$patch']: the whole machine configuration cannot be deleted. "
        "Write `$patch: delete` below the key that is to go.",
        "patch",
    ),
    "a deletion of what this program writes": (
        "machine:\n  install:\n    $patch: delete",
        "3: machine.install['$patch']: machine.install.disk would go with "
        "it, which this program writes for every machine. Delete the other keys below it one by one.",
        "validate",
    ),
    "a deletion with more beside it": (
        "machine: {kubelet: {$patch: delete, image: a}}",
        "1: machine.kubelet.image: what stands beside `$patch: delete` is not read. Remove it, or the `$patch`.",
        "never",
    ),
    "a deletion of an unknown key": (
        "machine: {times: {$patch: delete}}",
        f"1: machine.times: there is no such key. Did you mean time? {keys('v1alpha1.MachineConfig')}",
        "patch",
    ),
    "a deletion of any item": (
        "machine: {network: {interfaces: [{$patch: delete}]}}",
        "1: machine.network.interfaces[0]['$patch']: "
        "which item is to go? Write one key of the item beside it: cidr or interface.",
        "patch",
    ),
    "a deletion by a number": (
        "machine: {network: {interfaces: [{mtu: 9000, $patch: delete}]}}",
        "1: machine.network.interfaces[0].mtu: "
        "Talos does not find an item by this key. Write cidr or interface, with its value.",
        "patch",
    ),
    "a deletion by a mapping": (
        "machine: {network: {interfaces: [{interface: {a: b}, $patch: delete}]}}",
        "1: machine.network.interfaces[0].interface: Talos does not find an item by this key. "
        "Write cidr or interface, with its value.",
        "patch",
    ),
    "a deletion by two keys": (
        "machine: {disks: [{device: /dev/sdb}]}\n---\nmachine: {files: [{path: a, op: create, $patch: delete}]}",
        "3: machine.files[0].op: Talos finds the item by its first key, path, and reads no other. Remove it.",
        "patch",
    ),
    "a deletion of a plain item": (
        "machine: {certSANs: [{$patch: delete}]}",
        "1: machine.certSANs[0]['$patch']: an item of this list cannot be "
        "deleted. Delete the list: `$patch: delete` below its key.",
        "patch",
    ),
    "a deletion inside an item": (
        "machine: {network: {interfaces: [{interface: eth0, mtu: {$patch: delete}}]}}",
        "1: machine.network.interfaces[0].mtu['$patch']: Talos deletes an item of a list, but nothing inside of it. "
        "Delete the item, and write it anew in a later patch.",
        "patch",
    ),
    "a deletion of a document that is not there": (
        f"{V1}LinkConfig\nname: eth1\n$patch: delete",
        "4: ['$patch']: no patch before this one has such a document, so "
        "there is nothing to delete. Remove it; a document that follows from cluster.yaml is changed there.",
        "patch",
    ),
    "a deletion of another document than there is": (
        f"{V1}LinkConfig\nname: eth1\n---\n{V1}LinkConfig\nname: eth2\n$patch: delete",
        "8: ['$patch']: no patch before this one has such a document, so there is nothing to delete. "
        "Remove it; a document that follows from cluster.yaml is changed there.",
        "patch",
    ),
    "a deletion of a document with more beside it": (
        f"{V1}LinkConfig\nname: eth1\n---\n{V1}LinkConfig\nname: eth1\nmtu: 1\n$patch: delete",
        "8: mtu: what stands beside `$patch: delete` is not read. Remove it, or the `$patch`.",
        "never",
    ),
}


@pytest.mark.parametrize(("content", "told"), [pytest.param(*case[:2], id=name) for name, case in BAD.items()])
def test_a_bad_patch(cluster: Cluster, content: str, told: str) -> None:
    assert cluster.problems_of(content) == [told]


def test_what_kubernetes_lets_no_worker_say_of_itself(cluster: Cluster) -> None:
    taints = 'machine: {nodeTaints: {gpu: "true:NoSchedule"}}'
    labels = "machine:\n  nodeLabels:\n    example.com/a: b\n    node-role.kubernetes.io/gpu: ''\n"
    assert cluster.problems_of(taints, role="worker") == [
        "1: machine.nodeTaints: Kubernetes lets no worker change its taints, and refuses its labels and annotations "
        "with them. Write them as `taints` below cluster.topology."
    ]
    assert cluster.problems_of(labels, role="worker") == [
        "4: machine.nodeLabels['node-role.kubernetes.io/gpu']: Kubernetes lets no worker give itself this label, and "
        "refuses its other labels and annotations with it. Write a label of your own domain, such as "
        "example.com/tier, or remove it and run `kubectl label node`."
    ]


@pytest.mark.parametrize(
    ("content", "minor", "told"),
    [
        (
            f"{V1}LinkConfig\nname: a",
            11,
            "2: kind: LinkConfig needs Talos 1.12, this cluster's machine configurations are for Talos 1.11. "
            "Write machine.network.interfaces instead.",
        ),
        (
            f"{V1}HostnameConfig\nhostname: a",
            11,
            "2: kind: HostnameConfig needs Talos 1.12, this cluster's machine configurations are for Talos 1.11. "
            f"{CALLED}",
        ),
        (
            f"{V1}OOMConfig",
            10,
            "2: kind: OOMConfig needs Talos 1.12, this cluster's machine configurations are for Talos 1.10. "
            "Remove the document.",
        ),
        (
            f"{V1}VolumeConfig\nname: STATE\nencryption: {{}}",
            10,
            "4: encryption: it needs Talos 1.11, this cluster's machine configurations are for Talos 1.10. "
            "Remove it: Talos refuses a configuration with a key of a later one.",
        ),
    ],
)
def test_what_an_older_talos_does_not_know(cluster: Cluster, content: str, minor: int, told: str) -> None:
    assert cluster.problems_of(content, minor) == [told]
    assert told not in cluster.problems_of(content, int(re.findall(r"1\.(\d+)", told)[0]))


def test_a_kind_that_nothing_here_can_write_stays_refused(cluster: Cluster) -> None:
    (told,) = cluster.problems_of(f"{V1}KubeletConfig", minor=14)
    assert told.startswith("2: kind: KubeletConfig needs Talos 1.14, this program writes")


MANIFEST = "cluster:\n  inlineManifests:\n    - name: a\n      contents: |\n"
CONTENTS = "4: cluster.inlineManifests[0].contents: "


@pytest.mark.parametrize(
    ("manifest", "told"),
    [
        (
            "{apiVersion: v1, kind: ConfigMap, metadata: {name: greeting}}",
            "the ConfigMap greeting belongs to a namespace, and does not say which. `talosctl upgrade-k8s` "
            "would fail at it. Write it below its metadata: `namespace: default`, or the one that it is for.",
        ),
        (
            "{apiVersion: apps/v1, kind: Deployment, metadata: {namespace: default}}",
            "the Deployment in it has no name. Write `metadata: {name: <name>}`: Talos looks for what exists by it.",
        ),
        (
            "[" * 5000,
            "it is not YAML. Write objects of Kubernetes, with a line `---` between them.",
        ),
        (
            "{apiVersion: v1, kind: Secret, stringData: {token: [hunter2}}",
            "it is not YAML. Write objects of Kubernetes, with a line `---` between them.",
        ),
        (
            "hunter2",
            "one of the documents in it is no object of Kubernetes. "
            "Write an object with apiVersion, kind and metadata.",
        ),
    ],
)
def test_a_manifest_that_talos_could_not_apply(cluster: Cluster, manifest: str, told: str) -> None:
    assert cluster.problems_of(f"{MANIFEST}        {manifest}\n") == [CONTENTS + told]


@pytest.mark.parametrize(
    "manifest",
    [
        "{apiVersion: v1, kind: ConfigMap, metadata: {name: greeting, namespace: default}}",
        "{apiVersion: v1, kind: Namespace, metadata: {name: shop, annotations: {since: 2026-99-99}}}",
        "{apiVersion: example.com/v1, kind: ConfigMap, metadata: {name: whose-scope-nobody-here-knows}}",
        "---",
    ],
)
def test_a_manifest_that_talos_can_apply(cluster: Cluster, manifest: str) -> None:
    assert cluster.problems_of(f"{MANIFEST}        {manifest}\n") == []


def test_a_deleted_document_is_gone(cluster: Cluster) -> None:
    link, deleted = f"{V1}LinkConfig\nname: eth1\n", f"{V1}LinkConfig\nname: eth1\n$patch: delete\n"
    assert cluster.problems_of("---\n".join([link, deleted, link, deleted])) == []
    assert [problem.split(":")[0] for problem in cluster.problems_of("---\n".join([link, deleted, deleted]))] == ["13"]


def definition(place: Sequence[str]) -> dict[str, Any]:
    """What the data says of a key of the document without a kind."""
    described: dict[str, Any] = {"$ref": DOCUMENT_KINDS["v1alpha1"]["$ref"]}
    for key in place:
        while "$ref" in described or "items" in described:
            described = described.get("items") or DATA["$defs"][described["$ref"].removeprefix("#/$defs/")]
        described = described["properties"][key]
    return described


def test_the_data_is_a_small_schema_of_the_library_that_decodes_the_patches() -> None:
    jsonschema.Draft202012Validator.check_schema(DATA)
    assert SCHEMA.stat().st_size < 120_000
    assert f"machinery v{TALOS}, (c) Sidero Labs, Mozilla Public License 2.0" in DATA["$comment"]


def test_every_key_and_kind_of_the_tables_is_one_of_talos() -> None:
    replaced = {described.get("replaces", "machine") for described in DATA["x-kinds"].values()}
    written = [tuple(place.split(".")) for text in replaced for place in re.split(", | or ", text)]
    for place in (*OWNED_KEYS, *CONTROL_PLANE_KEYS, *written):
        assert definition([str(key) for key in place])
    assert set(OWNED_KINDS) | CONTROL_PLANE_KINDS <= set(DOCUMENT_KINDS)
    assert {described["since"] for described in DATA["x-kinds"].values() if "$ref" not in described} == {14}


WRITTEN: dict[str, tuple[str, list[str], list[str]]] = {
    "address": (
        f"{V1}ResolverConfig\nnameservers: [{{address: @}}]",
        ["10.0.0.1", "fd00::1", ""],
        ["10.0.0", "10.0.0.1/24", "10.0.0.1:53", "a"],
    ),
    "address-port": (
        f"{V1}KubeSpanEndpointsConfig\nextraAnnouncedEndpoints: [@]",
        ["10.0.0.1:51820", "[fd00::1]:51820"],
        ["10.0.0.1", "fd00::1:51820", "[10.0.0.1", "10.0.0.1:70000", "a:1"],
    ),
    "base64": ("machine: {registries: {config: {a: {tls: {ca: @}}}}}", ["YQ==", "YWJj\n", ""], ["YQ", "YW Jj", "a!"]),
    "bytes": (
        f"{V1}SwapVolumeConfig\nname: a\nprovisioning: {{minSize: @}}",
        ["10", "1.5 GiB", "1,000kb", "-1G"],
        ["GiB", "5x"],
    ),
    "duration": ("machine: {time: {bootTimeout: @}}", ["0", "1h30m", "-0.5s", "10µs"], ["", "10", "1d", "5 m"]),
    "hardware-address": (
        f"{V1}DummyLinkConfig\nname: a\nhardwareAddr: @",
        ["52:54:00:Ab:cd:ef"],
        ["52-54-00-12-34-56", "x"],
    ),
    "ports": (
        f"{V1}NetworkRuleConfig\nname: a\nportSelector: {{ports: [@]}}",
        ["80-443"],
        ["80", "80-", "80-70000", "a-b", "1-2-3"],
    ),
    "prefix": (
        f"{V1}LinkConfig\nname: a\naddresses: [{{address: @}}]",
        ["10.0.0.1/24", "fd00::/128"],
        ["10.0.0.1", "10.0.0.1/33", "fd00::/129", "10.0.0.0/255.0.0.0"],
    ),
    "routing-table": (
        f"{V1}LinkConfig\nname: a\nroutes: [{{table: @}}]",
        ["main", "local", "1", "99", "252"],
        ["", "0", "253", "1000", "mine"],
    ),
    "size": (
        f"{V1}UserVolumeConfig\nname: a\nprovisioning: {{maxSize: @}}",
        ["50%", "10GiB", "-5%", "12.5%", ""],
        ["%", "half", "5 %%"],
    ),
    "url": (f"{V1}KmsgLogConfig\nname: a\nurl: @", ["tcp://10.0.0.1:5044", "udp://[fd00::1]:1/"], ["://a"]),
}
"""A form of the data: a patch with a place for it, texts of that form, and others."""


@pytest.mark.parametrize("form", FORMS)
def test_a_form(cluster: Cluster, form: str) -> None:
    patch, good, bad = WRITTEN[form]
    problems = {text: cluster.problems_of(patch.replace("@", json.dumps(text))) for text in (*good, *bad)}
    assert [text for text, told in problems.items() if told] == bad


def test_every_form_of_the_data_is_known() -> None:
    assert set(re.findall(r'"format": ?"([^"]+)"', SCHEMA.read_text())) == set(FORMS) == set(WRITTEN)


def sample(described: dict[str, Any]) -> object:
    """A value with every key that the data knows."""
    if "$ref" in described:
        return sample(DATA["$defs"][described["$ref"].removeprefix("#/$defs/")])
    if "enum" in described or "const" in described:
        return described.get("const") or described["enum"][-1]
    match described.get("type"):
        case "object":
            below = described.get("properties", {"word": described.get("additionalProperties", {})})
            return {key: sample(value) for key, value in below.items()}
        case "array":
            return [sample(described["items"])]
        case "boolean":
            return True
        case "integer":
            return described.get("maximum", 1)
    return WRITTEN[described["format"]][1][0] if "format" in described else "1"


class Talosctl:
    """What Talos' own library says."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.run("gen", "config", "demo", "https://10.0.0.1:6443", "--output-dir", str(folder))

    @staticmethod
    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        program = toolchain.tool("talosctl")
        return subprocess.run([program, *arguments], capture_output=True, text=True, check=False)

    def verdict(self, texts: Sequence[str], role: Role) -> tuple[Verdict, str]:
        output = self.folder / "patched.yaml"
        patches = [argument for text in texts for argument in ("--patch", text)]
        done = self.run("machineconfig", "patch", str(self.folder / f"{role}.yaml"), *patches, "--output", str(output))
        if done.returncode:
            return "patch", done.stderr
        done = self.run("validate", "--mode", "metal", "--config", str(output))
        return ("validate", done.stderr) if done.returncode else ("never", "")


@pytest.fixture(scope="module")
def talosctl(tmp_path_factory: pytest.TempPathFactory) -> Talosctl:
    return Talosctl(tmp_path_factory.mktemp("talosctl"))


@pytest.mark.engine
@pytest.mark.parametrize(("content", "role"), GOOD_CASES)
def test_talos_takes_a_good_patch(cluster: Cluster, talosctl: Talosctl, content: str, role: Role) -> None:
    cluster.write("patches/x.yaml", content)
    texts = as_patch_texts(cluster.read('- "@patches/x.yaml"'))
    assert talosctl.verdict(texts, role) == ("never", "")


@pytest.mark.engine
@pytest.mark.parametrize("name", [name for name in GOOD if not re.search(r"---|: (on|off|0o)", GOOD[name])])
def test_talos_takes_a_good_mapping(cluster: Cluster, talosctl: Talosctl, name: str) -> None:
    documents = cluster.read("- " + GOOD[name].replace("\n", "\n  "))
    assert list(check(documents, 13, "worker")) == []
    assert talosctl.verdict(as_patch_texts(documents), "worker") == ("never", "")


@pytest.mark.engine
@pytest.mark.parametrize(
    ("content", "verdict"), [pytest.param(case[0], case[2], id=name) for name, case in BAD.items()]
)
def test_what_talos_says_of_a_bad_patch(talosctl: Talosctl, content: str, verdict: Verdict) -> None:
    texts = [text + "\n" for text in re.split(r"^(?=---\n)", content, flags=re.MULTILINE)]
    assert talosctl.verdict(texts, "worker")[0] == verdict


@pytest.mark.engine
@pytest.mark.parametrize("form", WRITTEN)
def test_talos_reads_a_form(talosctl: Talosctl, form: str) -> None:
    patch, good, bad = WRITTEN[form]
    verdicts = {text: talosctl.verdict([patch.replace("@", json.dumps(text))], "worker")[0] for text in (*good, *bad)}
    assert [text for text, verdict in verdicts.items() if verdict == "patch"] == bad


@pytest.mark.engine
@pytest.mark.parametrize("kind", DOCUMENT_KINDS)
def test_talos_decodes_every_key_of_the_data(talosctl: Talosctl, kind: str) -> None:
    verdict, said = talosctl.verdict([json.dumps(sample(DOCUMENT_KINDS[kind]))], "controlplane")
    assert verdict != "patch", said


@pytest.mark.engine
def test_the_data_has_every_key_of_talos_own_documentation(talosctl: Talosctl, tmp_path: Path) -> None:
    talosctl.run("docs", "--config", str(tmp_path))
    documented = {file: file.read_text() for file in tmp_path.rglob("*.md") if file.name != "_index.md"}
    kinds = {kind.lower() if kind != "v1alpha1" else "config": kind for kind in DOCUMENT_KINDS}
    assert {file.stem for file in documented} == set(kinds)
    for file, text in documented.items():
        missing = set(re.findall(r"^\|`(\w+)` \|", text, re.MULTILINE)) - set(
            all_keys(sample(DOCUMENT_KINDS[kinds[file.stem]]))
        )
        assert missing == set(), file.stem


def all_keys(value: object) -> Iterator[str]:
    if isinstance(value, dict):
        yield from value
    for below in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from all_keys(below)
