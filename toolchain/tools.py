"""Which programs the project runs, and what each is built from.

Whether a program is there, and how it gets there, is not this module's affair.
"""

from __future__ import annotations

import importlib.metadata
import json
import platform
import sys
from pathlib import Path

from toolchain.builds import CompletedBuild, GoBuild, GoTests, ModuleFile, OtherName, Release, Tool
from toolchain.errors import ToolchainError
from toolchain.pins import (
    BPG,
    CILIUM,
    ETCD,
    FLUX,
    FLUX_CONTROLLERS,
    FLUX_OPERATOR,
    HELM,
    HELM_CONTROLLER,
    KUBERNETES,
    KUSTOMIZE,
    LANGUAGE_PYTHON,
    PROXMOXVE,
    PULUMI,
    TALOS,
    TALOS_PLUGIN,
    TOFU,
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
    """One of Flux's programs. The operator insists on the setting; with it all of them share what is compiled."""
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
            programs=("flux-operator", "source-controller", "kustomize-controller", "helm-controller"),
            builds=(
                _flux_build("github.com/fluxcd/kustomize-controller", "", "kustomize-controller", FLUX_CONTROLLERS),
                _flux_build("github.com/fluxcd/source-controller", "", "source-controller", FLUX_CONTROLLERS),
                _flux_build("github.com/fluxcd/helm-controller", "", "helm-controller", HELM_CONTROLLER),
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
