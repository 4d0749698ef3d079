"""The registry of Helm charts: what a client of the OCI distribution API finds in it, piece by piece."""

from __future__ import annotations

import hashlib
import io
import tarfile
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp.test_utils import TestClient, TestServer

from lab.chart_registry import CONFIG, LAYER, MANIFEST, ChartRegistry

REPOSITORY = "cilium/charts/cilium"


@pytest.fixture
def chart(tmp_path: Path) -> Path:
    folder = tmp_path / "chart"
    (folder / "templates").mkdir(parents=True)
    (folder / "Chart.yaml").write_text("apiVersion: v2\nname: cilium\nversion: 1.2.3\n")
    (folder / "templates/a.yaml").write_text("kind: ConfigMap\n")
    return folder


@pytest.fixture
async def client(chart: Path) -> AsyncIterator[TestClient[Any, Any]]:
    async with TestClient(TestServer(ChartRegistry({REPOSITORY: chart}).application())) as made:
        yield made


async def test_a_chart_is_found_by_its_version_and_by_its_digest(client: TestClient[Any, Any]) -> None:
    async with client.get(f"/v2/{REPOSITORY}/manifests/1.2.3") as response:
        manifest, digest = await response.read(), response.headers["Docker-Content-Digest"]
        assert response.content_type == MANIFEST
    assert digest == f"sha256:{hashlib.sha256(manifest).hexdigest()}"
    async with client.head(f"/v2/{REPOSITORY}/manifests/{digest}") as response:
        assert response.status == 200
        assert response.content_length == len(manifest)
    async with client.get(f"/v2/{REPOSITORY}/tags/list") as response:
        assert await response.json() == {"name": REPOSITORY, "tags": ["1.2.3"]}


async def test_the_blobs_are_the_ones_that_the_manifest_names(client: TestClient[Any, Any], chart: Path) -> None:
    async with client.get(f"/v2/{REPOSITORY}/manifests/1.2.3") as response:
        manifest = await response.json(content_type=MANIFEST)
    (layer,) = manifest["layers"]
    assert (manifest["config"]["mediaType"], layer["mediaType"]) == (CONFIG, LAYER)
    contents = []
    for descriptor in (manifest["config"], layer):
        async with client.get(f"/v2/{REPOSITORY}/blobs/{descriptor['digest']}") as response:
            contents.append(await response.read())
        assert len(contents[-1]) == descriptor["size"]
        assert f"sha256:{hashlib.sha256(contents[-1]).hexdigest()}" == descriptor["digest"]
    with tarfile.open(fileobj=io.BytesIO(contents[1])) as archive:
        assert archive.getnames() == ["cilium/Chart.yaml", "cilium/templates/a.yaml"]


def test_the_same_chart_has_the_same_digest(chart: Path) -> None:
    one, other = (ChartRegistry({REPOSITORY: chart})._charts[REPOSITORY].manifest.digest for _ in range(2))
    assert one == other


@pytest.mark.parametrize(
    ("path", "code"),
    [
        (f"{REPOSITORY}/manifests/1.2.4", "MANIFEST_UNKNOWN"),
        (f"{REPOSITORY}/blobs/sha256:00", "BLOB_UNKNOWN"),
        ("cilium/charts/tetragon/manifests/1.2.3", "NAME_UNKNOWN"),
        ("cilium/charts/tetragon/tags/list", "NAME_UNKNOWN"),
    ],
)
async def test_what_is_not_there(client: TestClient[Any, Any], path: str, code: str) -> None:
    async with client.get(f"/v2/{path}") as response:
        assert response.status == 404
        assert (await response.json())["errors"][0]["code"] == code
