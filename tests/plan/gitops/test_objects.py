"""What is applied to bring Flux into a cluster, whole, for two sites; and what an edit changes of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from cluster_stack.plan.gitops.objects import Bootstrap, SecretEntry
from cluster_stack.plan.gitops.plan import bootstrap
from tests.sites import project, text_of

EXPECTED = Path(__file__).parent


def made(root: Path, site: str, **edits: str) -> Bootstrap:
    """The bootstrap of a site, with texts of its cluster.yaml replaced."""
    text = text_of(site)
    for old, new in edits.items():
        assert old in text
        text = text.replace(old, new)
    planned = project(root, site, **{site: text}).plan(site)
    assert planned.gitops is not None
    return bootstrap(planned.file, planned.gitops)


def kustomizations(found: Bootstrap) -> dict[str, Any]:
    return {manifest["metadata"]["name"]: manifest["spec"] for manifest in found.components["spec"]["resources"]}


@pytest.mark.parametrize("site", ["flux", "gateway"])
def test_the_objects_of_a_site(site: str, tmp_path: Path) -> None:
    found = made(tmp_path, site)
    manifests = [found.namespace, found.runtime_info, found.instance, found.components]
    expected = (EXPECTED / f"{site}.yaml").read_text(encoding="utf-8")
    assert manifests == list(yaml.load_all(expected, Loader=yaml.CSafeLoader))


def test_the_same_file_gives_the_same_objects(tmp_path: Path) -> None:
    (tmp_path / "one").mkdir()
    (tmp_path / "other").mkdir()
    assert made(tmp_path / "one", "gateway") == made(tmp_path / "other", "gateway")


def test_a_component_that_is_taken_out_of_the_list_is_out_of_the_inventory(tmp_path: Path) -> None:
    """The operator prunes what is not in the ResourceSet any more, and nothing else of it changes."""
    (tmp_path / "before").mkdir()
    (tmp_path / "after").mkdir()
    before = kustomizations(made(tmp_path / "before", "gateway"))
    after = kustomizations(
        made(tmp_path / "after", "gateway", **{"external-dns, ": "", "EXTERNAL_DNS_ZONE": "GATEWAY_DOMAIN"})
    )
    assert before.pop("external-dns")["prune"] is True
    assert after == before


def test_the_secrets_are_named_and_never_told(tmp_path: Path) -> None:
    found = {secret.name: secret for secret in made(tmp_path, "flux").secrets}
    assert found["flux-git-credentials"].entries == {"identity": SecretEntry("fluxGitKey")}
    assert found["flux-git-credentials"].texts["known_hosts"].startswith("github.com ssh-ed25519 ")
    assert found["sops-age"].entries == {"age.agekey": SecretEntry("fluxAgeKey")}


def test_the_token_of_a_private_repository(tmp_path: Path) -> None:
    with_token = {"repository: https": "credentialsSecret: fluxToken\n    repository: https"}
    found = made(tmp_path, "gateway", **with_token)
    (secret,) = found.secrets
    assert (secret.entries, secret.texts) == ({"password": SecretEntry("fluxToken")}, {"username": "git"})
    assert found.instance["spec"]["sync"]["pullSecret"] == secret.name
