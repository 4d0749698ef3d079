"""What tests and the command line may do to a site behind its back: the faults, schematics for the Image Factory.

A fault is a fact about the site ("DHCP is silent"), kept in the lab's folder until it is cleared, so it holds through
a restart and can be set before a start. The protocol is one JSON object per line, either way, on a unix socket in the
folder.
"""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import Callable
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from lab import schematics
from lab.directory import LabDirectory, read_json, write_json
from lab.network.bridges import NetworkError
from lab.network.faults import NetworkFaults
from lab.schematics import SchematicError


class Faults(BaseModel):
    """Everything that can be wrong with the site. The default is: nothing."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    revoked_privileges: frozenset[str] = frozenset()
    """Privileges that no role grants any more."""
    dhcp_silent: bool = False
    dhcp_silent_for: frozenset[str] = frozenset()
    """MAC addresses, upper case, that DHCP does not answer."""
    missing_volumes: frozenset[str] = frozenset()
    """Volume ids (`c137-isos:iso/x.iso`) that somebody deleted from their storage."""
    occupied_vmids: frozenset[int] = frozenset()
    """VM ids at which somebody else has made a VM meanwhile."""
    proxmox_unreachable: bool = False
    """Nobody listens at the Proxmox API's address."""
    network: NetworkFaults = NetworkFaults()
    boot_seconds: float | None = None
    install_seconds: float | None = None
    service_seconds: float | None = None
    task_seconds: float | None = None


class ControlError(Exception):
    """The daemon does not take a command, or is not there."""


class NobodyThereError(ControlError):
    """The lab is stopped, or its daemon was killed."""


class Client:
    """Talks to the daemon of one lab; while it is stopped, edits the folder instead."""

    def __init__(self, directory: LabDirectory) -> None:
        self._directory = directory

    def faults(self) -> Faults:
        return load_faults(self._directory)

    def set(self, **changes: Any) -> Faults:
        """Change some faults, leave the others; returns once they hold."""
        faults = Faults.model_validate({**self.faults().model_dump(), **changes})
        self._apply(faults)
        return faults

    def clear(self) -> None:
        self._apply(Faults())

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

    def _apply(self, faults: Faults) -> None:
        try:
            self._ask({"command": "set", "faults": faults.model_dump(mode="json")})
        except NobodyThereError:
            save_faults(self._directory, faults)

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


def load_faults(directory: LabDirectory) -> Faults:
    return Faults.model_validate(read_json(directory.faults, {}))


def save_faults(directory: LabDirectory, faults: Faults) -> None:
    write_json(directory.faults, faults.model_dump(mode="json"))


class Server:
    """The daemon's end: keeps the current faults and tells whoever asked to know when they change."""

    def __init__(
        self, directory: LabDirectory, status: Callable[[], dict[str, Any]], post_schematic: Callable[[str], str]
    ) -> None:
        self._directory = directory
        self._status = status
        self._post_schematic = post_schematic
        self._listeners: list[Callable[[], Any]] = []
        self._server: asyncio.Server | None = None
        self.faults = load_faults(directory)

    def on_change(self, listener: Callable[[], Any]) -> None:
        """Call `listener` (a coroutine function) after each change, before the change is acknowledged."""
        self._listeners.append(listener)

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
            if command == "set":
                self.faults = Faults.model_validate(request["faults"])
                save_faults(self._directory, self.faults)
                for listener in self._listeners:
                    await listener()
                return {}
            return {"error": f"no such command: {command}"}
        except (ValueError, KeyError, ValidationError, NetworkError) as error:
            return {"error": str(error)}
