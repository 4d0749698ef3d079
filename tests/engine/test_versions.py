"""A cluster's life: its version contract stays; a way that cannot be gone is refused before anything happens."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from cluster_stack.automation import ClusterError
from tests.engine.site import Site

FILE = "clusters/dev/cluster.yaml"


@pytest.fixture(scope="module")
def dev(site: Site) -> Iterator[str]:
    site.up("dev")
    yield site.cluster_file("dev").read_text()
    site.destroy("dev")


def written(site: Site, text: str, version: str) -> None:
    site.cluster_file("dev").write_text(text.replace("version: v1.11.5", f"version: {version}"))


@pytest.mark.parametrize(
    ("edit", "why"),
    [
        ("version: v1.13.0", "version: Talos v1.11.5 to v1.13.0 skips a minor version"),
        ("version: v1.10.9", "version: Talos cannot go back from v1.11.5 to v1.10.9"),
        (
            "version: v1.11.5\n    diskEncryption: nodeID",
            "diskEncryption: the disks of this cluster have the encryption",
        ),
    ],
)
def test_a_way_that_cannot_be_gone_is_refused_in_preview(site: Site, dev: str, edit: str, why: str) -> None:
    seen = len(site.requests())
    try:
        site.cluster_file("dev").write_text(dev.replace("version: v1.11.5", edit))
        with pytest.raises(ClusterError) as refused:
            site.preview("dev")
    finally:
        site.cluster_file("dev").write_text(dev)
    assert f"{FILE}:" in str(refused.value)
    assert f"cluster.talos.{why}" in str(refused.value)
    assert "Traceback" not in str(refused.value)
    assert len(site.requests()) == seen


def test_the_contract_is_that_of_the_creation(site: Site, dev: str) -> None:
    try:
        written(site, dev, "v1.12.4")
        shown = site.preview("dev")
        assert (shown.created, shown.replaced, shown.deleted) == (0, 0, 0)
        changes = site.up("dev").changes
        assert (changes.created, changes.replaced, changes.deleted) == (0, 0, 0)
        assert changes.updated >= 2
        versions = {
            key: site.run("pulumi", "stack", "output", key, "-s", "dev").stdout.strip()
            for key in ("talos_version", "kubernetes_version", "talos_version_contract")
        }
        assert versions == {
            "talos_version": "v1.12.4",
            "kubernetes_version": "1.34.0",
            "talos_version_contract": "v1.11.5",
        }
        assert not site.up("dev").changes.any
    finally:
        # Back within what an update may do: the next test begins where this one did.
        site.cluster_file("dev").write_text(dev)
