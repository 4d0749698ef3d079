"""Every mistake in a component gets one sentence: file, line, key, what is wrong, what to do."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from tests.manifests import copy, edit, said

pytestmark = pytest.mark.servers

CASES = yaml.safe_load((Path(__file__).parent / "mistakes.yaml").read_text(encoding="utf-8"))


@pytest.mark.parametrize("case", CASES, ids=[case["mistake"] for case in CASES])
def test_one_mistake_one_sentence(case: dict[str, str], tmp_path: Path) -> None:
    root = copy(tmp_path)
    if "old" in case:
        edit(root / "infrastructure" / case["in"], case["old"], case["new"])
    elif "new" in case:
        (root / "infrastructure" / case["in"]).parent.mkdir(parents=True, exist_ok=True)
        (root / "infrastructure" / case["in"]).write_text(case["new"])
    else:
        (root / "infrastructure" / case["in"]).unlink()
    assert said(root) == [case["says"]]
