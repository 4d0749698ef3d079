"""Order and overlays follow from the components themselves."""

from __future__ import annotations

from itertools import permutations
from pathlib import Path

from cluster_stack.plan.gitops.selection import Step, steps
from tests.plan.gitops.test_components import GOOD, tree


def of(found: tuple[Step, ...]) -> dict[str, tuple[str, ...]]:
    return {step.name: step.depends_on for step in found}


def test_what_is_needed_comes_first_in_whatever_order_it_is_listed(tmp_path: Path) -> None:
    catalogue = tree(
        tmp_path, gateway=GOOD + "needs: [certificates]\n", certificates=GOOD, metrics=GOOD + "after: [gateway, dns]\n"
    )
    expected = {"certificates": (), "gateway": ("certificates",), "metrics": ("gateway",)}
    for order in permutations(expected):
        found = steps([catalogue.components[name] for name in order], "none")
        assert of(found) == expected
        names = [step.name for step in found]
        assert names.index("certificates") < names.index("gateway") < names.index("metrics")


def test_what_is_only_to_come_after_waits_for_nothing_that_is_not_there(tmp_path: Path) -> None:
    catalogue = tree(tmp_path, metrics=GOOD + "after: [gateway]\n", gateway=GOOD)
    assert of(steps([catalogue.components["metrics"]], "none")) == {"metrics": ()}


def test_custom_resources_come_after_their_component_and_before_who_needs_it(tmp_path: Path) -> None:
    catalogue = tree(tmp_path, certificates=GOOD, gateway=GOOD + "needs: [certificates]\n")
    config = tmp_path / "infrastructure/core/base/certificates/config"
    config.mkdir()
    (config / "kustomization.yaml").touch()
    assert of(steps(list(catalogue.components.values()), "none")) == {
        "certificates": (),
        "certificates-config": ("certificates",),
        "gateway": ("certificates-config",),
    }


def test_a_cluster_gets_its_overlay_and_the_base_of_what_has_none(tmp_path: Path) -> None:
    catalogue = tree(tmp_path, certificates=GOOD, gateway=GOOD)
    overlay = tmp_path / "infrastructure/core/overlays/prod/gateway"
    overlay.mkdir(parents=True)
    (overlay / "kustomization.yaml").touch()
    paths = {step.name: step.path for step in steps(list(catalogue.components.values()), "prod")}
    assert paths == {
        "certificates": "infrastructure/core/base/certificates",
        "gateway": "infrastructure/core/overlays/prod/gateway",
    }
    paths = {step.name: step.path for step in steps(list(catalogue.components.values()), "dev")}
    assert paths["gateway"] == "infrastructure/core/base/gateway"
