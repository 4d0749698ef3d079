"""A registry of Helm charts, as quay.io is one: OCI artifacts, read by anybody, written by nobody.

Owns what a chart is made of in a registry: manifest, config, layer, and their digests. A chart is a folder, as its
makers' Go module has it; its name there and its tag are the name and the version that its Chart.yaml says.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import tarfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import yaml
from aiohttp import web

MANIFEST = "application/vnd.oci.image.manifest.v1+json"
CONFIG = "application/vnd.cncf.helm.config.v1+json"
LAYER = "application/vnd.cncf.helm.chart.content.v1.tar+gzip"


@dataclass(frozen=True)
class Blob:
    media_type: str
    content: bytes

    @cached_property
    def digest(self) -> str:
        return f"sha256:{hashlib.sha256(self.content).hexdigest()}"

    @property
    def descriptor(self) -> dict[str, str | int]:
        return {"mediaType": self.media_type, "digest": self.digest, "size": len(self.content)}


@dataclass(frozen=True)
class Chart:
    folder: Path

    @cached_property
    def about(self) -> Mapping[str, str]:
        """Its Chart.yaml."""
        found: Mapping[str, str] = yaml.safe_load((self.folder / "Chart.yaml").read_text(encoding="utf-8"))
        return found

    @cached_property
    def layer(self) -> Blob:
        """The archive, the same bytes each time: without owners and times."""
        archive = io.BytesIO()
        with tarfile.open(fileobj=archive, mode="w") as tar:
            for path in sorted(self.folder.rglob("*")):
                if path.is_file():
                    entry = tarfile.TarInfo(f"{self.about['name']}/{path.relative_to(self.folder).as_posix()}")
                    entry.size = path.stat().st_size
                    with path.open("rb") as file:
                        tar.addfile(entry, file)
        return Blob(LAYER, gzip.compress(archive.getvalue(), mtime=0))

    @cached_property
    def config(self) -> Blob:
        return Blob(CONFIG, json.dumps(self.about, default=str).encode())

    @cached_property
    def manifest(self) -> Blob:
        content = {
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "config": self.config.descriptor,
            "layers": [self.layer.descriptor],
        }
        return Blob(MANIFEST, json.dumps(content).encode())


class ChartRegistry:
    def __init__(self, charts: Mapping[str, Path]) -> None:
        """``charts``: repository, like ``cilium/charts/cilium`` -> the folder of the chart that it holds."""
        self._charts = {repository: Chart(folder) for repository, folder in charts.items()}

    def application(self) -> web.Application:
        application = web.Application()
        application.add_routes(
            [
                web.get("/v2/", self._root),
                web.get(r"/v2/{repository:.+}/tags/list", self._tags),
                web.get(r"/v2/{repository:.+}/manifests/{reference}", self._manifest),
                web.get(r"/v2/{repository:.+}/blobs/{digest}", self._blob),
            ]
        )
        return application

    async def _root(self, _: web.Request) -> web.Response:
        return web.json_response({})

    async def _tags(self, request: web.Request) -> web.Response:
        chart = self._chart(request)
        return web.json_response({"name": request.match_info["repository"], "tags": [chart.about["version"]]})

    async def _manifest(self, request: web.Request) -> web.Response:
        chart, reference = self._chart(request), request.match_info["reference"]
        if reference not in (chart.about["version"], chart.manifest.digest):
            raise _error("MANIFEST_UNKNOWN", "manifest unknown")
        return _answer(chart.manifest)

    async def _blob(self, request: web.Request) -> web.Response:
        chart, digest = self._chart(request), request.match_info["digest"]
        for blob in _blobs(chart):
            if blob.digest == digest:
                return _answer(blob)
        raise _error("BLOB_UNKNOWN", "blob unknown to registry")

    def _chart(self, request: web.Request) -> Chart:
        chart = self._charts.get(request.match_info["repository"])
        if chart is None:
            raise _error("NAME_UNKNOWN", "repository name not known to registry")
        return chart


def _blobs(chart: Chart) -> Iterator[Blob]:
    yield from (chart.config, chart.layer)


def _answer(blob: Blob) -> web.Response:
    headers = {"Docker-Content-Digest": blob.digest}
    return web.Response(body=blob.content, content_type=blob.media_type, headers=headers)


def _error(code: str, message: str) -> web.HTTPNotFound:
    errors = {"errors": [{"code": code, "message": message}]}
    return web.HTTPNotFound(text=json.dumps(errors), content_type="application/json")
