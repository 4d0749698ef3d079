"""The programs that a lab runs, as the toolchain provides them."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

NODE_VARIABLE = "LAB_TALOS_NODE"
ETCD, KUBERNETES, KUBELETS, FLUX, HELM = "etcd", "kubernetes", "talos-kubelets", "flux", "helm"
TALOSCTL = "talosctl"

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
    charts: Mapping[str, Path]
    """The charts that the registry of charts serves: repository -> folder."""


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
        found = _kubernetes(tool) if kubernetes else None
        folders = [tool(ETCD).parent, *([found.folder] if found else [])]
        return Programs(
            node=Path(named).resolve() if named else tool("talos-node"),
            folders=tuple(dict.fromkeys(folders)),
            kubernetes=found,
        )
    except ToolchainError as error:
        raise ProgramError(str(error)) from None


def _kubernetes(tool: Callable[[str], Path]) -> Kubernetes:
    helm = tool(HELM)
    return Kubernetes(
        folder=tool(KUBERNETES).parent,
        kubelets=tool(KUBELETS),
        images=_images(tool(FLUX).parent, helm, tool(TALOSCTL)),
        charts={"cilium/charts/cilium": helm.parent / "chart-cilium"},
    )


def _images(flux: Path, helm: Path, talosctl: Path) -> dict[str, Image]:
    from toolchain import pins

    controllers = {
        "source-controller": pins.FLUX_CONTROLLERS,
        "kustomize-controller": pins.FLUX_CONTROLLERS,
        "helm-controller": pins.HELM_CONTROLLER,
    }
    operator = Image(flux / "flux-operator", {"/data": flux / "flux-operator-data"}, DISTROLESS)
    return {f"ghcr.io/fluxcd/{name}:v{version}": Image(flux / name) for name, version in controllers.items()} | {
        f"ghcr.io/controlplaneio-fluxcd/flux-operator:v{pins.FLUX_OPERATOR}": operator,
        f"docker.io/alpine/helm:{pins.HELM}": Image(helm),
        f"ghcr.io/siderolabs/talosctl:v{pins.TALOS}": Image(talosctl),
    }
