"""`python -m toolchain.flux_operator` writes flux-operator's manifests anew; with --check it says whether they differ.

They are its own release (`config/default`, built by kustomize), from its Go module. It needs Go and a network once.
"""

from __future__ import annotations

import argparse
import subprocess
from pathlib import Path

from toolchain.errors import ToolchainError
from toolchain.installation import REPOSITORY, Installation
from toolchain.processes import say
from toolchain.schemas import modules
from toolchain.schemas.sources import FLUX_OPERATOR, FLUX_OPERATOR_RELEASE

FOLDER = REPOSITORY / "cluster_stack" / "plan" / "gitops" / "flux_operator"
_HEAD = """\
# config/default of {module} {version}, as kustomize builds it: what that release installs.
# Made by `python -m toolchain.flux_operator`, with nothing changed. Copyright its makers, licensed under the GNU Affero
# General Public License 3.0: LICENSE beside this file. The source: https://{module}/tree/{version}
"""


def made() -> dict[Path, str]:
    """The files with their texts. Raises ToolchainError."""
    module = modules.fetched(FLUX_OPERATOR, FLUX_OPERATOR_RELEASE)
    kustomize = Installation(REPOSITORY).program("kustomize")
    done = subprocess.run(
        [kustomize, "build", module / "config" / "default"], capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise ToolchainError(f"kustomize build config/default failed: {done.stderr.strip()}")
    head = _HEAD.format(module=FLUX_OPERATOR, version=FLUX_OPERATOR_RELEASE)
    return {
        FOLDER / "manifests.yaml": head + done.stdout,
        FOLDER / "LICENSE": (module / "LICENSE").read_text(encoding="utf-8"),
    }


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m toolchain.flux_operator", description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; fail when a file would change")
    given = parser.parse_args()
    changed = False
    for file, text in made().items():
        if file.exists() and file.read_text(encoding="utf-8") == text:
            continue
        changed = True
        say(f"{file.relative_to(REPOSITORY)}: {'differs' if given.check else 'written'}")
        if not given.check:
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text, encoding="utf-8")
    return 1 if changed and given.check else 0


if __name__ == "__main__":
    raise SystemExit(main())
