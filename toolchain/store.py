"""The store: finished programs of this user, outside the tree, shared by all clones.

    <cache>/store/<tool>/<version>-<how>/     finished programs, and where they are from; never changed once there
    <cache>/runs/<random>/                    what one run is making; worthless when that run is gone
    <cache>/go-caches/                        Go's module and build cache while a run builds
    <cache>/go/<version>/                     the Go that pip brought, where none was installed
    <cache>/build.lock  store.lock

A folder appears under `store` by one rename, when everything in it is complete. So an interrupted run leaves nothing
that looks finished. Only the holder of build.lock makes anything, so what it finds in `runs` belongs to the dead.
This module does not know how a program is made.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from toolchain.processes import say


def user_cache() -> Path:
    """The folder of the store for this user."""
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "cluster-stack" / "toolchain"


@contextlib.contextmanager
def locked(path: Path, *, shared: bool = False, waiting: str = "") -> Iterator[None]:
    """Hold a lock that the system drops when this process ends, however it ends."""
    path.parent.mkdir(parents=True, exist_ok=True)
    kind = fcntl.LOCK_SH if shared else fcntl.LOCK_EX
    with path.open("a") as handle:
        try:
            fcntl.flock(handle, kind | fcntl.LOCK_NB)
        except BlockingIOError:
            if waiting:
                say(waiting)
            fcntl.flock(handle, kind)
        yield


def remove(path: Path) -> None:
    """Remove a folder whose content may still be written to by a process that is being ended."""
    shutil.rmtree(path, ignore_errors=True)


def files_in(folder: Path) -> list[Path]:
    """The files of a tool, those in its folders included."""
    return [path for path in sorted(folder.rglob("*")) if path.is_file()]


def link(source: Path, target: Path) -> None:
    """Make `target` the same file as `source`: a hard link, or a copy on another file system. Never half a file."""
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.parent / f".{target.name}.{os.getpid()}"
    temporary.unlink(missing_ok=True)
    try:
        os.link(source, temporary)
    except OSError:  # another file system, or one without hard links
        shutil.copy2(source, temporary)
    temporary.replace(target)
    temporary.unlink(missing_ok=True)  # renaming one hard link of a file onto another does nothing at all


class Store:
    """Finished programs, and the scratch space in which they are made."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.go_caches = root / "go-caches"
        self.keep_marker = self.go_caches / "keep"
        self.runs = root / "runs"
        self._lock = root / "store.lock"

    def link_into(self, tool: str, key: str, folder: Path) -> str:
        """Put a finished tool's files into `folder`, and say where they are from; empty if the store has none."""
        entry = self.root / "store" / tool / key
        with locked(self._lock, shared=True):
            if not entry.exists():
                return ""
            for file in files_in(entry / "files"):
                link(file, folder / file.relative_to(entry / "files"))
            return (entry / "origin").read_text()

    def add(self, tool: str, key: str, files: Path, origin: str, run: Path) -> None:
        """Take over a folder of finished files, and drop what the same tool had before."""
        for file in files_in(files):
            file.chmod(0o555)  # the same file is linked into every clone: nobody may write into it by accident
            with file.open("rb") as content:
                os.fsync(content.fileno())  # or a power cut could leave the folder in place and the file empty
        entry = Path(tempfile.mkdtemp(dir=run))
        files.replace(entry / "files")
        (entry / "origin").write_text(origin)
        entry.chmod(0o755)
        with locked(self._lock):
            shelf = self.root / "store" / tool
            shelf.mkdir(parents=True, exist_ok=True)
            remove(shelf / key)
            entry.replace(shelf / key)
            for old in shelf.iterdir():
                if old.name != key:
                    remove(old)

    def building(self) -> contextlib.AbstractContextManager[None]:
        """The right to make something: one run at a time has it."""
        return locked(
            self.root / "build.lock",
            waiting="another run is at work on the same tools: waiting for it, its result will be used",
        )

    def leftovers(self) -> list[Path]:
        """What earlier runs should have removed; only the holder of the build lock may say that they are dead."""
        caches = [self.go_caches] if self.go_caches.exists() and not self.keep_marker.exists() else []
        return caches + (sorted(self.runs.iterdir()) if self.runs.exists() else [])

    def remove_leftovers(self) -> None:
        """Clean up after runs that were killed, unless a run is alive."""
        if not self.leftovers():
            return
        with (self.root / "build.lock").open("a") as handle:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return
            say("removing what an interrupted run left behind")
            for path in self.leftovers():
                remove(path)

    @contextlib.contextmanager
    def scratch(self, *, keep_caches: bool) -> Iterator[Path]:
        """A folder for one run, under the build lock; afterwards it is gone, and Go's caches too unless they are kept.

        The caches of a run that was killed are used up here first: Go's own locking makes them safe to go on with.
        """
        for path in self.runs.iterdir() if self.runs.exists() else ():
            remove(path)
        self.runs.mkdir(parents=True, exist_ok=True)
        run = Path(tempfile.mkdtemp(dir=self.runs))
        try:
            yield run
        finally:
            remove(run)
            if self.go_caches.exists():
                if keep_caches:
                    self.keep_marker.touch()
                else:
                    say("removing the builds' own Go caches")
                    remove(self.go_caches)
