"""Sizes in words, for people."""

from __future__ import annotations


def megabytes(amount: int) -> str:
    """``8192`` as ``8 GB``, ``1536`` as ``1.5 GB``, ``2000`` as ``2000 MB``: nothing is rounded."""
    return _in_words(amount, "MB", "GB", "TB")


def gigabytes(amount: int) -> str:
    """``32`` as ``32 GB``, ``2048`` as ``2 TB``: nothing is rounded."""
    return _in_words(amount, "GB", "TB")


def _in_words(amount: int, unit: str, *larger: str) -> str:
    if larger and amount >= 1024 and (amount * 4) % 1024 == 0:
        whole, rest = divmod(amount, 1024)
        if rest == 0:
            return _in_words(whole, *larger)
        return f"{amount / 1024:g} {larger[0]}"
    return f"{amount} {unit}"
