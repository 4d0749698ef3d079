"""Network, mount and PID namespaces: making them, entering them, knowing that they are gone.

Owns the system calls (Python has them only from 3.12 on, hence ctypes) and the two files that are laid over the
host's (/etc/hosts and /etc/resolv.conf). Never falls back to the host's network: what cannot be isolated is an error.
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import os
import socket
import struct
from collections.abc import Iterator
from pathlib import Path

from lab.directory import REPOSITORY, LabDirectory

CLONE_NEWNS, CLONE_NEWUSER, CLONE_NEWPID, CLONE_NEWNET = 0x20000, 0x10000000, 0x20000000, 0x40000000
MS_BIND, MS_REC, MS_PRIVATE = 4096, 16384, 1 << 18
SIOCSIFFLAGS, IFF_UP = 0x8914, 1

_libc = ctypes.CDLL(None, use_errno=True)


class NamespaceError(Exception):
    """The kernel refuses the isolation that the lab needs."""


def isolate(directory: LabDirectory, *, processes: bool) -> None:
    """Give this process a network and a mount namespace, and its children a PID namespace if `processes`.

    Root makes them directly; anyone else within a user namespace, in which they are root.
    """
    kinds = CLONE_NEWNET | CLONE_NEWNS | (CLONE_NEWPID if processes else 0)
    user, group = os.geteuid(), os.getegid()
    try:
        if user == 0:
            _unshare(kinds)
        else:
            _unshare(kinds | CLONE_NEWUSER)
            Path("/proc/self/setgroups").write_text("deny")
            Path("/proc/self/uid_map").write_text(f"0 {user} 1")
            Path("/proc/self/gid_map").write_text(f"0 {group} 1")
        _mount(None, "/", MS_REC | MS_PRIVATE)
        _mount(str(directory.hosts), "/etc/hosts", MS_BIND)
        _mount(str(directory.resolver), os.path.realpath("/etc/resolv.conf"), MS_BIND)
        # What Pulumi notes about the lab's stacks stays in the lab: a real site's settings are committed there.
        _mount(str(directory.stacks), str(REPOSITORY / "stacks"), MS_BIND)
        _bring_up_loopback()
    except OSError as error:
        raise NamespaceError(
            f"a network of its own cannot be made on this machine: {error}. The lab needs root or unprivileged user "
            "namespaces (sysctl kernel.unprivileged_userns_clone=1 or user.max_user_namespaces above 0; in a "
            "container: --privileged or --security-opt seccomp=unconfined). It does not run without one: it would send "
            "to addresses of your real network."
        ) from None


def join(pid: int) -> None:
    """Enter the user (where it is another), network and mount namespaces of a process, not its PID namespace."""
    kinds = {"user": CLONE_NEWUSER, "net": CLONE_NEWNET, "mnt": CLONE_NEWNS}
    handles = [
        (os.open(f"/proc/{pid}/ns/{name}", os.O_RDONLY | os.O_CLOEXEC), kind)
        for name, kind in kinds.items()
        if namespace_of(pid, name) != namespace_of("self", name)
    ]
    for handle, kind in handles:
        try:
            _enter(handle, kind)
        except OSError as error:
            raise NamespaceError(f"cannot enter the lab's namespaces: {error.strerror}") from None
        os.close(handle)


def new_network() -> int:
    """A further network namespace, with its loopback device up, as a file descriptor."""
    with _returning():
        _unshare(CLONE_NEWNET)
        _bring_up_loopback()
        return os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)


@contextlib.contextmanager
def inside(network: int) -> Iterator[None]:
    """This thread, and what it starts meanwhile, is in another network namespace."""
    with _returning():
        _enter(network, CLONE_NEWNET)
        yield


@contextlib.contextmanager
def _returning() -> Iterator[None]:
    own = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    try:
        yield
    finally:
        _enter(own, CLONE_NEWNET)
        os.close(own)


def namespace_of(pid: int | str, name: str) -> str:
    return str(Path(f"/proc/{pid}/ns/{name}").readlink())


@contextlib.contextmanager
def kept(pid: int, name: str) -> Iterator[str]:
    """A process's namespace by its name, which stays its own meanwhile, whoever ends.

    The kernel calls the next new namespace like the last one that is gone: who looks for the members of one that may
    end would find those of a stranger's.
    """
    handle = os.open(f"/proc/{pid}/ns/{name}", os.O_RDONLY | os.O_CLOEXEC)
    try:
        yield namespace_of(pid, name)
    finally:
        os.close(handle)


def members(kind: str, identifier: str) -> Iterator[tuple[int, str]]:
    """The processes (pid, command) in one namespace ("net", "net:[4026532]"), as far as we may look."""
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                if namespace_of(entry.name, kind) == identifier:
                    yield int(entry.name), (entry / "comm").read_text().strip()
            except OSError:
                continue  # it ended while we looked, or it is somebody else's


def own_pid() -> int:
    """This process's id as the host sees it: /proc stays the host's inside the PID namespace."""
    return int(str(Path("/proc/self").readlink()))


def _unshare(kinds: int) -> None:
    if _libc.unshare(kinds) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def _enter(handle: int, kind: int) -> None:
    if _libc.setns(handle, kind) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def _bring_up_loopback() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        fcntl.ioctl(any_socket, SIOCSIFFLAGS, struct.pack("16sh14x", b"lo", IFF_UP))


def _mount(source: str | None, target: str, flags: int) -> None:
    if _libc.mount(source.encode() if source else None, target.encode(), None, flags, None) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), target)
