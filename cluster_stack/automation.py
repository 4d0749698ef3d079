"""Clusters from other programs: typed calls by cluster name, typed results.

Each call runs what a person would run (`pulumi up -s <name>` and so on) on this very project, through Pulumi's
Automation API, and makes the stack where there is none yet. Backend, passphrase and Proxmox token come from the
environment and the stack's settings, as on the command line. Calls block; run clusters side by side in processes.

Raises ConfigError for what is wrong with cluster.yaml, ClusterError for what went wrong while doing it. Nothing is
printed unless ``on_output`` does.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import pulumi.automation as auto
from pulumi.automation.events import EngineEvent

from cluster_stack import project

OnOutput = Callable[[str], object]


class ClusterError(Exception):
    """An operation that did not succeed. The text is what the engine and the providers reported as errors."""


@dataclass(frozen=True)
class Changes:
    """How many resources an operation touched, or a preview would."""

    created: int = 0
    updated: int = 0
    replaced: int = 0
    deleted: int = 0
    unchanged: int = 0

    @property
    def any(self) -> bool:
        return bool(self.created or self.updated or self.replaced or self.deleted)


@dataclass(frozen=True)
class Vm:
    id: int
    name: str
    ip: str


@dataclass(frozen=True)
class Outputs:
    """The outputs of a cluster's stack. ``kubeconfig`` and ``talosconfig`` are secret and stay out of ``repr``."""

    kubeconfig: str = field(repr=False)
    talosconfig: str = field(repr=False)
    cluster_endpoint: str
    control_plane_ips: tuple[str, ...]
    worker_ips: tuple[str, ...]
    control_plane_vms: Mapping[str, Vm]
    worker_vms: Mapping[str, Vm]
    all_vm_ids: tuple[int, ...]
    talos_version: str
    kubernetes_version: str
    talos_version_contract: str
    """The Talos version that the cluster was made with."""
    flux_version: str | None
    """None where GitOps is not enabled."""


@dataclass(frozen=True)
class Result:
    """What an update did."""

    changes: Changes
    outputs: Outputs


def up(name: str, *, root: Path = project.ROOT, refresh: bool = False, on_output: OnOutput | None = None) -> Result:
    """Make cluster ``name`` agree with its cluster.yaml. ``refresh`` first reads how the machines really are."""
    stack = _stack(name, root)
    with _errors() as errors:
        result = stack.up(on_output=on_output, on_event=errors.collect, refresh=refresh, color="never")
    return Result(_changes(result.summary.resource_changes), _outputs(result.outputs))


def preview(name: str, *, root: Path = project.ROOT, on_output: OnOutput | None = None) -> Changes:
    """What ``up`` would do. Touches nothing and asks nobody but the state's backend."""
    stack = _stack(name, root)
    with _errors() as errors:
        result = stack.preview(on_output=on_output, on_event=errors.collect, color="never")
    return _changes(result.change_summary)


def destroy(name: str, *, root: Path = project.ROOT, on_output: OnOutput | None = None) -> Changes:
    """Remove every machine of cluster ``name``. The empty stack stays."""
    stack = _stack(name, root)
    with _errors() as errors:
        result = stack.destroy(on_output=on_output, on_event=errors.collect, color="never")
    return _changes(result.summary.resource_changes)


def outputs(name: str, *, root: Path = project.ROOT) -> Outputs:
    """The outputs of the last ``up``."""
    stack = _stack(name, root)
    with _errors():
        found = stack.outputs()
    if "kubeconfig" not in found:
        raise ClusterError(f"cluster {name} has no outputs yet: run `pulumi up -s {name}`.")
    return _outputs(found)


def _stack(name: str, root: Path) -> auto.Stack:
    project.plan(name, root)  # refuse before anything is made
    with _errors():
        return auto.create_or_select_stack(stack_name=name, work_dir=str(root), opts=with_engine())


def with_engine() -> auto.LocalWorkspaceOptions:
    """The engine on the PATH. Raises ClusterError where there is none, or one that Pulumi's library does not take."""
    try:
        return auto.LocalWorkspaceOptions(pulumi_command=auto.PulumiCommand())
    except FileNotFoundError:
        environment = 'eval "$(.venv/bin/python -m toolchain environment)"'
        raise ClusterError(f"there is no `pulumi` on the PATH. Run `make toolchain`, then `{environment}`.") from None
    except auto.InvalidVersionError as error:
        raise ClusterError(f"the `pulumi` on the PATH is not the right one: {error}.") from None


def said(error: auto.CommandError) -> str:
    """What a failed command of the engine wrote as its error, without its exit code and its output."""
    _, _, errors = str(error).partition("\n stderr: ")
    return errors.strip().removeprefix("error: ") or str(error).strip()


class _Errors:
    """The engine's error messages, which say more than the exit of the command."""

    def __init__(self) -> None:
        self.messages: list[str] = []

    def collect(self, event: EngineEvent) -> None:
        diagnostic = event.diagnostic_event
        # That the program ended is no news beside the reason that it gave.
        if diagnostic and diagnostic.severity == "error" and "program exited with non-zero" not in diagnostic.message:
            self.messages.append(diagnostic.message.strip())


@contextmanager
def _errors() -> Iterator[_Errors]:
    """Turn a failed command of the engine into a ClusterError with what was collected."""
    errors = _Errors()
    try:
        yield errors
    except auto.CommandError as error:
        raise ClusterError("\n".join(errors.messages) or said(error)) from None


def _changes(summary: Mapping[auto.OpType, int] | None) -> Changes:
    # The Automation API hands out plain strings in one place and its own enum in another.
    counts = {str(getattr(kind, "value", kind)): count for kind, count in (summary or {}).items()}
    return Changes(
        created=counts.get("create", 0),
        updated=counts.get("update", 0),
        replaced=counts.get("replace", 0),
        deleted=counts.get("delete", 0),
        unchanged=counts.get("same", 0),
    )


def _outputs(found: Mapping[str, auto.OutputValue]) -> Outputs:
    values: dict[str, Any] = {entry.name: found[entry.name].value for entry in fields(Outputs) if entry.name in found}
    values.setdefault("flux_version", None)
    for group in ("control_plane_vms", "worker_vms"):
        values[group] = {name: Vm(int(vm["id"]), vm["name"], vm["ip"]) for name, vm in values[group].items()}
    for group in ("control_plane_ips", "worker_ips"):
        values[group] = tuple(values[group])
    values["all_vm_ids"] = tuple(int(number) for number in values["all_vm_ids"])
    return Outputs(**values)
