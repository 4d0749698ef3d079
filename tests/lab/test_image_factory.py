"""The Image Factory: ids of schematics, and images of those that somebody has posted, and of no others."""

from __future__ import annotations

import asyncio
import lzma
from collections.abc import AsyncIterator
from typing import Any

import pytest
import yaml
from aiohttp.test_utils import TestClient, TestServer

from lab import control, datacentre, disk_image
from lab.control import Client, ControlError
from lab.datacentre import Factory
from lab.directory import LabDirectory
from lab.faults.ledger import Ledger
from lab.image_factory import ImageFactory
from lab.schematics import SchematicError, Schematics, canonical_text, identifier_of

SITE = datacentre.load()
AGENT = "ce4c980550dd2ab1b17bbf2b08801c7eb59418eafe8f279833297925d67c7515"
ZFS = "customization:\n  systemExtensions:\n    officialExtensions: [siderolabs/zfs]\n"
# Ids from siderolabs/image-factory v1.4.0, pkg/schematic.
IDS: list[tuple[dict[str, Any], str]] = [
    ({}, SITE.factory.default_schematic),
    ({"customization": {"systemExtensions": {"officialExtensions": ["siderolabs/qemu-guest-agent"]}}}, AGENT),
    (
        {
            "customization": {
                "systemExtensions": {"officialExtensions": ["siderolabs/qemu-guest-agent", "siderolabs/iscsi-tools"]}
            }
        },
        "6ebbfe35c8225645c05d4d19eaad385bd1ec795954932d0ada671388272fec19",
    ),
    (
        {"customization": {"extraKernelArgs": ["-console", "console=ttyS0", 'talos.x="a b"', "yes", "1.5", "a: b"]}},
        "f37221f9562081947756159f11fb31d8a53ca942efaa406a3966a1d7d275206a",
    ),
    (
        {
            "customization": {
                "secureboot": {"includeWellKnownCertificates": True},
                "bootloader": "sd-boot",
                "extraKernelArgs": ["net.ifnames=0"],
            }
        },
        "e2982c0818965c71a51369c75ab30f5bdd24907d289a3e435370a7c3b7d12beb",
    ),
    (
        {
            "customization": {
                "meta": [{"value": "addresses:\n  - address: 10.0.0.2/24\n    linkName: eth0\n", "key": 10}]
            }
        },
        "b65f6bb96be94b6cbb4cfb50808ffd0fe2e522c9b5fdc00b26513445501da6b8",
    ),
    (
        {
            "customization": {},
            "overlay": {
                "name": "rpi_generic",
                "image": "siderolabs/sbc-raspberrypi",
                "options": {"configTxt": "a", "b": 1},
            },
        },
        "017c2f2a92a5f00c0571771f4fad0e4eda18c59dfb7aa6c19bc711c3c05e0039",
    ),
]


def factory(directory: LabDirectory, site: Factory = SITE.factory) -> ImageFactory:
    return ImageFactory(site, Schematics(directory, site.schematics))


@pytest.fixture
async def client(directory: LabDirectory) -> AsyncIterator[TestClient[Any, Any]]:
    async with TestClient(TestServer(factory(directory).application("factory.talos.dev"))) as made:
        yield made


@pytest.mark.parametrize(("document", "identifier"), IDS)
def test_a_schematic_has_the_real_factory_s_id(document: dict[str, Any], identifier: str) -> None:
    assert identifier_of(canonical_text(yaml.safe_dump(document))) == identifier


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (
            "customization: {extraKernelArg: [x]}",
            "yaml: field extraKernelArg not found in type schematic.customization",
        ),
        ("customization: [x]", "yaml: cannot construct"),
        ("{", "yaml: "),
    ],
)
def test_what_is_no_schematic_is_refused(text: str, words: str) -> None:
    with pytest.raises(SchematicError, match=words):
        canonical_text(text)


async def test_the_factory_knows_its_installers(client: TestClient[Any, Any]) -> None:
    async with client.get(f"/schematics/{AGENT}") as response:
        assert "siderolabs/qemu-guest-agent" in await response.text()
    statuses: list[int] = []
    for image in (
        f"metal-installer/{AGENT}/manifests/v1.11.5",
        f"nocloud-installer-secureboot/{AGENT}/manifests/v1.13.0",
        f"installer/{AGENT}/manifests/v1.11.5",
        f"toaster-installer/{AGENT}/manifests/v1.11.5",
        f"metal-installer/{AGENT}/manifests/v9.9.9",
        f"metal-installer/{'0' * 64}/manifests/v1.11.5",
    ):
        async with client.head(f"/v2/{image}") as response:
            statuses.append(response.status)
    assert statuses == [200, 200, 200, 404, 404, 404]


async def test_an_image_says_what_it_is(client: TestClient[Any, Any]) -> None:
    path = f"/image/{AGENT}/v1.13.0/nocloud-amd64-secureboot.qcow2"
    async with client.head(path) as response:
        assert response.status == 200
        length = response.headers["Content-Length"]
    async with client.get(path) as response:
        assert response.headers["Content-Disposition"] == 'attachment; filename="nocloud-amd64-secureboot.qcow2"'
        body = await response.read()
    assert str(len(body)) == length
    found = disk_image.read(body)
    assert (found.format, found.disk_bytes) == ("qcow2", 1246 << 20)
    assert found.image
    assert found.image.model_dump() == {
        "version": "v1.13.0",
        "platform": "nocloud",
        "arch": "amd64",
        "schematic": AGENT,
        "extensions": ("siderolabs/qemu-guest-agent",),
        "secureboot": True,
    }


@pytest.mark.parametrize(
    ("path", "status"),
    [
        (f"{AGENT}/v1.13.0/metal-arm64.iso", 200),
        (f"{AGENT}/1.13.0/nocloud-amd64.raw", 200),
        (f"{'0' * 64}/v1.13.0/nocloud-amd64.qcow2", 404),
        (f"{AGENT}/v9.9.9/nocloud-amd64.qcow2", 404),
        (f"{AGENT}/v1.13.0/toaster-amd64.qcow2", 400),
        (f"{AGENT}/v1.13.0/nocloud-z80.qcow2", 400),
        (f"{AGENT}/v1.13.0/nocloud-amd64.vmdk", 400),
        (f"{AGENT}/v1.13.0/metal-amd64.iso.xz", 400),
    ],
)
async def test_there_are_images_of_what_exists_and_of_nothing_else(
    client: TestClient[Any, Any], path: str, status: int
) -> None:
    async with client.head(f"/image/{path}") as response:
        assert response.status == status


async def test_a_compressed_image_is_compressed(client: TestClient[Any, Any]) -> None:
    async with client.get(f"/image/{AGENT}/v1.13.0/nocloud-amd64.raw.xz") as response:
        assert disk_image.read(lzma.decompress(await response.read())).format == "raw"


async def test_an_image_is_built_only_from_a_schematic_that_somebody_posted(
    client: TestClient[Any, Any], directory: LabDirectory
) -> None:
    path = f"/image/{identifier_of(canonical_text(ZFS))}/v1.13.0/nocloud-amd64.qcow2"
    async with client.head(path) as response:
        assert response.status == 404
    async with client.post("/schematics", data=ZFS) as response:
        made = await response.json()
    assert (response.status, made["id"]) == (201, identifier_of(made["schematic"]))
    async with client.get(path) as response:
        image = disk_image.read(await response.read()).image
    assert image
    assert image.extensions == ("siderolabs/zfs",)
    assert made["id"] in Schematics(directory, {}), "it survives a restart"
    async with client.post("/schematics", data="customization: 1") as response:
        assert response.status == 400


def test_a_schematic_can_be_posted_before_a_start(directory: LabDirectory) -> None:
    assert Client(directory).post_schematic(ZFS) in Schematics(directory, {})
    with pytest.raises(ControlError, match="field x not found"):
        Client(directory).post_schematic("x: 1")


async def test_a_schematic_that_a_test_posts_is_known_at_once(directory: LabDirectory) -> None:
    known = Schematics(directory, {})
    server = control.Server(directory, datacentre.load(), Ledger(directory), dict, known.post)
    await server.start()
    assert await asyncio.to_thread(Client(directory).post_schematic, ZFS) in known
    with pytest.raises(ControlError, match="field x not found"):
        await asyncio.to_thread(Client(directory).post_schematic, "x: 1")
    await server.stop()


async def test_the_generic_installer_ended_with_talos_1_13(directory: LabDirectory) -> None:
    site = SITE.factory.model_copy(update={"versions": (*SITE.factory.versions, "v1.14.0")})
    async with TestClient(TestServer(factory(directory, site).application("ghcr.io"))) as client:
        for version, status in (("v1.13.0", 200), ("v1.14.0", 404), ("v1.9.9", 404)):
            async with client.get(f"/v2/siderolabs/installer/manifests/{version}") as response:
                assert response.status == status
