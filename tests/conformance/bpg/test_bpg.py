"""bpg's suite, as far as it can be judged without running it."""

from __future__ import annotations

import json
from pathlib import Path

from lab import disk_image
from tests.conformance import endpoints
from tests.conformance.bpg.images import DISK_BYTES, qcow2
from tests.conformance.bpg.suite import Bpg
from tests.conformance.expectations import Expectations
from tests.conformance.site import REPOSITORY
from toolchain.tools import BPG_TEST_PACKAGES

EXPECTATIONS = Expectations.read(Bpg.folder / "expectations.yaml")


def test_the_data_file_names_packages_of_the_suite() -> None:
    assert set(EXPECTATIONS.packages) <= set(BPG_TEST_PACKAGES)


def test_the_page_tells_every_reason() -> None:
    page = (REPOSITORY / "docs" / "lab.md").read_text(encoding="utf-8")
    for known in EXPECTATIONS.packages.values():
        for reason in {*known.fails.values(), *known.not_applicable.values()}:
            assert reason in page, "run `make conformance`: it writes the table anew"


def test_the_lab_takes_a_cloud_image_for_one() -> None:
    for size in DISK_BYTES.values():
        found = disk_image.read(qcow2(size))
        assert (found.format, found.image, found.disk_bytes) == ("qcow2", None, size)


def test_the_page_lists_the_calls_that_are_built(tmp_path: Path) -> None:
    page = tmp_path / "lab.md"
    page.write_text(endpoints.PAGE.read_text(encoding="utf-8"), encoding="utf-8")
    endpoints.write(page)
    told = endpoints.PAGE.read_text(encoding="utf-8")
    assert page.read_text(encoding="utf-8") == told, "run `python -m tests.conformance.endpoints`"


def test_a_call_counts_that_has_succeeded(tmp_path: Path) -> None:
    log = tmp_path / "requests.jsonl"
    requests = [
        {"method": "GET", "path": "/nodes/pve/qemu/100/config", "status": 200},
        {"method": "PUT", "path": "/nodes/pve/qemu/100/config", "status": 400},
        {"method": "GET", "path": "/nonsense", "status": 200},
    ]
    log.write_text("".join(json.dumps(request) + "\n" for request in requests))
    assert endpoints.called(log) == ["GET /nodes/{node}/qemu/{vmid}/config"]
    assert "| `/nodes/{node}/qemu/{vmid}/config` | **GET**, PUT |" in endpoints.as_markdown(
        ["PUT /nodes/{node}/qemu/{vmid}/config", "GET /nodes/{node}/qemu/{vmid}/config"], endpoints.called(log)
    )
