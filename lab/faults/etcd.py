"""What can be done to an etcd member from outside: its file spoiled while it is down, its alarm raised while it runs.

The member is the real program; nothing here imitates it.
"""

from __future__ import annotations

import http.client
import json
import ssl
from pathlib import Path
from typing import Any

from lab.directory import read_json
from lab.faults.kinds import FaultError

PAGE_BYTES = 4096
HEADER_BYTES = 16
SPOILT_BYTES = 48  # a meta page's fields; either of the two meta pages would do for etcd to open the file
PORT = 2379
SECONDS = 5


def database(folder: Path) -> Path:
    """The file in which the member of a machine keeps its data."""
    machine: dict[str, Any] = read_json(folder / "machine.json", {})
    for disk in machine.get("disks", []):
        file = Path(disk["path"]) / "EPHEMERAL" / "etcd" / "member" / "snap" / "db"
        if file.is_file():
            return file
    raise FaultError(f"there is no etcd on the disks of VM {folder.name}")


def corrupt(file: Path) -> None:
    """Flip the bits of both meta pages: bbolt finds no valid one, and etcd does not start."""
    with file.open("r+b") as database_file:
        for page in (0, 1):
            database_file.seek(page * PAGE_BYTES + HEADER_BYTES)
            found = database_file.read(SPOILT_BYTES)
            database_file.seek(page * PAGE_BYTES + HEADER_BYTES)
            database_file.write(bytes(byte ^ 0xFF for byte in found))


def raise_nospace(folder: Path) -> None:
    """Have the member raise the alarm of a quota that is used up. To be called in the machine's network."""
    keys = folder / "run" / "etcd"
    try:
        context = ssl.create_default_context(cafile=str(keys / "ca.crt"))
        context.load_cert_chain(keys / "server.crt", keys / "server.key")
        status = _post(context, "/v3/maintenance/status", {})
        alarm = {"action": "ACTIVATE", "memberID": status["header"]["member_id"], "alarm": "NOSPACE"}
        _post(context, "/v3/maintenance/alarm", alarm)
    except (OSError, http.client.HTTPException, ValueError, KeyError) as error:
        raise FaultError(f"the etcd of VM {folder.name} does not answer: {error}") from None


def _post(context: ssl.SSLContext, path: str, body: dict[str, Any]) -> dict[str, Any]:
    connection = http.client.HTTPSConnection("127.0.0.1", PORT, timeout=SECONDS, context=context)
    try:
        connection.request("POST", path, json.dumps(body))
        answer = connection.getresponse()
        text = answer.read()
        if answer.status != http.HTTPStatus.OK:
            raise OSError(f"{answer.status} {answer.reason}")
        found: dict[str, Any] = json.loads(text)
        return found
    finally:
        connection.close()
