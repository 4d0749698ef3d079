"""Makes cluster_stack/plan/data/talos-config.schema.json: `python -m toolchain.talos_config`, with Go and a network.

For a new minor of Talos: put its first release into `RELEASES`, and into toolchain/modules/talos-config
(`go get github.com/siderolabs/talos/pkg/machinery@v1.N.0 && go mod tidy`), move its kinds out of `LATER`, and run it.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from toolchain.installation import REPOSITORY

MODULE = REPOSITORY / "toolchain" / "modules" / "talos-config"
OUTPUT = REPOSITORY / "cluster_stack" / "plan" / "data" / "talos-config.schema.json"
MACHINERY = "github.com/siderolabs/talos/pkg/machinery"
RELEASES = {10: "v1.10.0", 11: "v1.11.0", 12: "v1.12.0", 13: "v1.13.0"}
"""Talos minor -> its first release. The last one is the library of the Talos provider, which decodes the patches."""

LATER = {
    14: {
        "BGPInstanceConfig": "",
        "CRIBaseRuntimeSpecConfig": "machine.baseRuntimeSpecOverrides",
        "CRICustomizationConfig": "machine.files",
        "DiscoveryIdentityConfig": "",
        "DiscoveryServiceConfig": "cluster.discovery",
        "EtcFileConfig": "machine.files",
        "FilesystemScrubConfig": "",
        "FilesystemTrimConfig": "",
        "HTTPProbeConfig": "",
        "ImageCacheConfig": "machine.features.imageCache",
        "KernelModuleConfig": "machine.kernel.modules",
        "KubeAPIServerCAConfig": "",
        "KubeAPIServerConfig": "cluster.apiServer",
        "KubeAdmissionControlConfig": "cluster.apiServer.admissionControl",
        "KubeAggregatorCAConfig": "",
        "KubeAuditPolicyConfig": "cluster.apiServer.auditPolicy",
        "KubeAuthenticationConfig": "",
        "KubeAuthorizerConfig": "cluster.apiServer.authorizationConfig",
        "KubeClusterConfig": "",
        "KubeControllerManagerConfig": "cluster.controllerManager",
        "KubeCoreDNSConfig": "cluster.coreDNS",
        "KubeCredentialProviderConfig": "machine.kubelet.credentialProviderConfig",
        "KubeEtcdEncryptionConfig": "",
        "KubeExternalManifestConfig": "cluster.extraManifests",
        "KubeFlannelCNIConfig": "cluster.network.cni",
        "KubeInlineManifestConfig": "cluster.inlineManifests",
        "KubeNetworkConfig": "cluster.network",
        "KubeNodeConfig": "machine.nodeLabels, machine.nodeAnnotations or machine.nodeTaints",
        "KubePrismConfig": "machine.features.kubePrism",
        "KubeProxyConfig": "cluster.proxy",
        "KubeSchedulerConfig": "cluster.scheduler",
        "KubeServiceAccountConfig": "",
        "KubeStaticPodConfig": "machine.pods",
        "KubeTalosAPIAccessConfig": "machine.features.kubernetesTalosAPIAccess",
        "KubeletConfig": "machine.kubelet",
        "LVMLogicalVolumeConfig": "",
        "LVMVolumeGroupConfig": "",
        "RAIDArrayConfig": "",
        "SecurityProfileConfig": "",
        "SysctlConfig": "machine.sysctls",
        "SysfsConfig": "machine.sysfs",
        "UdevRulesConfig": "machine.udev",
        "UnattendedInstallConfig": "machine.install",
        "VethConfig": "",
    }
}
"""Kinds that the library does not know yet, by minor, with the key that they replace.

Source: "Configuration document map" of Talos 1.14 (docs.siderolabs.com), read in November 2026.
"""

REPLACED = {
    "BondConfig": "machine.network.interfaces",
    "BridgeConfig": "machine.network.interfaces",
    "DHCPv4Config": "machine.network.interfaces",
    "DHCPv6Config": "machine.network.interfaces",
    "DummyLinkConfig": "machine.network.interfaces",
    "EnvironmentConfig": "machine.env",
    "HCloudVIPConfig": "machine.network.interfaces",
    "KubeSpanConfig": "machine.network.kubespan",
    "Layer2VIPConfig": "machine.network.interfaces",
    "LinkConfig": "machine.network.interfaces",
    "RegistryAuthConfig": "machine.registries.config",
    "RegistryMirrorConfig": "machine.registries.mirrors",
    "RegistryTLSConfig": "machine.registries.config",
    "ResolverConfig": "machine.network.nameservers",
    "StaticHostConfig": "machine.network.extraHostEntries",
    "TimeSyncConfig": "machine.time",
    "VLANConfig": "machine.network.interfaces",
    "WireguardConfig": "machine.network.interfaces",
}
"""The same for kinds that the library knows and older releases do not. Source: that map, and the v1alpha1 types."""

Schema = dict[str, Any]
Key = tuple[str, ...]


def main() -> None:
    """Write the data file."""
    described = {minor: _describe(release) for minor, release in RELEASES.items()}
    newest = max(RELEASES)
    first: dict[Key, int] = {}
    for minor, schema in sorted(described.items(), reverse=True):
        first |= {place: minor for place, _, _ in _keys(schema)}
    result = described[newest]
    _mark(result, first)
    kinds = {kind: _kind(kind, result, first) for kind in sorted(result["documents"])}
    for minor, later in LATER.items():
        kinds |= {kind: {"since": minor} | ({"replaces": key} if key else {}) for kind, key in later.items()}
    OUTPUT.parent.mkdir(exist_ok=True)
    OUTPUT.write_text(_text(RELEASES[newest], kinds, result), encoding="utf-8")


def _describe(release: str) -> Schema:
    """What toolchain/modules/talos-config says of one release of the library."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(shutil.copytree(MODULE, Path(scratch) / "module"))
        if release != RELEASES[max(RELEASES)]:
            # From scratch: an older release does not compile beside the newer libraries of the committed go.mod.
            (folder / "go.sum").unlink()
            (folder / "go.mod").write_text("module talos-config\n")
            _go(folder, "get", f"{MACHINERY}@{release}")
            _go(folder, "mod", "tidy")
        types = Path(_go(folder, "list", "-m", "-f", "{{.Dir}}", MACHINERY).strip()) / "config" / "types"
        words = {word for file in types.rglob("*.go") for word in re.findall(r'"([A-Z]\w*Config)"', file.read_text())}
        schema: Schema = json.loads(_go(folder, "run", ".", *sorted(words)))
        return schema


def _go(folder: Path, *arguments: str) -> str:
    return subprocess.run(["go", *arguments], cwd=folder, check=True, stdout=subprocess.PIPE, text=True).stdout


def _keys(schema: Schema) -> Iterator[tuple[Key, str, str]]:
    """Every place of every document, as (kind, key, key, ...), with the definition and the key that describe it."""
    for kind, described in schema["documents"].items():
        yield (kind,), "", ""
        yield from _below(schema, (kind,), described)


def _below(schema: Schema, place: Key, described: Schema) -> Iterator[tuple[Key, str, str]]:
    while "items" in described or isinstance(described.get("additionalProperties"), dict):
        described = described.get("items") or described["additionalProperties"]
    name = described.get("$ref", "").removeprefix("#/$defs/")
    properties = schema["$defs"][name]["properties"] if name else described.get("properties", {})
    for key, value in properties.items():
        yield (*place, key), name, key
        yield from _below(schema, (*place, key), value)


def _mark(schema: Schema, first: dict[Key, int]) -> None:
    """Say of each key with which minor it came, where that was after the oldest release and after its document."""
    since: dict[tuple[str, str], int] = {}
    for place, name, key in _keys(schema):
        if name:
            since[name, key] = min(first[place], since.get((name, key), first[place]))
    for place, name, key in _keys(schema):
        if name and first[place[:1]] < since[name, key]:
            schema["$defs"][name]["properties"][key]["x-since"] = since[name, key]


def _kind(kind: str, schema: Schema, first: dict[Key, int]) -> Schema:
    found: Schema = {**schema["documents"][kind]}
    if first[kind,] > min(RELEASES):
        found["since"] = first[kind,]
    if kind in REPLACED:
        found["replaces"] = REPLACED[kind]
    return found


def _text(release: str, kinds: dict[str, Schema], schema: Schema) -> str:
    """JSON with one definition on each line, so that a change of it can be read."""
    head = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$comment": (
            f"The machine configuration documents of Talos. Made by `python -m toolchain.talos_config` from the Go "
            f"types of {MACHINERY} {release}, (c) Sidero Labs, Mozilla Public License 2.0 (mozilla.org/MPL/2.0), "
            f"so this file is under that licence too. x-kinds: the kinds of documents, with the Talos minor that each "
            f"came with and the key that it replaces. x-since: the minor of a key that came later than its document. "
            f"Where it says string, Talos takes a number or a boolean as well."
        ),
    }
    kind_lines = [f"{json.dumps(kind)}:{_line(value)}" for kind, value in kinds.items()]
    definitions = [f"{json.dumps(name)}:{_line(value)}" for name, value in schema["$defs"].items()]
    parts = [f"{json.dumps(key)}: {json.dumps(value, ensure_ascii=False)}" for key, value in head.items()]
    parts.append('"x-kinds": {\n' + ",\n".join(kind_lines) + "\n}")
    parts.append('"$defs": {\n' + ",\n".join(definitions) + "\n}")
    return "{\n" + ",\n".join(parts) + "\n}\n"


def _line(value: Schema) -> str:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False)


if __name__ == "__main__":
    main()
