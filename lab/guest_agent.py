"""The hypervisor's end of the QEMU guest agent channel: one JSON object per line on a unix socket in the VM's folder.

Real protocol, real timeouts in spirit: whoever does not answer counts as "not running". Knows nothing of Proxmox.
"""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

TIMEOUT_SECONDS = 3.0
LARGEST_ANSWER = 1 << 20


class AgentError(Exception):
    """The agent is not there, does not answer in time, or refuses the command."""


async def ask(channel: Path, command: str, arguments: dict[str, Any] | None = None, *, answers: bool = True) -> Any:
    """Run one command in the guest. `guest-shutdown` never answers when it works, so its caller does not wait."""
    try:
        return await asyncio.wait_for(_converse(channel, command, arguments, answers), TIMEOUT_SECONDS)
    except (OSError, ValueError, asyncio.TimeoutError) as error:
        raise AgentError(str(error) or "got timeout") from None


async def _converse(channel: Path, command: str, arguments: dict[str, Any] | None, answers: bool) -> Any:
    reader, writer = await asyncio.open_unix_connection(str(channel), limit=LARGEST_ANSWER)
    try:
        request: dict[str, Any] = {"execute": command}
        if arguments:
            request["arguments"] = arguments
        writer.write(json.dumps(request).encode() + b"\n")
        await writer.drain()
        if not answers:
            return None
        answer = json.loads(await reader.readline() or b"{}")
        if "error" in answer:
            raise AgentError(answer["error"].get("desc", "unknown error"))
        if "return" not in answer:
            raise AgentError("the guest agent hung up")
        return answer["return"]
    finally:
        writer.close()
