"""What the committed schemas are taken from. What a component brings, its own component.yaml says.

Kubernetes: the newest patch of each minor whose k8s.io/kubernetes is served as a module. Flux: what flux-operator
installs, the newest patch of each minor. Seen in November 2026.
"""

from __future__ import annotations

from collections.abc import Mapping

KUBERNETES = "k8s.io/kubernetes"
KUBERNETES_RELEASES: Mapping[int, str] = {
    29: "v1.29.6",
    30: "v1.30.14",
    31: "v1.31.14",
    32: "v1.32.13",
    33: "v1.33.13",
    34: "v1.34.4",
    35: "v1.35.4",
    36: "v1.36.3",
    37: "v1.37.2",
}
"""Minor -> the release. No 1.28 is served."""

FLUX_OPERATOR = "github.com/controlplaneio-fluxcd/flux-operator"
FLUX_OPERATOR_RELEASE = "v0.59.0"  # the newest that is served as a module; it installs Flux up to v2.9.5
FLUX_RELEASES: Mapping[int, str] = {7: "v2.7.5", 8: "v2.8.8", 9: "v2.9.5"}
"""Minor -> the release. They are Flux' own CRDs; those of the operator are under the AGPL, so none is copied from it.
Older ones do not know the API versions that infrastructure/ is written in."""
