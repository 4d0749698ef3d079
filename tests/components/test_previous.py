"""What the last update left, read while the engine writes the state."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import pulumi
import pytest

from cluster_stack.components.previous import previous
from cluster_stack.plan.installed import Installation
from cluster_stack.plan.upgrades import Previous

OUTPUTS = {
    "talos_version": "v1.12.4",
    "kubernetes_version": "1.34.2",
    "talos_version_contract": "v1.11.5",
    "firmware": "ovmf",
    "secure_boot": False,
    "disk_encryption": "tpm",
    "pod_network": "cilium",
    "control_plane_vms": {"homelab-cp2": {"id": 801}, "homelab-cp1": {"id": 800}},
    "flux_version": "v2.9.5",
    "other": 1,
}
EOF = Exception("invoke of pulumi:pulumi:readStackOutputs failed: failed to load checkpoint: EOF")


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[float]]:
    """Answers each reading of the state with the next of these; returns how long the program waited between them."""

    def with_answers(*answers: Exception | dict[str, Any]) -> list[float]:
        pauses: list[float] = []
        left: Iterator[Exception | dict[str, Any]] = iter(answers)

        def invoke(token: str, arguments: dict[str, str]) -> SimpleNamespace:
            assert (token, arguments) == ("pulumi:pulumi:readStackOutputs", {"name": "organization/x/homelab"})
            answer = next(left)
            if isinstance(answer, Exception):
                raise answer
            return SimpleNamespace(value=answer)

        monkeypatch.setattr(pulumi.runtime, "invoke", invoke)
        monkeypatch.setattr(time, "sleep", pauses.append)
        for name, value in (("organization", "organization"), ("project", "x"), ("stack", "homelab")):
            monkeypatch.setattr(pulumi, f"get_{name}", lambda value=value: value)
        return pauses

    return with_answers


def test_what_the_last_update_left(engine: Callable[..., list[float]]) -> None:
    assert engine({"outputs": OUTPUTS}) == []
    assert previous() == Previous(
        from_state=True,
        talos="v1.12.4",
        kubernetes="1.34.2",
        contract="v1.11.5",
        installation=Installation(firmware="ovmf", secure_boot=False, disk_encryption="tpm", pod_network="cilium"),
        control_planes=("homelab-cp1", "homelab-cp2"),
        flux="v2.9.5",
    )


def test_a_stack_of_before_there_were_such_outputs(engine: Callable[..., list[float]]) -> None:
    engine({"outputs": {"talos_version": "v1.12.4"}})
    assert previous() == Previous(from_state=True, talos="v1.12.4")


def test_a_new_stack_has_none(engine: Callable[..., list[float]]) -> None:
    engine({"outputs": {}})
    assert previous() == Previous(from_state=True)


def test_a_state_that_is_just_being_written_is_read_again(engine: Callable[..., list[float]]) -> None:
    pauses = engine(EOF, EOF, {"outputs": OUTPUTS})
    assert previous().talos == "v1.12.4"
    assert len(pauses) == 2


def test_a_state_that_cannot_be_read_is_a_sentence(engine: Callable[..., list[float]]) -> None:
    pauses = engine(*[EOF] * 9)
    with pytest.raises(pulumi.RunError, match=r"cannot be read from the state: .*EOF.*pulumi stack output -s homelab"):
        previous()
    assert 0 < sum(pauses) < 5
