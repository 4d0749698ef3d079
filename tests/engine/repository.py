"""A Git repository of a person, and what of it is pushed to the site's Git server."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from pathlib import Path

from tests.engine.site import Site

_IDENTITY = ("-c", "user.name=tester", "-c", "user.email=tester@example.org")


class Repository:
    def __init__(self, site: Site, folder: Path, tracked: Sequence[str] = (".",)) -> None:
        """``tracked``: which of the folder's files and folders belong to it."""
        self._site, self._folder, self._tracked = site, folder, tracked
        self._git("init", "--quiet", "--initial-branch=main")

    def served(self, name: str) -> Path:
        """The bare repository behind `https://git.lan/<name>.git`."""
        return self._site.lab.repositories / f"{name}.git"

    def push(self, name: str, branch: str = "main") -> None:
        """Commit what there is, and push it as that branch."""
        served = self.served(name)
        if not served.exists():
            self._git("init", "--quiet", "--bare", "--initial-branch=main", str(served))
        self._git("add", "--all", *self._tracked)
        self._git("commit", "--quiet", "--allow-empty", "--message=a change")
        self._git("push", "--quiet", str(served), f"HEAD:refs/heads/{branch}")

    def _git(self, *words: str) -> None:
        subprocess.run(["git", *_IDENTITY, *words], cwd=self._folder, check=True, capture_output=True)
