"""What the user has installed already: command line programs on PATH, plugins in Pulumi's own folder.

It is used only in the right version. Nothing here is changed, and nothing of it is copied into the store.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from toolchain.builds import Tool
from toolchain.processes import ask, say, version_in


def on_path(tool: Tool, ours: Path) -> tuple[str, list[Path]]:
    """The version and the programs of a tool on PATH, leaving out our own folder; none if they will not do."""
    path = os.pathsep.join(part for part in os.environ.get("PATH", "").split(os.pathsep) if part != str(ours))
    main = shutil.which(tool.programs[0], path=path) if tool.accepted_below else None
    if main is None:
        return "", []
    number = version_in(ask([main, *tool.version_arguments]))
    version = ".".join(str(part) for part in number)
    if not version_in(tool.version) <= number < version_in(tool.accepted_below):
        wanted = f"wanted is {tool.version} or newer, below {tool.accepted_below}"
        say(f"{main} is not used: it is {version or 'of a version that it does not tell'}, {wanted}")
        return "", []
    # The CLI looks for its language hosts beside its own real path; those elsewhere on PATH we tell it to ignore.
    others = [Path(main).resolve().parent / name for name in tool.programs[1:]]
    missing = [other.name for other in others if not other.exists()]
    if missing:
        say(f"{main} is not used: it has no {missing[0]} beside it")
        return "", []
    return version, [Path(main), *others]


def plugin_files(tool: Tool, ours: Path) -> list[Path]:
    """The files of a plugin in the user's own Pulumi folder; none if it is not there, or only in part."""
    home = Path(os.environ.get("PULUMI_HOME") or Path.home() / ".pulumi")
    folder = home / "plugins" / tool.plugin_folder
    # The engine marks a plugin that it is still unpacking by a file of that name.
    unfinished = folder.with_name(f"{folder.name}.partial").exists()
    if home == ours or unfinished or not (folder / tool.programs[0]).is_file():
        return []
    return [file for file in folder.iterdir() if file.is_file()]
