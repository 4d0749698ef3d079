"""Running the programs that take long or may fail: with a sign of life, and an error that says why."""

from __future__ import annotations

import contextlib
import os
import re
import shlex
import signal
import subprocess
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from toolchain.errors import ToolchainError

HEARTBEAT = 30.0
LAST_LINES = 20

# What the tools say when it is not their fault, and what then helps.
ADVICE = (
    ("no space left on device", "free about 10 GB there, or set XDG_CACHE_HOME to a folder on a larger disk"),
    ("checksum mismatch", "a module is not what go.sum says it was: do not use it, and look at the proxy in GOPROXY"),
    ("missing go.sum entry", "go.mod and go.sum do not agree: run `go mod tidy` in the folder named above"),
    ("-mod=readonly", "go.mod is not complete: run `go mod tidy` in the folder named above"),
    ("dial tcp", "check the network; for Go modules, GOPROXY may name a proxy that can be reached"),
    ("no module named pip", "install Go and put it on PATH, or give this Python pip"),
    ("no matching distribution", "install Go and put it on PATH, or check the network and pip's index"),
    ("killed", "the machine may be short of memory: about 3 GB must be free"),
)


def say(text: str) -> None:
    """Tell the person at the terminal what is going on."""
    print(text, flush=True)


def duration(seconds: float) -> str:
    """Seconds as a person says them."""
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02d} s" if minutes else f"{rest} s"


def version_in(text: str) -> tuple[int, ...]:
    """The first version number in a text, as numbers that can be compared; empty if there is none."""
    number = re.search(r"\d+(\.\d+)+", text)
    return tuple(int(part) for part in number.group().split(".")) if number else ()


def ask(command: Sequence[str | Path]) -> str:
    """What a program says about itself; empty if it cannot be run or fails."""
    try:
        answer = subprocess.run(
            [str(word) for word in command],
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
            stdin=subprocess.DEVNULL,
            env={**os.environ, "PULUMI_SKIP_UPDATE_CHECK": "true", "GOTOOLCHAIN": "local"},
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return answer.stdout if answer.returncode == 0 else ""


def run(command: Sequence[str | Path], what: str, log: Path, env: Mapping[str, str], cwd: Path) -> None:
    """Run a long command to its end, say every half minute that it still runs, and end it if we are ended."""
    started = time.monotonic()
    ended = threading.Event()

    def tell() -> None:
        while not ended.wait(HEARTBEAT):
            say(f"    {what}: still running after {duration(time.monotonic() - started)}")

    with log.open("wb") as output:
        # In a process group of its own, so that an interrupt ends the compilers too, and once only.
        process = subprocess.Popen(
            [str(word) for word in command],
            cwd=cwd,
            env=dict(env),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        threading.Thread(target=tell, daemon=True).start()
        try:
            code = process.wait()
        except BaseException:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGTERM)
            process.wait()
            raise
        finally:
            ended.set()
    if code != 0:
        lines = log.read_text(errors="replace").splitlines()[-LAST_LINES:]
        text = "\n".join(lines).lower()
        advice = next((help for sign, help in ADVICE if sign in text), f"run it by hand in {cwd} to see more")
        raise ToolchainError(
            f"{what} failed in {cwd}: `{shlex.join(str(word) for word in command)}` ended with {code}.\n"
            + "\n".join(f"    {line}" for line in lines)
            + f"\nWhat to do: {advice}."
        )
