"""The programs that a lab runs, as the toolchain provides them."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

NODE_VARIABLE = "LAB_TALOS_NODE"
ETCD, KUBERNETES, KUBELETS, FLUX = "etcd", "kubernetes", "talos-kubelets", "flux"

# flux-operator runs in nothing but the images that its makers build upon.
DISTROLESS = """\
PRETTY_NAME="Distroless"
NAME="Debian GNU/Linux"
ID="debian"
VERSION_ID="13"
VERSION="Debian GNU/Linux 13 (trixie)"
"""


class ProgramError(Exception):
    """A program is not there."""


@dataclass(frozen=True)
class Image:
    """What a container of an image is in the lab: a program, and folders by their path in the container."""

    program: Path
    folders: Mapping[str, Path] = field(default_factory=dict)
    os_release: str = ""
    """Its /etc/os-release, for a program that looks at it."""


@dataclass(frozen=True)
class Kubernetes:
    """What a site with Kubernetes has besides: the folder with its servers, and the player of kubelets."""

    folder: Path
    kubelets: Path
    images: Mapping[str, Image]
    """Those of which containers are programs, by their names. Containers of any other are played."""


@dataclass(frozen=True)
class Programs:
    """A machine's own program, and the folders in which it finds what it starts itself, such as etcd."""

    node: Path
    folders: tuple[Path, ...]
    kubernetes: Kubernetes | None = None


def find(*, kubernetes: bool) -> Programs:
    """The toolchain's programs; LAB_TALOS_NODE names another one for the machines. Raises ProgramError."""
    from toolchain import ToolchainError, tool

    named = os.environ.get(NODE_VARIABLE)
    if named and not Path(named).is_file():
        raise ProgramError(f"{NODE_VARIABLE} names {named}, which does not exist")
    try:
        found = (
            Kubernetes(folder=tool(KUBERNETES).parent, kubelets=tool(KUBELETS), images=_images(tool(FLUX).parent))
            if kubernetes
            else None
        )
        folders = [tool(ETCD).parent, *([found.folder] if found else [])]
        return Programs(
            node=Path(named).resolve() if named else tool("talos-node"),
            folders=tuple(dict.fromkeys(folders)),
            kubernetes=found,
        )
    except ToolchainError as error:
        raise ProgramError(str(error)) from None


def _images(flux: Path) -> dict[str, Image]:
    from toolchain.tools import FLUX_CONTROLLERS, FLUX_OPERATOR

    controllers = ("source-controller", "kustomize-controller")
    return {f"ghcr.io/fluxcd/{name}:v{FLUX_CONTROLLERS}": Image(flux / name) for name in controllers} | {
        f"ghcr.io/controlplaneio-fluxcd/flux-operator:v{FLUX_OPERATOR}": Image(
            flux / "flux-operator", {"/data": flux / "flux-operator-data"}, DISTROLESS
        )
    }
