"""A lab of the tests' own, and a copy of the project that may be edited, driven as a person would drive them."""

from __future__ import annotations

import json
import os
import pickle
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from cluster_stack.automation import Changes, Outputs, Result
from lab.control import Client
from lab.datacentre import DEFAULT_FILE
from lab.directory import LabDirectory, write_text
from tests import project
from tests.project import REPOSITORY


class Site:
    """A running lab in a folder of its own, and a project beside it."""

    def __init__(self, *, kubernetes: bool = False) -> None:
        """Without Kubernetes the machines are up much sooner, and most tests do not need it."""
        self.folder = Path(tempfile.mkdtemp(prefix="site-"))
        self.project = project.copy(self.folder / "project")
        self.lab = LabDirectory(self.folder / "lab")
        self.control = Client(self.lab)
        if not kubernetes:
            site = DEFAULT_FILE.read_text().replace("\nkubernetes: true", "\nkubernetes: false")
            write_text(self.lab.datacentre, site)
        self._environment = {
            # Without it Python keeps what it has compiled, as on a user's machine.
            **{name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"},
            "LAB_DIRECTORY": str(self.lab.root),
            "PYTHONPATH": str(REPOSITORY),
            "PULUMI_ERROR_OUTPUT_STRING": "true",
        }
        self.printed: list[str] = []
        """Everything that any command printed, for the test that looks for secrets in it."""

    def start(self) -> None:
        self._lab("start")

    def stop(self) -> None:
        self._lab("stop")

    def remove(self) -> None:
        self.stop()
        shutil.rmtree(self.folder)

    def _lab(self, command: str) -> None:
        subprocess.run(
            [sys.executable, "-m", "lab", command], env=self._environment, check=True, cwd=REPOSITORY, timeout=120
        )

    # The commands of a person

    def inside(self, *command: str) -> list[str]:
        return [sys.executable, "-m", "lab", "exec", "--", *command]

    def run(
        self,
        *command: str,
        check: bool = True,
        timeout: float = 600,
        environment: dict[str, str] | None = None,
        answer: str | None = None,
    ) -> subprocess.CompletedProcess[str]:
        """Run a command in the lab's network, in the project's folder; ``answer`` is what it reads."""
        done = subprocess.run(
            self.inside(*command),
            cwd=self.project,
            env={**self._environment, **(environment or {})},
            check=False,
            input=answer,
            capture_output=True,
            text=True,
            timeout=timeout,
        )
        self.printed += [done.stdout, done.stderr]
        if check and done.returncode != 0:
            raise AssertionError(f"{' '.join(command)}: exit code {done.returncode}\n{done.stdout}\n{done.stderr}")
        return done

    def begin(self, *command: str) -> subprocess.Popen[str]:
        """Start a command in the lab's network in a process group of its own; the test ends it."""
        return subprocess.Popen(
            self.inside(*command),
            cwd=self.project,
            env=self._environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    # The Automation API

    def call(self, function: str, *arguments: Any, **keywords: Any) -> Any:
        """Call a function of ``cluster_stack.automation`` inside; returns what it returns, raises what it raises."""
        answer = self.folder / "answer"
        done = subprocess.run(
            self.inside(sys.executable, "-m", "tests.engine.inside", str(answer)),
            cwd=self.project,
            env=self._environment,
            check=False,
            input=pickle.dumps((function, arguments, {"root": self.project, **keywords})),
            capture_output=True,
            timeout=900,
        )
        self.printed += [done.stdout.decode(), done.stderr.decode()]
        if done.returncode != 0:
            raise AssertionError(f"{function}{arguments}: {done.stdout.decode()}\n{done.stderr.decode()}")
        result, problem = pickle.loads(answer.read_bytes())
        if problem is not None:
            raise problem
        return result

    def up(self, name: str, **keywords: Any) -> Result:
        result: Result = self.call("up", name, **keywords)
        return result

    def preview(self, name: str) -> Changes:
        result: Changes = self.call("preview", name)
        return result

    def destroy(self, name: str) -> Changes:
        result: Changes = self.call("destroy", name)
        return result

    def outputs(self, name: str) -> Outputs:
        result: Outputs = self.call("outputs", name)
        return result

    def ensure_stack(self, name: str) -> None:
        """`pulumi stack init`, where nobody has yet."""
        stacks = json.loads(self.run("pulumi", "stack", "ls", "--json").stdout)
        if name not in [stack["name"] for stack in stacks]:
            self.run("pulumi", "stack", "init", name)

    def eventually(self, ask: Callable[[], str], seconds: float = 60) -> str:
        """Ask until it is answered: what comes up by itself after an `up` has no event to wait for."""
        end = time.monotonic() + seconds
        while True:
            try:
                return ask()
            except AssertionError:
                if time.monotonic() > end:
                    raise
                time.sleep(0.5)

    # What a person edits and looks at

    def cluster_file(self, name: str) -> Path:
        return self.project / "clusters" / name / "cluster.yaml"

    def add_cluster(self, name: str, text: str) -> Path:
        """A new folder of `clusters/`, with this cluster.yaml."""
        folder = self.cluster_file(name).parent
        folder.mkdir()
        self.cluster_file(name).write_text(text)
        return folder

    def edit(self, name: str, *edits: tuple[str, str]) -> None:
        text = self.cluster_file(name).read_text()
        for old, new in edits:
            assert text.count(old) == 1, f"{old!r} is there {text.count(old)} times"
            text = text.replace(old, new)
        self.cluster_file(name).write_text(text)

    def requests(self) -> list[dict[str, Any]]:
        """Every request that the lab's Proxmox received since the lab exists."""
        lines = self.lab.requests.read_text().splitlines() if self.lab.requests.exists() else []
        return [json.loads(line) for line in lines]

    def writes(self) -> list[dict[str, Any]]:
        return [request for request in self.requests() if request["method"] != "GET"]

    def guests(self) -> dict[int, dict[str, Any]]:
        """The VMs of the site by id."""
        return {guest["vmid"]: guest for guest in self.control.status()["guests"]}

    def talosctl(self, outputs: Outputs, nodes: Sequence[str], *question: str, check: bool = True) -> str:
        """What talosctl answers with the talosconfig of the outputs."""
        file = self.folder / "talosconfig"
        file.write_text(outputs.talosconfig)
        done = self.run("talosctl", "--talosconfig", str(file), "--nodes", ",".join(nodes), *question, check=check)
        return done.stdout + done.stderr
