"""Sizes in words."""

from __future__ import annotations

import pytest

from cluster_stack.plan.quantities import gigabytes, megabytes


@pytest.mark.parametrize(
    ("amount", "words"),
    [
        (0, "0 MB"),
        (512, "512 MB"),
        (1024, "1 GB"),
        (1536, "1.5 GB"),
        (2000, "2000 MB"),
        (8192, "8 GB"),
        (128000, "125 GB"),
        (1024 * 1024, "1 TB"),
        (1280 * 1024, "1.25 TB"),
    ],
)
def test_memory(amount: int, words: str) -> None:
    assert megabytes(amount) == words


@pytest.mark.parametrize(("amount", "words"), [(32, "32 GB"), (1000, "1000 GB"), (2048, "2 TB"), (2560, "2.5 TB")])
def test_disks(amount: int, words: str) -> None:
    assert gigabytes(amount) == words
