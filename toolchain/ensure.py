"""Making tools available, in this order: what is there, what the makers publish, what can be built from Go modules."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

from toolchain import found, golang, makers
from toolchain.builds import Tool
from toolchain.errors import ToolchainError
from toolchain.installation import Installation, Installed, Program
from toolchain.processes import ask, duration, say, version_in
from toolchain.store import Store, files_in, link, locked, remove, user_cache
from toolchain.tools import go_platform, tools

DISK = "10 GB"  # the modules and the compiled packages of all builds together


def ensure(names: Sequence[str], *, from_source: bool = False, keep_caches: bool = False) -> None:
    """Make the named tools available to this clone, or all that everybody needs."""
    Run(Installation(), Store(user_cache()), from_source=from_source, keep_caches=keep_caches).ensure(names)


def select(names: Sequence[str]) -> list[Tool]:
    """The named tools, or all but those on request. A plugin brings the CLI that loads it, and that can download it."""
    known = tools()
    unknown = [name for name in names if name not in known]
    if unknown:
        raise ToolchainError(f"there is no tool {', '.join(unknown)}; there are: {', '.join(known)}")
    wanted = set(names or (name for name, tool in known.items() if not tool.on_request))
    if any(known[name].is_plugin for name in wanted):
        wanted.add("pulumi")
    return [tool for tool in known.values() if tool.name in wanted]


class Run:
    """One run of `ensure` in one clone."""

    def __init__(self, installation: Installation, store: Store, *, from_source: bool, keep_caches: bool) -> None:
        self.installation = installation
        self.repository = installation.repository
        self.store = store
        self.from_source = from_source
        self.keep_caches = keep_caches

    def ensure(self, names: Sequence[str]) -> None:
        """Provide what is not there yet; quick when everything is."""
        wanted = select(names)
        if not all(map(self._is_current, wanted)):
            waiting = "another run is at work in this clone: waiting for it"
            with locked(self.installation.root / "lock", waiting=waiting):
                self._provide([tool for tool in wanted if not self._is_current(tool)])
        self.store.remove_leftovers()
        say(f"ready: {', '.join(tool.name for tool in wanted)} (`python -m toolchain status` shows what is used)")

    def _is_current(self, tool: Tool) -> bool:
        entry = self.installation.usable(tool)
        if entry is None:
            return False
        if entry.origin == "built":
            return entry.inputs == golang.inputs(tool, self.repository)
        return not self.from_source

    def _provide(self, absent: list[Tool]) -> None:
        published: dict[str, str] = {}
        if not self.from_source:
            absent = [tool for tool in absent if not (self._find(tool) or self._from_store(tool, "downloaded"))]
            published = {tool.name: host for tool in absent if (host := makers.host_of(tool))}
        lost: dict[str, str] = {}
        if published:
            say(f"looking for {', '.join(published)} at the makers (at most {makers.PATIENCE:.0f} s)")
            lost = makers.unreachable(published.values())
        reached = {name for name, host in published.items() if host not in lost}
        origins = {tool.name: "downloaded" if tool.name in reached else "built" for tool in absent}
        absent = [tool for tool in absent if not self._from_store(tool, origins[tool.name])]
        if not absent:
            return
        with self.store.building():
            # A run that we waited for may have made some.
            absent = [tool for tool in absent if not self._from_store(tool, origins[tool.name])]
            if not absent:
                return
            with self.store.scratch(keep_caches=self.keep_caches) as scratch:
                for place, tool in enumerate(absent):
                    if origins[tool.name] == "downloaded" and self._download(tool, scratch):
                        continue
                    if not self._from_store(tool, "built"):
                        self._build(tool, absent[place:], scratch)

    def _find(self, tool: Tool) -> bool:
        """Use what the user has installed, if it will do."""
        folder = self.installation.folder(tool)
        if tool.is_plugin:
            files = found.plugin_files(tool, self.installation.home)
            for file in files:
                link(file, folder / file.name)
            version, paths = tool.version, [folder / name for name in tool.programs if files]
            detail = f"in {files[0].parent}" if files else ""
        else:
            version, paths = found.on_path(tool, self.installation.bin)
            for name in tool.programs if paths else ():  # what was linked here earlier would come before PATH
                (folder / name).unlink(missing_ok=True)
            detail = "on PATH"
        if paths:
            self._record(tool, "found", detail, [Program.at(path, version) for path in paths])
        return bool(paths)

    def _from_store(self, tool: Tool, origin: str) -> bool:
        """Use what this or another clone downloaded or built earlier."""
        folder = self.installation.folder(tool)
        detail = self.store.link_into(tool.name, self._key(tool, origin), folder)
        if detail:
            versions = {name: tool.program_version(name, origin) for name in tool.programs}
            self._record(tool, origin, detail, [Program.at(folder / name, versions[name]) for name in versions])
        return bool(detail)

    def _key(self, tool: Tool, origin: str) -> str:
        if origin == "built":
            return f"{tool.source_version}-built-{golang.inputs(tool, self.repository)}"
        return f"{tool.version}-downloaded-{'-'.join(go_platform())}"

    def _record(self, tool: Tool, origin: str, detail: str, programs: list[Program]) -> None:
        inputs = golang.inputs(tool, self.repository) if origin == "built" else ""
        self.installation.write(tool.name, Installed(tool.version, origin, detail, inputs, tuple(programs)))
        if tool.is_plugin:
            for other in self.installation.folder(tool).parent.glob(f"resource-{tool.name}-v*"):
                if other.name != tool.plugin_folder:
                    remove(other)

    def _download(self, tool: Tool, scratch: Path) -> bool:
        """Fetch a release; a failure is told, and leaves building."""
        say(f"downloading {tool.name} {tool.version} from {makers.host_of(tool)}")
        files = scratch / tool.name
        files.mkdir()
        try:
            if tool.release:
                makers.download_release(tool.release, tool.programs, files, scratch)
            else:
                makers.download_plugin(self.installation.program("pulumi"), tool, files, scratch)
            self._finish(tool, "downloaded", f"from {makers.host_of(tool)}", files, scratch)
        except ToolchainError as error:
            say(f"{error}\n{tool.name} is built from source instead")
            remove(files)
            return False
        return True

    def _build(self, tool: Tool, remaining: list[Tool], scratch: Path) -> None:
        if tool.source_version != tool.version:
            raise ToolchainError(
                f"{tool.name} {tool.version} could not be downloaded, and {tool.builds[0].folder} makes "
                f"{tool.source_version}. Either install the wheel of {tool.source_version}, or move that folder and "
                f"toolchain/pins.py to {tool.version}."
            )
        go = golang.find_go(golang.needed_version([tool], self.repository), self.store, scratch)
        total = sum(other.minutes for other in remaining)
        say(
            f"building {tool.name} {tool.version} from its Go modules with {go.version}: about {tool.minutes:g} min on "
            f"two cores ({total:g} min for all that is missing; once, with up to {DISK} under {self.store.root})"
        )
        started = time.monotonic()
        env = golang.environment(self.store, scratch)
        files = scratch / tool.name
        files.mkdir()
        for part in tool.builds:
            golang.build(go, part, self.repository, files / part.output, env, scratch)
        for file in tool.copies:
            golang.copy(go, file, self.repository, files / file.output, env, scratch)
        size = sum(path.stat().st_size for path in files_in(files))
        for name in tool.names:
            link(files / name.program, files / name.output)
        self._finish(tool, "built", f"with {go.version}", files, scratch)
        say(f"built {tool.name} in {duration(time.monotonic() - started)}, {size / 1e6:.0f} MB")

    def _finish(self, tool: Tool, origin: str, detail: str, files: Path, scratch: Path) -> None:
        """Ask a fresh program for its version, give it to the store, and take it from there."""
        for file in files_in(files):
            file.chmod(0o755)
        if tool.version_arguments:
            answer = ask([files / tool.programs[0], *tool.version_arguments])
            if version_in(answer) != version_in(tool.version):
                raise ToolchainError(f"{tool.name} {tool.version} was {origin} but says that it is {answer!r}")
        self.store.add(tool.name, self._key(tool, origin), files, detail, scratch)
        self._from_store(tool, origin)
