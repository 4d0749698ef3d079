"""A namespace that is looked at is not mistaken for another one."""

from __future__ import annotations

import contextlib
import os
import subprocess
from collections.abc import Iterator

import pytest

from lab import namespace
from tests.lab.running import until

pytestmark = pytest.mark.servers

UNSHARE = ("unshare", *([] if os.geteuid() == 0 else ["--user", "--map-root-user"]), "--net")


@contextlib.contextmanager
def stranger() -> Iterator[int]:
    """A process in a network of its own."""
    process = subprocess.Popen([*UNSHARE, "sleep", "60"])
    try:
        own = namespace.namespace_of("self", "net")
        until(lambda: namespace.namespace_of(process.pid, "net") != own)
        yield process.pid
    finally:
        process.kill()
        process.wait()


def test_the_name_of_a_namespace_that_is_kept_is_given_to_no_other() -> None:
    with contextlib.ExitStack() as keeping:
        with stranger() as pid:
            name = keeping.enter_context(namespace.kept(pid, "net"))
            assert [number for number, _ in namespace.members("net", name)] == [pid]
        assert list(namespace.members("net", name)) == []
        with contextlib.ExitStack() as strangers:
            for _ in range(20):
                strangers.enter_context(stranger())
            assert list(namespace.members("net", name)) == []
