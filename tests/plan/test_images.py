"""Where the Image Factory has its images."""

from __future__ import annotations

import pytest

from cluster_stack.plan.images import factory_url, installer_image, qcow2_url

ID = "ce4c980550dd2ab1b17bbf2b08801c7eb59418eafe8f279833297925d67c7515"


@pytest.mark.parametrize(
    ("factory", "platform", "arch", "secureboot", "url"),
    [
        ("factory.talos.dev", "nocloud", "amd64", False, "https://factory.talos.dev/image/{}/nocloud-amd64.qcow2"),
        ("factory.lan:8080", "metal", "arm64", False, "https://factory.lan:8080/image/{}/metal-arm64.qcow2"),
        ("http://factory.lan/", "nocloud", "amd64", True, "http://factory.lan/image/{}/nocloud-amd64-secureboot.qcow2"),
    ],
)
def test_disk_image(factory: str, platform: str, arch: str, secureboot: bool, url: str) -> None:
    assert qcow2_url(factory, ID, "v1.13.0", platform, arch, secureboot) == url.format(f"{ID}/v1.13.0")


@pytest.mark.parametrize(
    ("factory", "platform", "secureboot", "image"),
    [
        ("factory.talos.dev", "nocloud", False, "factory.talos.dev/nocloud-installer/"),
        ("factory.talos.dev", "metal", True, "factory.talos.dev/metal-installer-secureboot/"),
        ("http://factory.lan:8080/", "nocloud", False, "factory.lan:8080/nocloud-installer/"),
    ],
)
def test_installer(factory: str, platform: str, secureboot: bool, image: str) -> None:
    assert installer_image(factory, ID, "v1.13.0", platform, secureboot) == f"{image}{ID}:v1.13.0"


@pytest.mark.parametrize(
    ("factory", "url"),
    [
        ("factory.talos.dev", "https://factory.talos.dev"),
        ("https://factory.talos.dev/", "https://factory.talos.dev"),
        ("http://factory.lan:8080", "http://factory.lan:8080"),
    ],
)
def test_api(factory: str, url: str) -> None:
    assert factory_url(factory) == url
