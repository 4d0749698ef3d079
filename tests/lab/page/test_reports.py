"""What a machine says of itself is taken for what it is: something that another program wrote."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import pytest

from lab.page.reports import Reports

REPORT = {
    "pid": 7, "booted": "2026-01-01T00:00:00Z", "stage": "booting", "ready": False, "unmet": [], "talos": "v1.13.0",
    "schematic": "0123", "installed": True, "addresses": [], "services": [], "events": [],
}  # fmt: skip


def write(vms: Path, text: str) -> None:
    folder = vms / "800" / "run"
    folder.mkdir(parents=True, exist_ok=True)
    draft = folder / "draft"
    draft.write_text(text)
    draft.replace(folder / "status.json")


def test_a_report_is_read_again_once_it_is_replaced(tmp_path: Path) -> None:
    reports = Reports(tmp_path)
    assert reports.of(800, 7) is None
    write(tmp_path, json.dumps(REPORT))
    first = reports.of(800, 7)
    assert first is not None
    assert first.stage == "booting"
    assert reports.of(800, 7) is first
    write(tmp_path, json.dumps({**REPORT, "stage": "running"}))
    second = reports.of(800, 7)
    assert second is not None
    assert second.stage == "running"


def test_what_an_earlier_boot_said_does_not_count(tmp_path: Path) -> None:
    write(tmp_path, json.dumps(REPORT))
    assert Reports(tmp_path).of(800, 8) is None


@pytest.mark.parametrize("text", ["", "{", '{"pid": 7}', json.dumps({**REPORT, "unmet": "no list"})])
def test_nonsense_is_no_report(tmp_path: Path, text: str, caplog: pytest.LogCaptureFixture) -> None:
    write(tmp_path, text)
    reports = Reports(tmp_path)
    with caplog.at_level(logging.WARNING):
        assert reports.of(800, 7) is None
        assert reports.of(800, 7) is None
    assert len(caplog.messages) == 1  # said once, not twice a second


def test_fields_that_nobody_named_are_not_read(tmp_path: Path) -> None:
    write(tmp_path, json.dumps({**REPORT, "machine_config": "token: secret"}))
    report = Reports(tmp_path).of(800, 7)
    assert report is not None
    assert "secret" not in report.model_dump_json()
