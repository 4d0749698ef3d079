"""Which Flux is installed on which Kubernetes. What is said of a wrong one: tests/sites/invalid/gitops.yaml."""

from __future__ import annotations

import pytest

from cluster_stack.plan.gitops.flux_versions import FLUX, default_version, problem
from cluster_stack.plan.versions import CONFIGURABLE_TALOS, TALOS


@pytest.mark.parametrize(
    ("kubernetes", "flux"), [(28, None), (29, "v2.7.5"), (32, "v2.8.8"), (33, "v2.9.5"), (36, "v2.9.5"), (37, None)]
)
def test_the_newest_that_runs_there(kubernetes: int, flux: str | None) -> None:
    assert default_version(kubernetes) == flux


def test_every_version_is_taken_on_every_kubernetes_of_its_range() -> None:
    for number, flux in FLUX.items():
        for patch in flux.patches:
            assert all(problem(f"v2.{number}.{patch}", kubernetes) is None for kubernetes in flux.kubernetes)
            for other in (flux.kubernetes[0] - 1, flux.kubernetes[-1] + 1):
                assert problem(f"v2.{number}.{patch}", other) is not None


def test_flux_runs_on_the_kubernetes_that_every_new_talos_brings() -> None:
    for minor in CONFIGURABLE_TALOS:
        kubernetes = int(TALOS[minor].default_kubernetes.split(".")[1])
        assert default_version(kubernetes) is not None
