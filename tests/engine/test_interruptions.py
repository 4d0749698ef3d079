"""An update that is cut off at any point, and the way back: the next `up`, where need be after `recover`."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from cluster_stack.automation import ClusterError
from tests.engine.site import Site


def until(line: str, process: subprocess.Popen[str], seconds: float = 120) -> None:
    """Read what the process prints until ``line`` occurs in it."""
    assert process.stdout is not None
    end, printed = time.monotonic() + seconds, ""
    while time.monotonic() < end:
        text = process.stdout.readline()
        printed += text
        if line in text:
            return
        if not text and process.poll() is not None:
            break
    raise AssertionError(f"{line!r} was never printed:\n{printed}")


def end(process: subprocess.Popen[str]) -> str:
    """What the process printed until its end."""
    printed, _ = process.communicate(timeout=180)
    return printed


def completes(site: Site, name: str = "dev") -> bool:
    """The next `up` completes the cluster, if need be after one `recover`. Returns whether it was needed."""
    recovered = False
    try:
        result = site.up(name)
    except ClusterError:
        done = site.run(".venv/bin/python", "-m", "cluster_stack", "recover", name)
        assert f"Now run `pulumi up -s {name}`." in done.stdout
        recovered = True
        result = site.up(name)
    assert result.outputs.all_vm_ids == (850, 860)
    assert not site.up(name).changes.any
    members = site.talosctl(result.outputs, result.outputs.control_plane_ips, "etcd", "members")
    assert members.count("dev-cp1") == 1
    return recovered


@pytest.fixture
def dev(site: Site) -> Iterator[str]:
    site.ensure_stack("dev")
    yield "dev"
    site.control.clear_faults()
    site.destroy("dev")
    assert not {850, 860} & set(site.guests())


POINTS = ["dev-cp1-vm creating", "dev-cp1-config creating", "dev-bootstrap creating", "dev-kubeconfig creating"]


@pytest.mark.parametrize("point", POINTS)
@pytest.mark.parametrize("signal_number", [signal.SIGINT, signal.SIGKILL], ids=["ctrl-c", "kill"])
def test_cut_off(site: Site, dev: str, point: str, signal_number: signal.Signals) -> None:
    process = site.begin("pulumi", "up", "--yes", "--skip-preview", "-s", dev)
    until(point, process)
    # Far enough into the step that its request is on the way, or done, when the engine goes.
    time.sleep(0.4)
    if signal_number == signal.SIGINT:
        # The terminal sends Ctrl-C to every process of the group.
        os.killpg(process.pid, signal.SIGINT)
    else:
        os.killpg(process.pid, signal.SIGKILL)
    site.printed.append(end(process))
    completes(site)


def wait_for(condition: Callable[[], bool], seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_proxmox_is_away_for_a_while(site: Site, dev: str) -> None:
    before = len(site.writes())
    process = site.begin("pulumi", "up", "--yes", "--skip-preview", "-s", dev)
    wait_for(lambda: len(site.writes()) > before)
    site.control.set_fault("api-unreachable")
    # Whether this `up` fails depends on the request that the outage meets; the next one completes in any case.
    site.printed.append(end(process))
    site.control.clear_faults()
    completes(site)


def test_a_host_that_does_not_answer_once_is_asked_again(site: Site, dev: str) -> None:
    site.control.set_fault("api-error", match="POST:/nodes/*/qemu", at=2, status=595)
    assert site.up(dev).outputs.all_vm_ids == (850, 860)
    (fault,) = site.control.faults()
    assert fault.is_spent


@pytest.mark.parametrize(
    ("kind", "target", "options", "words"),
    [
        ("api-drop", None, {"match": "POST:/nodes/*/qemu"}, "unexpected EOF"),
        ("task-fails", "qmstart", {"message": "start failed: QEMU exited with code 1"}, "QEMU exited with code 1"),
    ],
    ids=["half an answer", "no start"],
)
def test_proxmox_fails_at_the_second_machine(
    site: Site, dev: str, kind: str, target: str | None, options: dict[str, Any], words: str
) -> None:
    site.control.set_fault(kind, target, at=2, **options)
    with pytest.raises(ClusterError, match=words):
        site.up(dev)
    site.control.clear_faults()
    completes(site)


def test_recover_leaves_alone_what_is_not_ours(site: Site, dev: str) -> None:
    """A VM of our name at our id, made by another state: known by its mark, which is not ours."""
    site.up(dev)
    export = site.run("pulumi", "stack", "export", "-s", dev).stdout
    site.run("pulumi", "stack", "rm", "--yes", "--force", dev)
    site.ensure_stack(dev)
    before = site.writes()
    with pytest.raises(ClusterError) as caught:
        site.up(dev)
    assert "VM 850 on ms01 is called dev-cp1, but it is not this stack's" in str(caught.value)
    assert "Traceback" not in str(caught.value)
    done = site.run(".venv/bin/python", "-m", "cluster_stack", "recover", dev, check=False)
    assert done.returncode == 1
    assert "its notes do not carry this stack's mark, so it is left alone" in done.stderr
    assert site.writes() == before
    file = site.folder / "export.json"
    file.write_text(export)
    site.run("pulumi", "stack", "import", "--force", "--file", str(file), "-s", dev)
    assert not site.up(dev).changes.any


def test_recover_with_nothing_to_recover(site: Site, dev: str) -> None:
    site.up(dev)
    before = site.writes()
    done = site.run(".venv/bin/python", "-m", "cluster_stack", "recover", dev)
    assert done.stdout.splitlines() == ["dev: no update holds the stack's lock.", "Now run `pulumi up -s dev`."]
    assert site.writes() == before
