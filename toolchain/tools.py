"""Which programs the project runs, in which version, and what each is built from. All version numbers are here.

`PINS` repeats what the go.mod files under `toolchain/modules` say, with the reason for each; a test keeps both equal.
Which versions of the two plugins are wanted, the installed wheels say. Whether a program is there, and how it gets
there, is not this module's affair.
"""

from __future__ import annotations

import importlib.metadata
import json
import platform
import sys
from dataclasses import dataclass
from pathlib import Path

from toolchain.errors import ToolchainError

PULUMI = "3.259.0"  # the newest release whose `pkg` and `sdk` are both served as Go modules
LANGUAGE_PYTHON = "3.78.1"  # the last with the host inside `sdk`; newer ones have a module for it that is not served
TALOS = "1.13.0"  # the newest release that downloads as a Go module
KUBERNETES = "1.36.1"  # what Talos 1.13 runs if nothing else is said; served with all its libraries
PROXMOXVE = "8.6.0"  # the release that toolchain/modules/proxmoxve stands in for
TALOS_PLUGIN = "0.8.1"  # the release that toolchain/modules/talos stands in for
BPG = "0.112.0"  # the release whose code toolchain/modules/proxmoxve bridges: its acceptance tests judge the lab
TOFU = "1.12.6"  # what those tests drive; any newer one of OpenTofu 1 will do
ETCD = "3.6.14"  # the newest of the 3.6 that Talos 1.13 runs
KUSTOMIZE = "5.8.1"  # what kustomize-controller builds with, by its own go.mod (v1.10.1)
FLUX = "2.9.5"  # what flux-operator installs if cluster.yaml does not name another
FLUX_CONTROLLERS = "1.9.5"  # the source-controller and the kustomize-controller of that Flux
HELM = "4.3.0"  # that of the image with which cluster_stack.plan.cilium installs Cilium
CILIUM = "1.20.2"  # the chart of infrastructure/core/base/cilium
FLUX_OPERATOR = "0.59.0"  # that of cluster_stack.plan.gitops: the newest that is served
# The Gos that pip brings where none is installed that is new enough. A build takes the first that will do.
GO_BINS = ("1.26.6", "1.27.3")


@dataclass(frozen=True)
class Pin:
    """One version in the go.mod of one folder under toolchain/modules."""

    folder: str
    module: str
    version: str
    why: str


_BRIDGE_SDK = "the fork that the bridge's own go.mod names at this tag"
_TALOS_FORK = "the fork that Talos' own go.mod names at this tag"
# The libraries that Kubernetes keeps in its own repository, where its go.mod finds them by path. Elsewhere each of them
# is a module of its own, published at the same moment: v0.36.1 goes with v1.36.1.
_KUBERNETES_LIBRARIES = (
    *("api", "apiextensions-apiserver", "apimachinery", "apiserver", "cli-runtime", "client-go", "cloud-provider"),
    *("cluster-bootstrap", "component-base", "component-helpers", "controller-manager", "cri-api", "cri-client"),
    *("csi-translation-lib", "dynamic-resource-allocation", "endpointslice", "externaljwt", "kms", "kube-aggregator"),
    *("kube-controller-manager", "kube-proxy", "kube-scheduler", "kubectl", "kubelet", "metrics", "mount-utils"),
    *("pod-security-admission", "streaming"),
)

PINS = (
    Pin("pulumi", "github.com/pulumi/pulumi/pkg/v3", f"v{PULUMI}", "the CLI and its engine"),
    Pin("pulumi", "github.com/pulumi/pulumi/sdk/v3", f"v{PULUMI}", "goes with pkg; has pulumi-language-python-exec"),
    Pin(
        "pulumi",
        "github.com/tgummerer/clipboard",
        "v0.0.0-20241001131231-d02d263e614e",
        "the fork of atotto/clipboard that the CLI's own go.mod names at this tag",
    ),
    Pin("pulumi-language-python", "github.com/pulumi/pulumi/sdk/v3", f"v{LANGUAGE_PYTHON}", "the language host"),
    Pin("proxmoxve", "github.com/bpg/terraform-provider-proxmox", f"v{BPG}", "has every property of the 8.6.0 wheel"),
    Pin(
        "proxmoxve",
        "github.com/pulumi/pulumi-terraform-bridge/v3",
        "v3.128.0",
        "the newest bridge whose dependencies are all served",
    ),
    Pin("proxmoxve", "github.com/pulumi/pulumi/sdk/v3", "v3.228.0", "what this bridge requires"),
    Pin("proxmoxve", "github.com/pulumi/terraform-plugin-sdk/v2", "v2.0.0-20260318212141-5525259d096b", _BRIDGE_SDK),
    Pin("talos", "github.com/pulumi/pulumi/sdk/v3", f"v{PULUMI}", "the provider protocol of the CLI above"),
    Pin("talos", "github.com/siderolabs/talos/pkg/machinery", f"v{TALOS}", "the library that pulumi-talos wraps"),
    Pin("talos", "github.com/siderolabs/ethtool", "v0.4.0-sidero", _TALOS_FORK),
    Pin("talosctl", "github.com/siderolabs/talos", f"v{TALOS}", "talosctl"),
    Pin("talosctl", "github.com/siderolabs/talos/pkg/machinery", f"v{TALOS}", "goes with it"),
    Pin("talosctl", "github.com/siderolabs/ethtool", "v0.4.0-sidero", _TALOS_FORK),
    Pin("talosctl", "github.com/siderolabs/wgctrl-go", "v0.0.0-20251029173431-c4fd5f6a4e72", _TALOS_FORK),
    Pin("talos-integration", "github.com/siderolabs/talos", f"v{TALOS}", "its own tests of its API"),
    Pin("talos-integration", "github.com/siderolabs/talos/pkg/machinery", f"v{TALOS}", "goes with it"),
    Pin("talos-integration", "github.com/siderolabs/ethtool", "v0.4.0-sidero", _TALOS_FORK),
    Pin("talos-integration", "github.com/siderolabs/wgctrl-go", "v0.0.0-20251029173431-c4fd5f6a4e72", _TALOS_FORK),
    Pin("bpg-acceptance", "github.com/bpg/terraform-provider-proxmox", f"v{BPG}", "the tests of the bridged provider"),
    Pin("tofu", "github.com/opentofu/opentofu", f"v{TOFU}", "the tests drive it; its newest release here"),
    Pin(
        "tofu",
        "github.com/opentofu/hcl/v2",
        "v2.20.2-0.20251021132045-587d123c2828",
        "the fork that OpenTofu's own go.mod names at this tag",
    ),
    Pin("etcd", "go.etcd.io/etcd/server/v3", f"v{ETCD}", "the server that the lab's control planes run"),
    Pin("etcd", "go.etcd.io/etcd/etcdutl/v3", f"v{ETCD}", "goes with it; restores snapshots"),
    Pin("kubernetes", "k8s.io/kubernetes", f"v{KUBERNETES}", "the servers of a control plane"),
    *(
        Pin("kubernetes", f"k8s.io/{library}", f"v0{KUBERNETES.removeprefix('1')}", "goes with it")
        for library in _KUBERNETES_LIBRARIES
    ),
    Pin("flux", "github.com/controlplaneio-fluxcd/flux-operator", f"v{FLUX_OPERATOR}", "the operator in the lab"),
    Pin("flux", "github.com/fluxcd/source-controller", f"v{FLUX_CONTROLLERS}", "the controllers in the lab"),
    Pin("flux", "github.com/fluxcd/kustomize-controller", f"v{FLUX_CONTROLLERS}", "the same"),
    Pin("flux", "github.com/fluxcd/pkg/artifact", "v0.18.0", "source-controller asks for v0.18.3, which is not served"),
    Pin(
        "flux",
        "github.com/google/go-containerregistry/pkg/authn/kubernetes",
        "v0.0.0-20250225234217-098045d5e61f",
        "what source-controller's own go.mod takes; that of the three together is not served",
    ),
    Pin(
        "flux",
        "github.com/opencontainers/go-digest",
        "v1.0.1-0.20220411205349-bde1400a84be",
        "what the controllers' own go.mod files replace it with",
    ),
    Pin("helm", "helm.sh/helm/v4", f"v{HELM}", "installs Cilium in the lab"),
    Pin("charts", "github.com/cilium/cilium", f"v{CILIUM}", "its chart, which the lab's registry serves"),
    Pin("kustomize", "sigs.k8s.io/kustomize/kustomize/v5", f"v{KUSTOMIZE}", "builds infrastructure/ as Flux does"),
    Pin(
        "custom-resources",
        "github.com/prometheus-operator/prometheus-operator/pkg/apis/monitoring",
        "v0.94.1",
        "that of the chart in infrastructure/optional/base/kube-prometheus-stack",
    ),
    Pin("custom-resources", "sigs.k8s.io/controller-tools", "v0.20.1", "controller-gen: CRDs from Go types"),
)

# The packages of bpg's provider that have acceptance tests of what this project, or its lab, has to do with.
BPG_TEST_PACKAGES = (
    "fwprovider",
    "fwprovider/access",
    "fwprovider/cluster/ha",
    "fwprovider/cluster/hardwaremapping",
    "fwprovider/cluster/options",
    "fwprovider/nodes",
    "fwprovider/nodes/clonedvm",
    "fwprovider/nodes/config",
    "fwprovider/nodes/datastores",
    "fwprovider/nodes/hardware",
    "fwprovider/nodes/vm",
    "fwprovider/nodes/vm/cdrom",
    "fwprovider/nodes/vm/cpu",
    "fwprovider/nodes/vm/rng",
    "fwprovider/nodes/vm/vga",
    "fwprovider/pools",
    "fwprovider/storage",
    "fwprovider/test",
    "proxmox/cluster/ha/resources",
)


@dataclass(frozen=True)
class GoBuild:
    """One `go build`, in a folder of this repository that has the go.mod."""

    folder: str
    package: str
    output: str
    version: str
    tags: str = ""
    stamp: str = ""
    """What the linker sets, `variable=value`, with spaces between: how the program knows its version."""


class GoTests(GoBuild):
    """One `go test -c`: the tests of a package as a program."""


@dataclass(frozen=True)
class CompletedBuild(GoBuild):
    """One `go build` of a package that its module does not have everything for, as it is published."""

    module: str = ""
    lacks: str = ""
    """A file of the module that its maker generates before a build; empty if nothing is missing."""
    content: str = ""
    """What the file has here."""
    settings: tuple[str, ...] = ()
    """What Go is told besides, `NAME=value`, as its maker does."""


@dataclass(frozen=True)
class ModuleFile:
    """A file or a folder that is not compiled: taken as it is from a Go module that the folder's go.mod requires."""

    folder: str
    module: str
    path: str
    output: str
    version: str


@dataclass(frozen=True)
class OtherName:
    """A second name for a program that was built, by which it knows what it is asked to be."""

    program: str
    output: str


@dataclass(frozen=True)
class Release:
    """A release on its maker's own site: the asset, and the list of SHA-256 sums beside it."""

    host: str
    folder: str
    asset: str
    checksums: str


@dataclass(frozen=True)
class Tool:
    """One thing that `ensure` provides. The first program is the one that the tool is named for."""

    name: str
    version: str
    programs: tuple[str, ...]
    builds: tuple[GoBuild, ...]
    minutes: float
    """How long a cold build takes on two cores."""
    source_version: str
    """What the build makes; a plugin's differs from `version` when the wheel was upgraded and the build was not."""
    copies: tuple[ModuleFile, ...] = ()
    names: tuple[OtherName, ...] = ()
    version_arguments: tuple[str, ...] = ()
    """How the program is asked for its version; none if it does not tell."""
    accepted_below: str = ""
    """A program on PATH will do from `version` up to, not including, this one. Empty: PATH is not looked at."""
    release: Release | None = None
    plugin_server: str = ""
    """For a Pulumi plugin, where its maker publishes it, as its wheel says."""
    on_request: bool = False
    """Provided only to who names it: large, and needed for one thing that few do."""

    @property
    def is_plugin(self) -> bool:
        return bool(self.plugin_server)

    @property
    def plugin_folder(self) -> str:
        """The name of the folder in which the engine looks for this version of the plugin."""
        return f"resource-{self.name}-v{self.version}"

    @property
    def parts(self) -> tuple[GoBuild | ModuleFile, ...]:
        """All that a build makes, one for each program; other names come on top."""
        return self.builds + self.copies

    def program_version(self, program: str, origin: str) -> str:
        """The version of one program: a release has one, what was built may be of several."""
        built = {part.output: part.version for part in self.parts}
        built |= {other.output: built[other.program] for other in self.names}
        return built[program] if origin == "built" else self.version


def go_platform() -> tuple[str, str]:
    """This machine's operating system and processor, as Go names them."""
    processors = {"x86_64": "amd64", "amd64": "amd64", "aarch64": "arm64", "arm64": "arm64"}
    system, processor = sys.platform, platform.machine().lower()
    if system not in ("linux", "darwin") or processor not in processors:
        raise ToolchainError(f"no tools for {system} on {processor}: Linux and macOS on x86-64 or arm64 are supported")
    return system, processors[processor]


def _wheel(package: str) -> tuple[str, str]:
    """The plugin version that a wheel of a Pulumi provider asks for, and its maker's download server."""
    try:
        path = importlib.metadata.distribution(package).locate_file(f"{package}/pulumi-plugin.json")
        plugin = json.loads(Path(str(path)).read_text())
    except (importlib.metadata.PackageNotFoundError, OSError) as error:
        raise ToolchainError(
            f"{package} is not installed for {sys.executable}, and its version decides which plugin is needed: "
            f"run `pip install -r requirements.txt` in the project's virtual environment first ({error})"
        ) from None
    return plugin["version"], plugin["server"]


def _plugin(build: GoBuild, wheel: tuple[str, str], minutes: float, version_arguments: tuple[str, ...] = ()) -> Tool:
    version, server = wheel
    return Tool(
        name=build.output.removeprefix("pulumi-resource-"),
        version=version,
        programs=(build.output,),
        builds=(build,),
        minutes=minutes,
        source_version=build.version,
        version_arguments=version_arguments,
        plugin_server=server,
    )


def _bpg_program(package: str) -> str:
    return f"bpg-{package.replace('/', '-')}.test"


def _flux_build(
    module: str, package: str, output: str, version: str, *, lacks: str = "", content: str = "", stamp: str = ""
) -> CompletedBuild:
    """One of Flux's programs. The operator insists on the setting; with it all three share what is compiled."""
    return CompletedBuild(
        "toolchain/modules/flux",
        module + package,
        output,
        version,
        stamp=stamp,
        module=module,
        lacks=lacks,
        content=content,
        settings=("GOFIPS140=latest",),
    )


def tools() -> dict[str, Tool]:
    """Every tool, in the order in which they are best built: those with much code in common follow each other."""
    system, processor = go_platform()
    pulumi_processor = {"amd64": "x64", "arm64": "arm64"}[processor]
    everything = (
        Tool(
            name="pulumi",
            version=PULUMI,
            programs=("pulumi", "pulumi-language-python", "pulumi-language-python-exec"),
            builds=(
                GoBuild(
                    "toolchain/modules/pulumi",
                    "github.com/pulumi/pulumi/pkg/v3/cmd/pulumi",
                    "pulumi",
                    PULUMI,
                    tags="osusergo,grpcnotrace",  # as the maker builds it
                    stamp=f"github.com/pulumi/pulumi/sdk/v3/go/common/version.Version=v{PULUMI}",
                ),
                GoBuild(
                    "toolchain/modules/pulumi-language-python",
                    "github.com/pulumi/pulumi/sdk/v3/python/cmd/pulumi-language-python",
                    "pulumi-language-python",
                    LANGUAGE_PYTHON,
                    stamp=f"github.com/pulumi/pulumi/sdk/v3/go/common/version.Version=v{LANGUAGE_PYTHON}",
                ),
            ),
            # The executor runs inside the program's Python, so it goes with the SDK of today, not with the old host.
            copies=(
                ModuleFile(
                    "toolchain/modules/pulumi",
                    "github.com/pulumi/pulumi/sdk/v3",
                    "python/cmd/pulumi-language-python-exec",
                    "pulumi-language-python-exec",
                    PULUMI,
                ),
            ),
            minutes=4,
            source_version=PULUMI,
            version_arguments=("version",),
            accepted_below="4.0.0",
            release=Release(
                host="github.com",
                folder=f"https://github.com/pulumi/pulumi/releases/download/v{PULUMI}/",
                asset=f"pulumi-v{PULUMI}-{system}-{pulumi_processor}.tar.gz",
                checksums=f"pulumi-{PULUMI}-checksums.txt",
            ),
        ),
        _plugin(
            GoBuild("toolchain/modules/talos", ".", "pulumi-resource-talos", TALOS_PLUGIN),
            _wheel("pulumiverse_talos"),
            minutes=1,
        ),
        _plugin(
            GoBuild(
                "toolchain/modules/proxmoxve",
                ".",
                "pulumi-resource-proxmoxve",
                PROXMOXVE,
                stamp=f"main.version={PROXMOXVE}",
            ),
            _wheel("pulumi_proxmoxve"),
            minutes=2,
            version_arguments=("-version",),
        ),
        Tool(
            name="talosctl",
            version=TALOS,
            programs=("talosctl",),
            builds=(
                GoBuild("toolchain/modules/talosctl", "github.com/siderolabs/talos/cmd/talosctl", "talosctl", TALOS),
            ),
            minutes=2.5,
            source_version=TALOS,
            version_arguments=("version", "--client", "--short"),
            accepted_below="1.14.0",  # talosctl of one minor release serves that minor's API
            release=Release(
                host="github.com",
                folder=f"https://github.com/siderolabs/talos/releases/download/v{TALOS}/",
                asset=f"talosctl-{system}-{processor}",
                checksums="sha256sum.txt",
            ),
        ),
        Tool(
            name="etcd",
            version=ETCD,
            programs=("etcd", "etcdutl"),
            builds=(
                GoBuild("toolchain/modules/etcd", "go.etcd.io/etcd/server/v3", "etcd", ETCD),
                GoBuild("toolchain/modules/etcd", "go.etcd.io/etcd/etcdutl/v3", "etcdutl", ETCD),
            ),
            minutes=1,
            source_version=ETCD,
            version_arguments=("--version",),
            accepted_below="3.7.0",
            release=Release(
                host="github.com",
                folder=f"https://github.com/etcd-io/etcd/releases/download/v{ETCD}/",
                asset=f"etcd-v{ETCD}-{system}-{processor}.tar.gz",  # for macOS the maker has zips only, and it is built
                checksums="SHA256SUMS",
            ),
        ),
        Tool(
            name="kubernetes",
            version=KUBERNETES,
            programs=("kube", "kubectl"),
            builds=(
                GoBuild(
                    "toolchain/modules/kubernetes",
                    ".",
                    "kube",
                    KUBERNETES,
                    stamp=" ".join(
                        f"k8s.io/{package}.{variable}"
                        for package in ("component-base/version", "client-go/pkg/version")
                        for variable in (
                            f"gitVersion=v{KUBERNETES}",
                            f"gitMajor={KUBERNETES.split('.')[0]}",
                            f"gitMinor={KUBERNETES.split('.')[1]}",
                            "gitTreeState=clean",
                            "gitCommit=",  # the module does not tell it
                        )
                    ),
                ),
            ),
            names=(OtherName("kube", "kubectl"),),
            minutes=5,
            source_version=KUBERNETES,
            version_arguments=("kubectl", "version", "--client"),
        ),
        Tool(
            name="kustomize",
            version=KUSTOMIZE,
            programs=("kustomize",),
            builds=(
                GoBuild(
                    "toolchain/modules/kustomize",
                    "sigs.k8s.io/kustomize/kustomize/v5",
                    "kustomize",
                    KUSTOMIZE,
                    stamp=f"sigs.k8s.io/kustomize/api/provenance.version=v{KUSTOMIZE}",
                ),
            ),
            minutes=1,
            source_version=KUSTOMIZE,
            version_arguments=("version",),
            accepted_below="6.0.0",
            release=Release(
                host="github.com",
                folder=f"https://github.com/kubernetes-sigs/kustomize/releases/download/kustomize%2Fv{KUSTOMIZE}/",
                asset=f"kustomize_v{KUSTOMIZE}_{system}_{processor}.tar.gz",
                checksums="checksums.txt",
            ),
        ),
        Tool(
            name="helm",
            version=HELM,
            programs=("helm",),
            builds=(
                GoBuild(
                    "toolchain/modules/helm",
                    "helm.sh/helm/v4/cmd/helm",
                    "helm",
                    HELM,
                    stamp=f"helm.sh/helm/v4/internal/version.version=v{HELM}",
                ),
            ),
            copies=(
                ModuleFile(
                    "toolchain/modules/charts",
                    "github.com/cilium/cilium",
                    "install/kubernetes/cilium",
                    "chart-cilium",
                    CILIUM,
                ),
            ),
            minutes=2,
            source_version=HELM,
        ),
        Tool(
            name="flux",
            version=FLUX,
            programs=("flux-operator", "source-controller", "kustomize-controller"),
            builds=(
                _flux_build("github.com/fluxcd/kustomize-controller", "", "kustomize-controller", FLUX_CONTROLLERS),
                _flux_build("github.com/fluxcd/source-controller", "", "source-controller", FLUX_CONTROLLERS),
                _flux_build(
                    "github.com/controlplaneio-fluxcd/flux-operator",
                    "/cmd/operator",
                    "flux-operator",
                    FLUX_OPERATOR,
                    lacks="web/dist/index.html",
                    content="<!doctype html><title>Flux</title>The page is not built here.",
                    stamp=f"main.VERSION=v{FLUX_OPERATOR}",
                ),
            ),
            copies=(
                ModuleFile(
                    "toolchain/modules/flux",
                    "github.com/controlplaneio-fluxcd/flux-operator",
                    "config/data",
                    "flux-operator-data",
                    FLUX_OPERATOR,
                ),
            ),
            minutes=5,
            source_version=FLUX,
        ),
        Tool(
            name="talos-node",
            version=TALOS,
            programs=("talos-node",),
            builds=(GoBuild("lab/node", ".", "talos-node", TALOS),),
            minutes=1,
            source_version=TALOS,
        ),
        Tool(
            name="talos-kubelets",
            version=TALOS,
            programs=("talos-kubelets",),
            builds=(GoBuild("lab/node", "./kubelets", "talos-kubelets", TALOS),),
            minutes=1.5,
            source_version=TALOS,
        ),
        Tool(
            name="bpg-acceptance",
            version=BPG,
            programs=tuple(_bpg_program(package) for package in BPG_TEST_PACKAGES),
            builds=tuple(
                GoTests(
                    "toolchain/modules/bpg-acceptance",
                    f"github.com/bpg/terraform-provider-proxmox/{package}",
                    _bpg_program(package),
                    BPG,
                    tags="acceptance,all",
                )
                for package in BPG_TEST_PACKAGES
            ),
            minutes=3,
            source_version=BPG,
            on_request=True,
        ),
        Tool(
            name="talos-integration",
            version=TALOS,
            programs=("talos-integration.test",),
            builds=(
                GoTests(
                    "toolchain/modules/talos-integration",
                    "github.com/siderolabs/talos/internal/integration",
                    "talos-integration.test",
                    TALOS,
                    tags="integration,integration_api,integration_k8s",  # the last: they ask Kubernetes, too
                ),
            ),
            minutes=1.5,
            source_version=TALOS,
            on_request=True,
        ),
        Tool(
            name="tofu",
            version=TOFU,
            programs=("tofu",),
            builds=(
                GoBuild(
                    "toolchain/modules/tofu",
                    "github.com/opentofu/opentofu/cmd/tofu",
                    "tofu",
                    TOFU,
                    stamp="github.com/opentofu/opentofu/version.dev=no",  # else it calls itself a development build
                ),
            ),
            minutes=4,
            source_version=TOFU,
            version_arguments=("version",),
            accepted_below="2.0.0",
            release=Release(
                host="github.com",
                folder=f"https://github.com/opentofu/opentofu/releases/download/v{TOFU}/",
                asset=f"tofu_{TOFU}_{system}_{processor}.tar.gz",
                checksums=f"tofu_{TOFU}_SHA256SUMS",
            ),
            on_request=True,
        ),
    )
    return {tool.name: tool for tool in everything}
