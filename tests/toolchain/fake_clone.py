"""A clone with made-up tools and a made-up `go`, so that `ensure` runs in milliseconds.

Run as a program (`python fake_clone.py FOLDER [--keep-caches]`), it is one run of `ensure` in a process of its own.
"""

from __future__ import annotations

import os
import sys
from dataclasses import replace
from pathlib import Path

import toolchain.ensure
import toolchain.installation
import toolchain.processes
from toolchain.builds import GoBuild, ModuleFile, Tool
from toolchain.ensure import Run
from toolchain.errors import ToolchainError
from toolchain.installation import Installation
from toolchain.store import Store

# Writes each call, with what decides where Go keeps things, into go.log; waits while the file `hold` exists.
GO = """#!/bin/sh
if [ "$1" = env ]; then echo go1.26.8; exit; fi
if [ "$1" = list ]; then echo "$FAKE_GO/module"; exit; fi
if [ "$1" = mod ]; then exit; fi
page=$(cat module/page 2>/dev/null)
echo "$@ GOFLAGS=$GOFLAGS GOPROXY=$GOPROXY GOMODCACHE=$GOMODCACHE$GOFIPS140$page" >> "$FAKE_GO/go.log"
mkdir -p "$GOMODCACHE" && echo x > "$GOMODCACHE/x"
while [ "$1" != -o ]; do shift; done
echo half > "$2"
# Not for ever: a test that dies must leave no process behind.
turns=0
while [ -e "$FAKE_GO/hold" ] && [ $turns -lt 1500 ]; do sleep 0.02; turns=$((turns + 1)); done
if [ -e "$FAKE_GO/broken" ]; then cat "$FAKE_GO/broken"; exit 1; fi
printf '#!/bin/sh\\necho v%s\\n' "$(cat "$FAKE_GO/says")" > "$2"
"""

ENGINE = Tool(
    name="pulumi",
    version="3.1.0",
    programs=("pulumi", "pulumi-language-python", "pulumi-language-python-exec"),
    builds=(
        GoBuild("modules/pulumi", "example.org/cmd/pulumi", "pulumi", "3.1.0", stamp="main.version=v3.1.0"),
        GoBuild("modules/pulumi", "example.org/cmd/host", "pulumi-language-python", "3.0.0"),
    ),
    copies=(ModuleFile("modules/pulumi", "example.org", "exec", "pulumi-language-python-exec", "3.1.0"),),
    minutes=1,
    source_version="3.1.0",
    version_arguments=("version",),
    accepted_below="4.0.0",
)
PLUGIN = Tool(
    name="proxmoxve",
    version="8.6.0",
    programs=("pulumi-resource-proxmoxve",),
    builds=(GoBuild("modules/proxmoxve", ".", "pulumi-resource-proxmoxve", "8.6.0"),),
    minutes=1,
    source_version="8.6.0",
    plugin_server="github://api.example.org/maker",
)


class FakeClone:
    """The clone, the store and the `go` of one test."""

    def __init__(self, root: Path, *tools: Tool) -> None:
        self.root = root
        self.tools = {tool.name: tool for tool in tools or (ENGINE, PLUGIN)}
        self.store = Store(root / "cache")
        self.installation = Installation(root / "clone")

    def lay(self) -> None:
        """Write the files that a run needs."""
        (self.root / "bin").mkdir(parents=True)
        (self.root / "bin" / "go").write_text(GO)
        (self.root / "bin" / "go").chmod(0o755)
        (self.root / "module").mkdir()
        (self.root / "module" / "exec").write_text("print()")
        (self.root / "says").write_text("3.1.0")
        for folder in {part.folder for tool in self.tools.values() for part in tool.parts}:
            (self.installation.repository / folder).mkdir(parents=True)
            (self.installation.repository / folder / "go.mod").write_text("module example.org\n\ngo 1.26.1\n")

    def environment(self) -> dict[str, str]:
        """What a run in another process needs in its environment."""
        return {
            "PATH": f"{self.root / 'bin'}:/usr/bin:/bin",
            "HOME": str(self.root / "home"),
            "FAKE_GO": str(self.root),
            "GOFLAGS": "-mod=mod",
            "GOPROXY": "https://proxy.example.org",
            "PYTHONPATH": os.pathsep.join(sys.path),
        }

    def run(self, *, from_source: bool = True, keep_caches: bool = False) -> Run:
        """A run that builds everything, unless told to look around first."""
        return Run(self.installation, self.store, from_source=from_source, keep_caches=keep_caches)

    def change(self, tool: str, **values: object) -> None:
        """Give a tool another version, release or server."""
        self.tools[tool] = replace(self.tools[tool], **values)  # type: ignore[arg-type]

    def builds(self) -> list[str]:
        """The calls of `go build` so far."""
        log = self.root / "go.log"
        return log.read_text().splitlines() if log.exists() else []

    def entries(self) -> list[str]:
        """What the store holds for good."""
        return sorted(str(path.relative_to(self.store.root / "store")) for path in self.store.root.glob("store/*/*"))

    def leftovers(self) -> list[Path]:
        """What a run should have cleaned up."""
        return [*self.store.runs.glob("*"), *self.store.root.glob("go-caches")]


if __name__ == "__main__":
    clone = FakeClone(Path(sys.argv[1]))
    toolchain.processes.HEARTBEAT = 0.02
    for module in (toolchain.ensure, toolchain.installation):
        setattr(module, "tools", lambda: clone.tools)  # noqa: B010 - a module does not export what it imports
    try:
        clone.run(keep_caches="--keep-caches" in sys.argv).ensure([])
    except (ToolchainError, KeyboardInterrupt) as error:
        sys.exit(repr(error))
