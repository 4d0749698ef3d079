"""The version of all that the project runs and builds, each with the reason for it. All version numbers are here.

`PINS` repeats what the go.mod files under `toolchain/modules` say; a test keeps both equal. Which versions of the two
plugins are wanted, the installed wheels say.
"""

from __future__ import annotations

from dataclasses import dataclass

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
HELM_CONTROLLER = "1.6.4"  # that of the same Flux
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
    Pin("flux", "github.com/fluxcd/helm-controller", f"v{HELM_CONTROLLER}", "the same"),
    Pin(
        "flux",
        "github.com/fluxcd/pkg/runtime",
        "v0.110.3",
        "what the controllers ask for; helm-controller does not build with the v0.111.0 that flux-operator asks for",
    ),
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
