"""Where the Image Factory has the images of a schematic (docs/api.md of github.com/siderolabs/image-factory).

``factory`` is a host (``factory.talos.dev``, ``factory.lan:8080``) or a URL; ``version`` is a Talos version with its
``v``. The platform of the boot image and of the installer must be one, or the network settings are lost at the next
boot (talos#10949).
"""

from __future__ import annotations

DEFAULT_FACTORY = "factory.talos.dev"


def qcow2_url(factory: str, schematic_id: str, version: str, platform: str, arch: str, secureboot: bool) -> str:
    """The disk image that Proxmox imports as it is: content type ``import`` decompresses nothing (bpg#3102)."""
    return f"{factory_url(factory)}/image/{schematic_id}/{version}/{platform}-{arch}{_secureboot(secureboot)}.qcow2"


def factory_url(factory: str) -> str:
    """Where the factory's API is. A host without a scheme is asked by HTTPS."""
    return factory.rstrip("/") if "://" in factory else f"https://{factory}"


def installer_image(factory: str, schematic_id: str, version: str, platform: str, secureboot: bool) -> str:
    """The reference of the image that installs and upgrades nodes, of every architecture."""
    host = factory.partition("://")[2] or factory
    return f"{host.rstrip('/')}/{platform}-installer{_secureboot(secureboot)}/{schematic_id}:{version}"


def _secureboot(secureboot: bool) -> str:
    return "-secureboot" if secureboot else ""
