"""What tests and the command line may do to a site behind its back: the faults, schematics for the Image Factory.

Owns the way to the daemon and back: one JSON object per line, either way, on a unix socket in the lab's folder. What a
fault is, and what it does, is in lab.faults.
"""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import Callable
from typing import Any

from pydantic import ValidationError

from lab import datacentre, schematics
from lab.datacentre import Datacentre
from lab.directory import LabDirectory
from lab.faults import fault, ledger, targets
from lab.faults.fault import Fault, Faults
from lab.faults.kinds import FaultError, Value
from lab.faults.ledger import Ledger
from lab.faults.targets import Site
from lab.network.bridges import NetworkError
from lab.schematics import SchematicError


class ControlError(Exception):
    """The daemon does not take a command, or is not there."""


class NobodyThereError(ControlError):
    """The lab is stopped, or its daemon was killed."""


class Client:
    """Talks to the daemon of one lab; while it is stopped, edits the folder instead."""

    def __init__(self, directory: LabDirectory) -> None:
        self._directory = directory

    def faults(self) -> Faults:
        return fault.load(self._directory)

    def set_fault(
        self,
        kind: str,
        target: str | int | None = None,
        *,
        match: str | None = None,
        at: int | None = None,
        times: int | None = None,
        expected: bool = False,
        **options: Value,
    ) -> Fault:
        """Let something be wrong, or happen; returns once it is so.

        `match`, `at` and `times` say which requests it strikes or waits for; `expected` lets it be about a VM or
        volume that is still to come. Raises FaultError or ControlError.
        """
        wanted: dict[str, Any] = {"name": kind, "target": None if target is None else str(target), "options": options}
        wanted |= {"match": match, "at": at, "times": times, "expected": expected}
        site = datacentre.load(self._directory.datacentre)
        asked = targets.checked(Site.read(self._directory, site), **wanted)
        try:
            answer = self._ask({"command": "fault", "wanted": wanted})
            return Fault.model_validate(answer["fault"])
        except NobodyThereError:
            _needs_nobody(asked)
            added, kept = ledger.add(self.faults(), asked)
            fault.save(self._directory, kept)
            return added

    def clear_faults(self, identifier: str | None = None) -> list[Fault]:
        """End one fault, or all of them; returns those that ended."""
        try:
            answer = self._ask({"command": "clear", "id": identifier})
            return [Fault.model_validate(entry) for entry in answer["faults"]]
        except NobodyThereError:
            cleared, kept = ledger.remove(self.faults(), identifier)
            for gone in cleared:
                _needs_nobody(gone)
            fault.save(self._directory, kept)
            return cleared

    def status(self) -> dict[str, Any]:
        return self._ask({"command": "status"})

    def post_schematic(self, text: str) -> str:
        """Post a schematic to the Image Factory, as a person does with a browser or curl; returns its id.

        Raises ControlError where the factory does not take the text for a schematic.
        """
        try:
            return str(self._ask({"command": "schematic", "text": text})["id"])
        except NobodyThereError:
            try:
                return schematics.post(self._directory, text)
            except SchematicError as error:
                raise ControlError(str(error)) from None

    def _ask(self, request: dict[str, Any]) -> dict[str, Any]:
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
                connection.settimeout(10)
                connection.connect(str(self._directory.control_socket))
                connection.sendall(json.dumps(request).encode() + b"\n")
                with connection.makefile() as lines:
                    line = lines.readline()
        except (FileNotFoundError, ConnectionRefusedError):
            raise NobodyThereError(f"no lab is running in {self._directory.root}") from None
        except OSError as error:
            raise ControlError(f"the lab in {self._directory.root} does not answer: {error}") from None
        if not line:
            raise ControlError(f"the lab in {self._directory.root} broke off, see {self._directory.log}")
        answer: dict[str, Any] = json.loads(line)
        if "error" in answer:
            raise ControlError(answer["error"])
        return answer


def _needs_nobody(wanted: Fault) -> None:
    """Refuse what does something to machines while the lab is stopped."""
    if wanted.of.needs_running_lab and wanted.holds:
        raise FaultError(f"{wanted.kind} does something to a site that runs: start the lab first")


class Server:
    """The daemon's end."""

    def __init__(
        self,
        directory: LabDirectory,
        site: Datacentre,
        faults: Ledger,
        status: Callable[[], dict[str, Any]],
        post_schematic: Callable[[str], str],
    ) -> None:
        self._directory = directory
        self._site = site
        self._faults = faults
        self._status = status
        self._post_schematic = post_schematic
        self._server: asyncio.Server | None = None

    async def start(self) -> None:
        self._directory.control_socket.unlink(missing_ok=True)
        self._server = await asyncio.start_unix_server(self._serve, str(self._directory.control_socket))

    async def stop(self) -> None:
        if self._server is not None:
            self._server.close()
            await self._server.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while line := await reader.readline():
                writer.write(json.dumps(await self._answer(line)).encode() + b"\n")
                await writer.drain()
        finally:
            writer.close()

    async def _answer(self, line: bytes) -> dict[str, Any]:
        try:
            request = json.loads(line)
            command = request["command"]
            if command == "status":
                return self._status()
            if command == "schematic":
                return {"id": self._post_schematic(request["text"])}
            if command == "fault":
                wanted = targets.checked(Site.read(self._directory, self._site), **request["wanted"])
                return {"fault": (await self._faults.set(wanted)).model_dump(mode="json")}
            if command == "clear":
                cleared = await self._faults.clear(request["id"])
                return {"faults": [gone.model_dump(mode="json") for gone in cleared]}
            return {"error": f"no such command: {command}"}
        except (ValueError, KeyError, ValidationError, NetworkError, FaultError) as error:
            return {"error": str(error)}
