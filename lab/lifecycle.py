"""A lab's life as its user sees it: start, stop, status, commands inside, erase.

Owns the lock that says whether a lab runs (held by the daemon, so it cannot be stale), the fork into the namespaces,
and the end of everything in them.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import signal
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, NoReturn

from lab import certificates, control, environment, namespace
from lab.datacentre import Datacentre
from lab.directory import LONGEST_PATH, LabDirectory, read_json, write_text
from lab.network.bridges import NetworkError
from lab.programs import Programs

START_SECONDS = 30.0
STOP_SECONDS = 10.0
COMMAND_END_SECONDS = 5.0


class LabError(Exception):
    """Something that the user has to know, in one sentence or two."""


def prepare(directory: LabDirectory, datacentre: Datacentre) -> None:
    """The files that a lab has whether it runs or not."""
    if len(str(directory.root)) > LONGEST_PATH:
        raise LabError(
            f"the lab's folder {directory.root} has too long a name: unix sockets live below it, so {LONGEST_PATH} "
            "characters is the most. Choose another with --directory."
        )
    directory.prepare()
    certificates.ensure_authority(directory)
    directory.token_secret()
    if not directory.hosts.exists() or directory.hosts.read_text() != datacentre.hosts_file():
        write_text(directory.hosts, datacentre.hosts_file())
    if not directory.resolver.exists():
        write_text(
            directory.resolver, "nameserver 127.0.0.1\noptions timeout:1 attempts:1\n"
        )  # nobody: names are in hosts


def start(directory: LabDirectory, datacentre: Datacentre, find_programs: Callable[[], Programs]) -> int:
    """Start the daemon, wait until everything answers, return its pid."""
    prepare(directory, datacentre)
    programs = find_programs()
    lock = _take_lock(directory)
    directory.daemon.unlink(missing_ok=True)
    directory.control_socket.unlink(missing_ok=True)
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reader)
        _become_daemon(directory, datacentre, programs, writer)
    os.close(writer)
    os.close(lock)  # the daemon has it now
    os.waitpid(child, 0)  # only the go-between: the daemon is its grandchild
    with os.fdopen(reader) as words:
        problem = words.read()  # until the daemon closes its end
    if problem != "ready":
        raise LabError(problem or f"the lab did not start; its last words are in {directory.log}")
    return int(read_json(directory.daemon)["pid"])


def stop(directory: LabDirectory) -> list[str]:
    """A power cut for the whole site. Returns what was ended besides: commands that still ran inside."""
    pid = running(directory)
    if pid is None:
        return []
    with namespace.kept(pid, "net") as net, namespace.kept(pid, "pid") as init:
        commands = {
            number: name for number, name in namespace.members("net", net) if number not in _numbers("pid", init)
        }
        _signal(pid, signal.SIGTERM)
        if not _wait(lambda: not _is_locked(directory), STOP_SECONDS):
            _signal(pid, signal.SIGKILL)
        _wait(lambda: not _numbers("pid", init), STOP_SECONDS)  # the kernel ends what an init leaves behind
        directory.daemon.unlink(missing_ok=True)
        directory.control_socket.unlink(missing_ok=True)
        _end_commands(net)
    return [f"{name} (pid {number})" for number, name in commands.items()]


def running(directory: LabDirectory) -> int | None:
    """The daemon's pid while it runs."""
    if not _is_locked(directory):
        return None
    # Locked without a file: it is on its way up, or on its way down.
    _wait(lambda: directory.daemon.exists() or not _is_locked(directory), START_SECONDS)
    found = read_json(directory.daemon)
    return int(found["pid"]) if found else None


def started_at(directory: LabDirectory) -> str:
    since: float = read_json(directory.daemon)["since"]
    return datetime.fromtimestamp(since).strftime("%Y-%m-%d %H:%M:%S")


def page(directory: LabDirectory) -> str:
    """Where a browser sees the running lab."""
    return str(read_json(directory.daemon)["page"])


def status(directory: LabDirectory) -> dict[str, Any]:
    return control.Client(directory).status()


def execute(directory: LabDirectory, datacentre: Datacentre, command: Sequence[str]) -> NoReturn:
    """Become the command, inside: with the lab's names and environment, and this process's terminal and folder."""
    prepare(directory, datacentre)
    variables = environment.of_commands(directory, datacentre, os.environ, _toolchain())
    folder = Path.cwd()
    pid = running(directory)
    if pid is None:
        print("lab: it is stopped; the command runs in an empty network where nobody answers", file=sys.stderr)
        namespace.isolate(directory, processes=False)
    else:
        namespace.join(pid)
    os.chdir(folder)  # entering a mount namespace goes back to its root
    try:
        os.execvpe(command[0], list(command), variables)  # noqa: S606 - a shell would be one too many
    except OSError as error:
        raise LabError(f"cannot run {command[0]}: {error.strerror}") from None


def erase(directory: LabDirectory) -> None:
    """Remove a stopped lab's folder with everything it remembers."""
    if _is_locked(directory):
        raise LabError(f"the lab in {directory.root} is running: stop it first")
    if directory.root.exists() and not (directory.root / "run").is_dir():
        raise LabError(f"{directory.root} is not a lab's folder: not touched")
    shutil.rmtree(directory.root, ignore_errors=True)


def _toolchain() -> Mapping[str, str]:
    """The variables under which the pinned programs are found. Without them `exec` still serves for everything else."""
    from toolchain import ToolchainError
    from toolchain import environment as variables

    try:
        return variables()
    except ToolchainError as error:
        print(f"lab: {error}", file=sys.stderr)
        return {}


def _become_daemon(directory: LabDirectory, datacentre: Datacentre, programs: Programs, writer: int) -> NoReturn:
    """In the child: into the namespaces, and on as their init. Words for the user go into the pipe."""
    from lab import daemon  # aiohttp and all it needs: only the daemon pays for it
    from lab.page import listener

    try:
        os.setsid()
        page_socket = listener.listen()  # out here, where browsers are
        namespace.isolate(directory, processes=True)
        if os.fork() > 0:
            os._exit(0)
        nothing = os.open(os.devnull, os.O_RDONLY)
        output = os.open(directory.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        os.dup2(nothing, 0)
        os.dup2(output, 1)
        os.dup2(output, 2)
        os.chdir("/")

        def ready() -> None:
            os.write(writer, b"ready")
            os.close(writer)

        daemon.run(directory, datacentre, programs, page_socket, ready)
    except (namespace.NamespaceError, NetworkError, OSError) as error:
        os.write(writer, str(error).encode())
    except BaseException as error:
        os.write(writer, f"the lab failed to start: {error!r}; see {directory.log}".encode())
        import traceback

        traceback.print_exc()
    finally:
        os._exit(1)


def _take_lock(directory: LabDirectory) -> int:
    """The lab's lock, inherited by the daemon and by nobody else: whoever holds it is the running lab."""
    lock = os.open(directory.lock, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(lock)
        pid = running(directory)
        if pid is None:
            raise LabError(f"the lab in {directory.root} is just starting or stopping: try again") from None
        raise LabError(f"the lab in {directory.root} is running since {started_at(directory)}, pid {pid}") from None
    return lock


def _is_locked(directory: LabDirectory) -> bool:
    try:
        lock = os.open(directory.lock, os.O_RDWR)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(lock)
    return False


def _end_commands(net: str) -> None:
    """End what `exec` started and still runs: it would keep the dead site's network alive."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        for pid in _numbers("net", net):
            _signal(pid, number)
        if _wait(lambda: not _numbers("net", net), COMMAND_END_SECONDS):
            return


def _numbers(kind: str, identifier: str) -> set[int]:
    return {pid for pid, _ in namespace.members(kind, identifier)}


def _signal(pid: int, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)


def _wait(condition: Callable[[], bool], seconds: float) -> bool:
    for pause in _pauses(seconds):
        if condition():
            return True
        time.sleep(pause)
    return condition()


def _pauses(seconds: float) -> Iterator[float]:
    end, pause = time.monotonic() + seconds, 0.01
    while time.monotonic() < end:
        yield pause
        pause = min(pause * 1.5, 0.2)
