"""flux-operator's manifests: those of the release that is pinned, and making them gives the same."""

from __future__ import annotations

import pytest

from cluster_stack.plan.gitops import operator
from toolchain import flux_operator
from toolchain.schemas.sources import FLUX_OPERATOR_RELEASE


def test_they_are_of_the_pinned_release() -> None:
    (deployment,) = [manifest for manifest in operator.manifests() if manifest["kind"] == "Deployment"]
    (container,) = deployment["spec"]["template"]["spec"]["containers"]
    assert container["image"] == f"ghcr.io/controlplaneio-fluxcd/flux-operator:{FLUX_OPERATOR_RELEASE}"


@pytest.mark.engine
def test_making_them_gives_what_is_committed() -> None:
    for file, text in flux_operator.made().items():
        assert file.read_text(encoding="utf-8") == text, "run `python -m toolchain.flux_operator`"
