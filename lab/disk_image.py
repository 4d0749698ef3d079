"""What stands in a file for a Talos image: a few bytes that say what the image is.

Owns the file format. The Image Factory writes such files, Proxmox downloads them and imports disks from them; a disk
then has the description, and the machine boots what it describes.
"""

from __future__ import annotations

import json
from typing import Literal

from pydantic import ValidationError

from lab.datacentre import Image, Model

FileFormat = Literal["iso", "qcow2", "raw"]
# talos pkg/imager/profile: the size of a disk image before it is grown.
DISK_BYTES = 1246 << 20


class DiskImage(Model):
    """One file: the format that it claims to have, and the image in it."""

    format: str
    image: Image
    disk_bytes: int = DISK_BYTES
    """The disk's size, as `qemu-img info` tells it; a file of the lab is a few hundred bytes."""

    def to_bytes(self) -> bytes:
        return json.dumps(self.model_dump(mode="json"), indent=1).encode() + b"\n"


class NoDiskImageError(ValueError):
    """Bytes that are no image of the lab."""


def read(content: bytes) -> DiskImage:
    try:
        return DiskImage.model_validate_json(content)
    except ValidationError:
        raise NoDiskImageError("not an image of the lab") from None
