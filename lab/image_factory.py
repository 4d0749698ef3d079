"""The Image Factory and GitHub's container registry, as far as a Talos node, Proxmox or a provider asks them.

Owns which versions, installer images and boot images exist. A manifest here says that an image exists and what is in
it; it has no layers, because nobody here unpacks one. A boot image is a description of itself.
"""

from __future__ import annotations

import hashlib
import json
import lzma
import re

from aiohttp import web

from lab.datacentre import Factory, Image
from lab.disk_image import DiskImage
from lab.schematics import SchematicError, Schematics, extensions_of

PLATFORMS = frozenset(["metal", "nocloud", "aws", "azure", "gcp", "openstack", "vmware", "hcloud", "digital-ocean"])
MANIFEST = "application/vnd.oci.image.manifest.v1+json"
IMAGE = re.compile(
    r"(?P<platform>[a-z-]+)-(?P<arch>amd64|arm64)(?P<secureboot>-secureboot)?"
    r"\.(?P<format>iso|qcow2|raw)(?P<compression>(?<!iso)\.xz)?"
)
INSTALLER = re.compile(r"(?:(?P<platform>[a-z-]+?)-)?installer(?P<secureboot>-secureboot)?/(?P<schematic>[0-9a-f]{64})")


class ImageFactory:
    def __init__(self, factory: Factory, schematics: Schematics) -> None:
        self._factory = factory
        self._schematics = schematics

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
                web.get("/image/{schematic}/{version}/{file}", self._image),
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
            identifier = self._schematics.post(await request.text())
        except SchematicError as error:
            raise web.HTTPBadRequest(text=f"{error}\n") from None
        return web.json_response({"id": identifier, "schematic": self._schematics.get(identifier)}, status=201)

    async def _image(self, request: web.Request) -> web.Response:
        """A disk image or an ISO, of a schematic that somebody has posted."""
        text, version = self._schematics.get(request.match_info["schematic"]), request.match_info["version"]
        if text is None:
            raise web.HTTPNotFound(text="schematic not found\n")
        version = version if version.startswith("v") else f"v{version}"
        if version not in self._factory.versions:
            raise web.HTTPNotFound(text=f"version {version} is not available\n")
        match = IMAGE.fullmatch(request.match_info["file"])
        if match is None or match["platform"] not in PLATFORMS:
            raise web.HTTPBadRequest(text=f"error parsing profile from path: {request.match_info['file']!r}\n")
        image = Image(
            version=version,
            platform=match["platform"],
            arch=match["arch"],
            schematic=request.match_info["schematic"],
            extensions=tuple(extensions_of(text)),
            secureboot=bool(match["secureboot"]),
        )
        body = DiskImage(format=match["format"], image=image).to_bytes()
        name = request.match_info["file"]
        return web.Response(
            body=lzma.compress(body) if match["compression"] else body,
            content_type="application/x-xz" if match["compression"] else "application/octet-stream",
            headers={"Content-Disposition": f'attachment; filename="{name}"'},
        )

    async def _extensions(self, request: web.Request) -> web.Response:
        self._known_version(request.match_info["version"])
        names = sorted({name for text in self._schematics for name in extensions_of(text)})
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
