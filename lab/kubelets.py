"""The process that plays the kubelets of all machines, `talos-kubelets`.

Owns its life: it is started with the site, and started again where it ends. A machine's kubelet then starts anew, as
after a crash of its own.
"""

from __future__ import annotations

import asyncio
import logging

from lab.children import Children
from lab.directory import LabDirectory, write_json
from lab.programs import Kubernetes

RESTART_SECONDS = 1.0

log = logging.getLogger(__name__)


class Kubelets:
    def __init__(self, directory: LabDirectory, children: Children, program: Kubernetes, path: str) -> None:
        """`path` is where the program may look for others."""
        self._directory = directory
        self._children = children
        self._program = program
        self._path = path
        self._keeper: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Start it; machines wait for its socket by themselves."""
        images = {
            name: {
                "program": str(image.program),
                "folders": {path: str(at) for path, at in image.folders.items()},
                "osRelease": image.os_release,
            }
            for name, image in self._program.images.items()
        }
        write_json(self._directory.images, images)
        self._keeper = asyncio.create_task(self._keep())

    async def _keep(self) -> None:
        while True:
            child = self._children.start(
                [
                    str(self._program.kubelets),
                    f"--socket={self._directory.kubelets_socket}",
                    f"--images={self._directory.images}",
                ],
                folder=self._directory.run,
                output=self._directory.kubelets_log,
                environment={"PATH": self._path, "HOME": str(self._directory.run)},
            )
            code = await child.ended
            log.error("the kubelets ended (exit code %s), see %s", code, self._directory.kubelets_log)
            await asyncio.sleep(RESTART_SECONDS)
