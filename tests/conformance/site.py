"""A lab in a folder of its own, for the time of one suite."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from types import TracebackType

from lab.control import Client
from lab.directory import LabDirectory

REPOSITORY = Path(__file__).resolve().parents[2]
START_SECONDS = 120


class Site(AbstractContextManager["Site"]):
    """Runs while the `with` block does; its folder stays when told so, for whoever wants to see what went wrong."""

    def __init__(self, datacentre: Path, *, keep: bool) -> None:
        self._datacentre = datacentre
        self._keep = keep
        self._servers: list[subprocess.Popen[str]] = []
        self.directory = LabDirectory(Path(tempfile.mkdtemp(prefix="lab-")))
        self.control = Client(self.directory)

    def __enter__(self) -> Site:
        if self._datacentre.exists():
            shutil.copy(self._datacentre, self.directory.datacentre)
        try:
            self._lab("start")
        except subprocess.SubprocessError:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._lab("stop")
        for server in self._servers:
            server.wait()
            if server.stdout:
                server.stdout.close()
        if self._keep:
            print(f"the lab's folder is {self.directory.root}", flush=True)
        else:
            shutil.rmtree(self.directory.root)

    def run(
        self,
        command: Sequence[str | Path],
        variables: Mapping[str, str],
        seconds: float,
        *,
        folder: Path = REPOSITORY,
    ) -> subprocess.CompletedProcess[str]:
        """Run a command inside, with its output as one text. Raises TimeoutExpired."""
        return subprocess.run(
            [sys.executable, "-m", "lab", "exec", "--", *map(str, command)],
            cwd=folder,
            env={**self._environment, **variables},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            timeout=seconds,
            check=False,
        )

    def serve(self, command: Sequence[str], ready: str) -> None:
        """Start a server inside and wait until it prints its word. It ends with the lab."""
        server = subprocess.Popen(
            [sys.executable, "-m", "lab", "exec", "--", *command],
            cwd=REPOSITORY,
            env=self._environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert server.stdout is not None
        if (said := server.stdout.readline().strip()) != ready:
            raise OSError(f"{' '.join(command)} did not start: it said {said!r}")
        self._servers.append(server)

    def _lab(self, command: str) -> None:
        subprocess.run(
            [sys.executable, "-m", "lab", command],
            cwd=REPOSITORY,
            env=self._environment,
            stdout=subprocess.DEVNULL,
            timeout=START_SECONDS,
            check=True,
        )

    @property
    def _environment(self) -> dict[str, str]:
        return {**os.environ, "LAB_DIRECTORY": str(self.directory.root), "PYTHONPATH": str(REPOSITORY)}
