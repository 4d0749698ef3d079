"""What this clone uses: the tools under `.toolchain`, where each came from, and the environment to run them in.

    .toolchain/bin/                      command line programs
    .toolchain/pulumi-home/plugins/      the plugins, where the engine looks for them
    .toolchain/installed.json            what `ensure` found, downloaded or built, written after each tool

It only reads and links: it starts no process, so that every other part of the project may ask it at any time.
"""

from __future__ import annotations

import json
import os
import sys
from dataclasses import asdict, dataclass
from pathlib import Path

from toolchain.builds import Tool
from toolchain.errors import ToolchainError
from toolchain.tools import tools

REPOSITORY = Path(__file__).resolve().parent.parent


@dataclass(frozen=True)
class Program:
    """One file of a tool as `ensure` left it."""

    path: str
    version: str
    size: int
    changed: int

    @classmethod
    def at(cls, path: Path, version: str) -> Program:
        """The record of a file that is there now."""
        status = path.stat()
        return cls(str(path), version, status.st_size, status.st_mtime_ns)

    def is_there(self) -> bool:
        """Whether the file is still the one that was recorded."""
        try:
            status = Path(self.path).stat()
        except OSError:
            return False
        return (status.st_size, status.st_mtime_ns) == (self.size, self.changed)


@dataclass(frozen=True)
class Installed:
    """Where one tool came from."""

    wanted: str
    """The version that was asked for; what was found on PATH may be newer."""
    origin: str
    """"found", "downloaded" or "built"."""
    detail: str
    inputs: str
    """For a tool that was built: the hash of what went into it."""
    programs: tuple[Program, ...]


class Installation:
    """The `.toolchain` folder of one clone."""

    def __init__(self, repository: Path = REPOSITORY) -> None:
        self.repository = repository
        self.root = repository / ".toolchain"
        self.bin = self.root / "bin"
        self.home = self.root / "pulumi-home"
        self._record = self.root / "installed.json"

    def folder(self, tool: Tool) -> Path:
        """Where a tool's files belong."""
        return self.home / "plugins" / tool.plugin_folder if tool.is_plugin else self.bin

    def installed(self) -> dict[str, Installed]:
        """What is recorded; a record that cannot be read is none."""
        try:
            record = json.loads(self._record.read_text())
            return {
                name: Installed(**{**entry, "programs": tuple(Program(**program) for program in entry["programs"])})
                for name, entry in record.items()
            }
        except (OSError, ValueError, TypeError, KeyError):
            return {}

    def write(self, name: str, entry: Installed) -> None:
        """Record one tool. The caller holds the clone's lock."""
        record = {known: asdict(value) for known, value in (self.installed() | {name: entry}).items()}
        self.root.mkdir(exist_ok=True)
        temporary = self._record.with_suffix(".new")
        temporary.write_text(json.dumps(record, indent=1))
        temporary.replace(self._record)

    def usable(self, tool: Tool) -> Installed | None:
        """The record of a tool if it is of the version wanted now, and all its programs are there and unchanged."""
        entry = self.installed().get(tool.name)
        if entry is None or entry.wanted != tool.version or len(entry.programs) != len(tool.programs):
            return None
        return entry if all(program.is_there() for program in entry.programs) else None

    def program(self, name: str) -> Path:
        """The path of a tool's main program."""
        return self.programs(name)[0]

    def programs(self, name: str) -> list[Path]:
        """The paths of all programs of a tool."""
        known = tools()
        if name not in known:
            raise ToolchainError(f"there is no tool {name!r}; there are: {', '.join(known)}")
        entry = self.usable(known[name])
        if entry is None:
            command = f"python -m toolchain ensure{f' {name}' if known[name].on_request else ''}"
            raise ToolchainError(f"{name} {known[name].version} is not installed: run `{command}` first")
        return [Path(program.path) for program in entry.programs]

    def environment(self) -> dict[str, str]:
        """The variables with which a process uses these tools, and nothing else of Pulumi's on this machine."""
        pulumi = self.program("pulumi")
        known = {name: tool for name, tool in tools().items() if not tool.on_request}
        record = self.installed()
        for name in record.keys() & known.keys():
            if self.usable(known[name]) is None:
                raise ToolchainError(
                    f"{name} is installed for version {record[name].wanted}, wanted is {known[name].version}, or its "
                    "files were changed: run `python -m toolchain ensure`"
                )
        # A newer host takes the program's Python from Pulumi.yaml; one that was built here takes the first on PATH.
        first = [str(Path(sys.prefix) / "bin"), str(self.bin)]
        rest = [folder for folder in os.environ.get("PATH", os.defpath).split(os.pathsep) if folder not in first]
        if str(pulumi.parent) not in [*first, *rest]:
            rest.append(str(pulumi.parent))
        variables = {
            "PATH": os.pathsep.join([*first, *rest]),
            "PULUMI_HOME": str(self.home),
            "PULUMI_SKIP_UPDATE_CHECK": "true",
            "PULUMI_IGNORE_AMBIENT_PLUGINS": "true",
        }
        # With plugins of its own making the engine must not go looking for the makers', which cannot be reached.
        if any(record[name].origin == "built" for name in record.keys() & known.keys() if known[name].is_plugin):
            variables["PULUMI_DISABLE_AUTOMATIC_PLUGIN_ACQUISITION"] = "true"
        return variables
