"""Files that come with a form: read to the end, kept in an unnamed file until the call is done with them."""

from __future__ import annotations

import hashlib
import secrets
import tempfile
from dataclasses import dataclass
from typing import IO

from aiohttp import BodyPartReader, web

CHECKSUMS = ("md5", "sha1", "sha224", "sha256", "sha384", "sha512")
PIECE = 1 << 16
DESCRIPTION_BYTES = 1 << 20  # what stands for an image in the lab is shorter by far


@dataclass(frozen=True)
class Upload:
    file: IO[bytes]
    size: int

    def sums(self) -> dict[str, str]:
        """The checksums that Proxmox can be asked to compare, by algorithm."""
        self.file.seek(0)
        digests = {algorithm: hashlib.new(algorithm) for algorithm in CHECKSUMS}
        while piece := self.file.read(PIECE):
            for digest in digests.values():
                digest.update(piece)
        return {algorithm: digest.hexdigest() for algorithm, digest in digests.items()}

    def beginning(self) -> bytes:
        """As much of the file as tells what it is."""
        self.file.seek(0)
        return self.file.read(DESCRIPTION_BYTES)

    def close(self) -> None:
        self.file.close()


async def read(http: web.Request) -> tuple[list[tuple[str, str]], Upload | None]:
    """The fields of a form, and the file in it: its name and its temporary name count as fields, as in Proxmox."""
    fields: list[tuple[str, str]] = []
    upload: Upload | None = None
    form = await http.multipart()
    while (part := await form.next()) is not None:
        if not isinstance(part, BodyPartReader) or part.name is None:
            continue
        if part.filename is None:
            fields.append((part.name, await part.text()))
            continue
        file = tempfile.TemporaryFile()  # noqa: SIM115 - whoever gets the upload closes it
        while piece := await part.read_chunk(PIECE):
            file.write(piece)
        upload = Upload(file, file.tell())
        fields += [("filename", part.filename), ("tmpfilename", f"/var/tmp/pveupload-{secrets.token_hex(16)}")]  # noqa: S108
    return fields, upload
