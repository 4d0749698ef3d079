"""flux-operator, as its makers release it: the program that installs Flux, keeps it, and takes it away again."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import yaml

FILE = Path(__file__).with_name("flux_operator") / "manifests.yaml"
"""Their manifests (`python -m toolchain.flux_operator`)."""


@cache
def manifests() -> tuple[dict[str, Any], ...]:
    """Everything but the namespace, which others are in as well."""
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    found = yaml.load_all(FILE.read_text(encoding="utf-8"), Loader=loader)
    return tuple(manifest for manifest in found if manifest["kind"] != "Namespace")
