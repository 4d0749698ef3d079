"""What stands in a file for a disk image: of Talos, a few bytes that say what the image is; of anything else, a header.

Owns the file format. The Image Factory writes such files, Proxmox downloads them and imports disks from them; a disk
then has the description, and the machine boots what it describes. A qcow2 file from elsewhere is known by its header,
and a machine finds nothing on it that it could boot.
"""

from __future__ import annotations

import json
import struct
from typing import Literal

from pydantic import ValidationError

from lab.datacentre import Image, Model

FileFormat = Literal["iso", "qcow2", "raw"]
# talos pkg/imager/profile: the size of a disk image before it is grown.
DISK_BYTES = 1246 << 20
QCOW2_MAGIC = b"QFI\xfb"
QCOW2_SIZE_AT = 24


class DiskImage(Model):
    """One file: the format that it claims to have, and the image in it, if it is one of Talos."""

    format: str
    image: Image | None
    disk_bytes: int = DISK_BYTES
    """The disk's size, as `qemu-img info` tells it; a file of the lab is a few hundred bytes."""

    def to_bytes(self) -> bytes:
        return json.dumps(self.model_dump(mode="json"), indent=1).encode() + b"\n"


class NoDiskImageError(ValueError):
    """Bytes that are no image that the lab knows."""


def read(content: bytes) -> DiskImage:
    if content.startswith(QCOW2_MAGIC) and len(content) >= QCOW2_SIZE_AT + 8:
        (size,) = struct.unpack_from(">Q", content, QCOW2_SIZE_AT)
        return DiskImage(format="qcow2", image=None, disk_bytes=size)
    try:
        return DiskImage.model_validate_json(content)
    except ValidationError:
        raise NoDiskImageError("not an image that the lab knows") from None
