"""The Image Factory and GitHub's container registry, as far as a Talos node or a provider asks them.

Owns which schematics, versions and installer images exist. A manifest here says that an image exists and what is in
it; it has no layers, because nobody here unpacks one.
"""

from __future__ import annotations

import hashlib
import json
import re
from typing import Any

import yaml
from aiohttp import web

from lab.datacentre import Factory
from lab.directory import LabDirectory, read_json, write_json

PLATFORMS = frozenset(["metal", "nocloud", "aws", "azure", "gcp", "openstack", "vmware", "hcloud", "digital-ocean"])
MANIFEST = "application/vnd.oci.image.manifest.v1+json"
INSTALLER = re.compile(r"(?:(?P<platform>[a-z-]+?)-)?installer(?P<secureboot>-secureboot)?/(?P<schematic>[0-9a-f]{64})")


class ImageFactory:
    def __init__(self, directory: LabDirectory, factory: Factory) -> None:
        self._factory = factory
        self._file = directory.root / "schematics.json"
        self._schematics: dict[str, str] = {**factory.schematics, **read_json(self._file, {})}

    def application(self, registry: str) -> web.Application:
        """What one host name serves: the factory's API and registry, or the registry alone."""
        application = web.Application()
        routes = [
            web.get("/v2/", self._registry_root),
            web.get(
                r"/v2/{image:.+}/manifests/{version}",
                self._factory_manifest if registry != "ghcr.io" else self._generic_manifest,
            ),
        ]
        if registry != "ghcr.io":
            routes += [
                web.get("/versions", self._versions),
                web.post("/schematics", self._create_schematic),
                web.get("/schematics/{schematic}", self._schematic),
                web.get("/version/{version}/extensions/official", self._extensions),
            ]
        application.add_routes(routes)
        return application

    async def _registry_root(self, _: web.Request) -> web.Response:
        return web.json_response({})

    async def _versions(self, _: web.Request) -> web.Response:
        return web.json_response(list(self._factory.versions))

    async def _schematic(self, request: web.Request) -> web.Response:
        text = self._schematics.get(request.match_info["schematic"])
        if text is None:
            raise web.HTTPNotFound(text="schematic not found\n")
        return web.Response(text=text, content_type="application/yaml")

    async def _create_schematic(self, request: web.Request) -> web.Response:
        try:
            document = yaml.safe_load(await request.text()) or {}
        except yaml.YAMLError as error:
            raise web.HTTPBadRequest(text=f"error unmarshaling schematic: {error}\n") from None
        text = canonical_schematic(document)
        identifier = hashlib.sha256(text.encode()).hexdigest()
        self._schematics.setdefault(identifier, text)
        write_json(self._file, self._schematics)
        return web.json_response({"id": identifier, "schematic": text}, status=201)

    async def _extensions(self, request: web.Request) -> web.Response:
        self._known_version(request.match_info["version"])
        names = sorted({name for text in self._schematics.values() for name in extensions_of(text)})
        return web.json_response(
            [{"name": name, "ref": f"ghcr.io/{name}", "digest": "", "author": "", "description": ""} for name in names]
        )

    async def _factory_manifest(self, request: web.Request) -> web.Response:
        match = INSTALLER.fullmatch(request.match_info["image"])
        if match is None or match["schematic"] not in self._schematics:
            raise _no_manifest()
        if match["platform"] not in (None, *PLATFORMS):
            raise _no_manifest()
        self._known_version(request.match_info["version"])
        return _manifest(request)

    async def _generic_manifest(self, request: web.Request) -> web.Response:
        version = request.match_info["version"]
        self._known_version(version)
        if request.match_info["image"] != "siderolabs/installer" or _minor(version) > _minor(
            self._factory.last_generic_installer
        ):
            raise _no_manifest()
        return _manifest(request)

    def _known_version(self, version: str) -> None:
        if version not in self._factory.versions:
            raise _no_manifest()


def canonical_schematic(document: Any) -> str:
    """The text whose hash is a schematic's id: the factory's own key order, indented by four, empty parts left out."""
    customization = document.get("customization") or {}
    kept: dict[str, Any] = {}
    for name in ("extraKernelArgs", "meta", "systemExtensions", "secureboot", "bootloader"):
        if customization.get(name):
            kept[name] = customization[name]
    if not kept:
        return "customization: {}\n"
    if extensions := kept.get("systemExtensions", {}).get("officialExtensions"):
        kept["systemExtensions"] = {"officialExtensions": sorted(extensions)}
    text: str = yaml.dump(
        {"customization": kept}, Dumper=_FactoryDumper, indent=4, default_flow_style=False, sort_keys=False
    )
    return text


class _FactoryDumper(yaml.SafeDumper):
    """Go's YAML indents lists in mappings; Python's does not."""

    def increase_indent(self, flow: bool = False, indentless: bool = False) -> None:  # noqa: ARG002 - PyYAML's signature
        super().increase_indent(flow, False)


def extensions_of(schematic: str) -> list[str]:
    customization = (yaml.safe_load(schematic) or {}).get("customization") or {}
    names: list[str] = (customization.get("systemExtensions") or {}).get("officialExtensions") or []
    return names


def _minor(version: str) -> tuple[int, int]:
    major, minor = version.removeprefix("v").split(".")[:2]
    return int(major), int(minor)


def _manifest(request: web.Request) -> web.Response:
    image, version = request.match_info["image"], request.match_info["version"]
    empty = {
        "mediaType": "application/vnd.oci.empty.v1+json",
        "digest": f"sha256:{hashlib.sha256(b'{}').hexdigest()}",
        "size": 2,
    }
    body = json.dumps(
        {
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "config": empty,
            "layers": [empty],
            "annotations": {"org.opencontainers.image.ref.name": f"{image}:{version}"},
        }
    ).encode()
    digest = f"sha256:{hashlib.sha256(body).hexdigest()}"
    return web.Response(body=body, content_type=MANIFEST, headers={"Docker-Content-Digest": digest})


def _no_manifest() -> web.HTTPNotFound:
    errors = {"errors": [{"code": "MANIFEST_UNKNOWN", "message": "manifest unknown"}]}
    return web.HTTPNotFound(text=json.dumps(errors), content_type="application/json")
