"""What a tool is, and the ways in which one is made or had."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class GoBuild:
    """One `go build`, in a folder of this repository that has the go.mod."""

    folder: str
    package: str
    output: str
    version: str
    tags: str = ""
    stamp: str = ""
    """What the linker sets, `variable=value`, with spaces between: how the program knows its version."""


class GoTests(GoBuild):
    """One `go test -c`: the tests of a package as a program."""


@dataclass(frozen=True)
class CompletedBuild(GoBuild):
    """One `go build` of a package that its module does not have everything for, as it is published."""

    module: str = ""
    lacks: str = ""
    """A file of the module that its maker generates before a build; empty if nothing is missing."""
    content: str = ""
    """What the file has here."""
    settings: tuple[str, ...] = ()
    """What Go is told besides, `NAME=value`, as its maker does."""


@dataclass(frozen=True)
class ModuleFile:
    """A file or a folder that is not compiled: taken as it is from a Go module that the folder's go.mod requires."""

    folder: str
    module: str
    path: str
    output: str
    version: str


@dataclass(frozen=True)
class OtherName:
    """A second name for a program that was built, by which it knows what it is asked to be."""

    program: str
    output: str


@dataclass(frozen=True)
class Release:
    """A release on its maker's own site: the asset, and the list of SHA-256 sums beside it."""

    host: str
    folder: str
    asset: str
    checksums: str


@dataclass(frozen=True)
class Tool:
    """One thing that `ensure` provides. The first program is the one that the tool is named for."""

    name: str
    version: str
    programs: tuple[str, ...]
    builds: tuple[GoBuild, ...]
    minutes: float
    """How long a cold build takes on two cores."""
    source_version: str
    """What the build makes; a plugin's differs from `version` when the wheel was upgraded and the build was not."""
    copies: tuple[ModuleFile, ...] = ()
    names: tuple[OtherName, ...] = ()
    version_arguments: tuple[str, ...] = ()
    """How the program is asked for its version; none if it does not tell."""
    accepted_below: str = ""
    """A program on PATH will do from `version` up to, not including, this one. Empty: PATH is not looked at."""
    release: Release | None = None
    plugin_server: str = ""
    """For a Pulumi plugin, where its maker publishes it, as its wheel says."""
    on_request: bool = False
    """Provided only to who names it: large, and needed for one thing that few do."""

    @property
    def is_plugin(self) -> bool:
        return bool(self.plugin_server)

    @property
    def plugin_folder(self) -> str:
        """The name of the folder in which the engine looks for this version of the plugin."""
        return f"resource-{self.name}-v{self.version}"

    @property
    def parts(self) -> tuple[GoBuild | ModuleFile, ...]:
        """All that a build makes, one for each program; other names come on top."""
        return self.builds + self.copies

    def program_version(self, program: str, origin: str) -> str:
        """The version of one program: a release has one, what was built may be of several."""
        built = {part.output: part.version for part in self.parts}
        built |= {other.output: built[other.program] for other in self.names}
        return built[program] if origin == "built" else self.version
