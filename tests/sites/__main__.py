"""`python -m tests.sites` shows what the program now says otherwise than the files here expect; `--write` writes it.

Read every line that it changes: it is a promise to the people who have such a site.
"""

from __future__ import annotations

import argparse
import difflib
import json
import re
import tempfile
from pathlib import Path

import yaml

from tests.sites import INVALID, SITES, VALID, answer, mistakes, project, summary

_HEADER = "# Written by `python -m tests.sites --write`: what follows from the cluster.yaml beside it.\n"


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.sites", description=__doc__)
    parser.add_argument("--write", action="store_true", help="write what is shown")
    write = parser.parse_args().write
    changed = False
    for file, text in {**_expectations(), **_messages()}.items():
        before = file.read_text(encoding="utf-8") if file.exists() else ""
        if before == text:
            continue
        changed = True
        name = file.relative_to(VALID.parent).as_posix()
        print("\n".join(difflib.unified_diff(before.splitlines(), text.splitlines(), name, name, lineterm="", n=1)))
        if write:
            file.write_text(text, encoding="utf-8")
    return 1 if changed and not write else 0


def _expectations() -> dict[Path, str]:
    texts = {}
    for site in SITES:
        with tempfile.TemporaryDirectory() as root:
            expected = summary(project(Path(root), site).plan(site))
        # A line for each node.
        text = yaml.safe_dump(expected, default_flow_style=None, sort_keys=False, allow_unicode=True, width=1000)
        texts[VALID / site / "expected.yaml"] = _HEADER + text
    return texts


def _messages() -> dict[Path, str]:
    """The files of mistakes, each with what is said of it now."""
    texts = {}
    for file in sorted(INVALID.glob("*.yaml")):
        head, *cases = re.split(r"^(?=- mistake: )", file.read_text(encoding="utf-8"), flags=re.MULTILINE)
        told = []
        for case, mistake in zip(cases, (found for found in mistakes() if found.theme == file.stem), strict=True):
            says = json.dumps(answer(mistake), ensure_ascii=False)
            told.append(
                re.sub(r"^  says:.*$", lambda _, says=says: f"  says: {says}", case, count=1, flags=re.MULTILINE)
            )
        texts[file] = head + "".join(told)
    return texts


if __name__ == "__main__":
    raise SystemExit(main())
