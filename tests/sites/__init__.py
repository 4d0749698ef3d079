"""The proof by bulk: cluster.yaml files of many sites, what follows from each, and what is said of many wrong ones.

``valid/<name>/`` is a cluster's folder with ``expected.yaml`` beside its cluster.yaml; ``invalid/*.yaml`` are edits of
those files with one mistake each, and what the program says of it.
"""

from __future__ import annotations

import functools
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from cluster_stack.config import ConfigError, load_text
from cluster_stack.plan.boot import boot_images, firmware
from cluster_stack.plan.nodes import NodePlan
from cluster_stack.project import PlannedCluster, Project

VALID = Path(__file__).parent / "valid"
INVALID = Path(__file__).parent / "invalid"
INFRASTRUCTURE = Path(__file__).parent / "infrastructure"
"""The components that there are for every site."""
SITES = sorted(folder.name for folder in VALID.iterdir())


@functools.cache
def text_of(site: str) -> str:
    return (VALID / site / "cluster.yaml").read_text(encoding="utf-8")


def project(root: Path, *sites: str, **texts: str) -> Project:
    """A project with these sites; ``texts`` replaces the cluster.yaml of some."""
    (root / "infrastructure").symlink_to(INFRASTRUCTURE)
    (root / "clusters").mkdir()
    for site in sites:
        folder = root / "clusters" / site
        if site not in texts:
            folder.symlink_to(VALID / site)
            continue
        shutil.copytree(VALID / site, folder)
        (folder / "cluster.yaml").write_text(texts[site], encoding="utf-8")
    return Project(root)


def summary(planned: PlannedCluster) -> dict[str, Any]:
    """What a person wants to see of a plan, at a glance."""
    config, name = planned.file.config, planned.file.document.name
    return {
        "nodes": [_node(planned, node) for node in planned.nodes],
        "images": [f"{image.host} {image.datastore} {image.name}" for image in boot_images(config, planned.nodes)],
        "warnings": [str(warning).removeprefix(f"{name}:") for warning in planned.warnings],
    }


def _node(planned: PlannedCluster, node: NodePlan) -> dict[str, Any]:
    boots = firmware(planned.file.config, node)
    address = node.address
    return {
        "id": node.vm_id,
        "name": node.name,
        "host": node.host,
        "address": " ".join(str(found) for found in (address.interface, address.interface6) if found)
        if address
        else "dhcp",
        "schematic": node.schematic.id[:8],
        "firmware": " ".join(filter(None, [boots.bios, boots.machine, "tpm" if boots.tpm else None])),
        **({"mac": node.cards[0].mac} if node.cards[0].mac else {}),
    }


@dataclass(frozen=True)
class Mistake:
    """One mistake in the cluster.yaml of a site, and all that the program says of it."""

    name: str
    theme: str
    site: str
    says: str
    """Behind the name of the file."""
    old: str
    """What stands in the site's file, once."""
    new: str
    beside: str | None
    """Another site in the same project."""

    @property
    def text(self) -> str:
        text = text_of(self.site)
        found = text.count(self.old)
        if found != 1:
            raise LookupError(f"{self.theme}: {self.name}: {self.old!r} is in {self.site} {found} times")
        return text.replace(self.old, self.new)


def mistakes() -> list[Mistake]:
    return [
        Mistake(
            name=case["mistake"],
            theme=file.stem,
            site=case["in"],
            says=case["says"],
            old=case["old"] if "old" in case else text_of(case["in"]),
            new=case["new"] or "",
            beside=case.get("beside"),
        )
        for file in sorted(INVALID.glob("*.yaml"))
        for case in yaml.load(file.read_text(encoding="utf-8"), Loader=yaml.CSafeLoader)
    ]


def answer(mistake: Mistake) -> str:
    """What the program says of a mistake, without the name of the file; nothing if it takes the file."""
    name = f"clusters/{mistake.site}/cluster.yaml"
    try:
        load_text(mistake.text.encode(), name)
        sites = [mistake.site, *([mistake.beside] if mistake.beside else [])]
        with tempfile.TemporaryDirectory() as root:
            project(Path(root), *sites, **{mistake.site: mistake.text}).plan(mistake.site)
    except ConfigError as error:
        return "\n".join(line.removeprefix(name) for line in str(error).splitlines())
    return ""
