"""What can go wrong with a resource, as the sentence that its user reads."""

from __future__ import annotations

from collections.abc import Iterable


class LifecycleError(Exception):
    """Nothing was done, or what was done need not be remembered: the next update begins it anew."""


class UnfinishedError(LifecycleError):
    """The thing is there, but it is not what it should be yet: the next update goes on with it."""


class CancelledError(LifecycleError):
    """The user ended the update."""

    def __init__(self) -> None:
        super().__init__("the update was cancelled. Run `pulumi up` again: it goes on from here.")


def without(text: str, secrets: Iterable[str]) -> str:
    """A text without the secrets: what a server says of something may repeat it."""
    for secret in sorted(filter(None, secrets), key=len, reverse=True):
        text = text.replace(secret, "[secret]")
    return text
