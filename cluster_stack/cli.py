"""`python -m cluster_stack ...`: a thin face on ``cluster_stack.automation``, and two commands that need no Pulumi.

Those two, ``check`` and ``changed``, do not import it: they run in workflows, hooks and editors, in milliseconds.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from cluster_stack import changed, project
from cluster_stack.config import ConfigError, cluster_names
from cluster_stack.plan.nodes import NodePlan

if TYPE_CHECKING:
    from cluster_stack import automation

OUTPUTS = (
    "kubeconfig",
    "talosconfig",
    "cluster_endpoint",
    "control_plane_ips",
    "worker_ips",
    "control_plane_vms",
    "worker_vms",
    "all_vm_ids",
)
"""The fields of ``automation.Outputs``, which cannot be asked without importing Pulumi."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit code (0 done, 1 refused or failed, 130 interrupted)."""
    options = _parser().parse_args(arguments)
    try:
        match options.command:
            case "check":
                return _check(options.clusters)
            case "changed":
                _print_changed(options.base, options.format)
                return 0
            case _:
                return _run_pulumi(options)
    except (ConfigError, changed.GitError) as error:
        print(error, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130


def _run_pulumi(options: argparse.Namespace) -> int:
    from cluster_stack import automation, recovery

    try:
        match options.command:
            case "up":
                result = automation.up(options.cluster, refresh=options.refresh, on_output=print)
                print(_sentence(result.changes, "unchanged: nothing was touched"))
            case "preview":
                print(_sentence(automation.preview(options.cluster, on_output=print), "nothing would change"))
            case "destroy":
                print(_sentence(automation.destroy(options.cluster, on_output=print), "there was nothing to remove"))
            case "outputs":
                _print_outputs(automation.outputs(options.cluster), options.key, show_secrets=options.show_secrets)
            case "recover":
                for line in recovery.recover(options.cluster):
                    print(line)
    except automation.ClusterError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m cluster_stack", description="Talos clusters on Proxmox.")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    def command(name: str, help_text: str) -> argparse.ArgumentParser:
        added = commands.add_parser(name, help=help_text, description=help_text)
        added.add_argument("cluster", help="name of a folder in clusters/")
        return added

    up = command("up", "Make the cluster agree with its cluster.yaml (pulumi up).")
    up.add_argument("--refresh", action="store_true", help="first read how the machines really are")
    command("preview", "Show what up would do; touches nothing (pulumi preview).")
    command("destroy", "Remove every machine of the cluster (pulumi destroy).")
    outputs = command("outputs", "Print the outputs of the last up, as JSON, or one of them as it is.")
    outputs.add_argument("key", nargs="?", choices=OUTPUTS, metavar="KEY", help=f"one of: {', '.join(OUTPUTS)}")
    outputs.add_argument("--show-secrets", action="store_true", help="print secret outputs among the others too")
    command("recover", "After an interrupted up: release its lock, adopt what it made and could not note.")

    help_text = "Read and check clusters without asking anybody: no network, no Pulumi, no secrets."
    check = commands.add_parser("check", help=help_text, description=help_text)
    check.add_argument("clusters", nargs="*", metavar="cluster", help="name of a folder in clusters/ (default: all)")
    help_text = "Name the clusters that a change may alter, by the files that HEAD changed since it left a revision."
    touched = commands.add_parser("changed", help=help_text, description=help_text)
    touched.add_argument("--base", required=True, metavar="REV", help="the revision, such as origin/main")
    touched.add_argument("--format", choices=["text", "json"], default="text", help="json: a list of names (text)")
    return parser


def _check(names: Sequence[str]) -> int:
    failed = False
    for name in names or cluster_names(project.ROOT):
        try:
            planned = project.plan(name, project.ROOT)
        except ConfigError as error:
            failed = True
            for problem in error.problems:
                _report("error", problem.file, problem.line, str(problem))
            continue
        print(f"{name}: {_summary(planned.nodes)}")
        for warning in planned.warnings:
            _report("warning", f"clusters/{name}/cluster.yaml", 0, warning)
    return 1 if failed else 0


def _summary(nodes: Sequence[NodePlan]) -> str:
    roles = [node.role for node in nodes]
    counts = [(roles.count("controlplane"), "control plane"), (roles.count("worker"), "worker")]
    words = [f"{count} {word}{'' if count == 1 else 's'}" for count, word in counts]
    ids = [node.vm_id for node in nodes]
    return f"{', '.join(words)}, VM ids {min(ids)} to {max(ids)}"


def _report(kind: str, file: str, line: int, message: str) -> None:
    if os.environ.get("GITHUB_ACTIONS") != "true":
        print(message if kind == "error" else f"{kind}: {message}", file=sys.stderr)
        return
    # GitHub shows such a line beside the line of the file that it names.
    place = f"file={_escaped(file, ':,')}" + (f",line={line}" if line else "")
    print(f"::{kind} {place}::{_escaped(message)}")


def _escaped(text: str, special: str = "") -> str:
    """Text as GitHub's workflow commands want it: without line ends, and without what separates their parts."""
    for character in "%\r\n" + special:  # the percent sign first: it is what the others become
        text = text.replace(character, f"%{ord(character):02X}")
    return text


def _print_changed(base: str, form: str) -> None:
    names = cluster_names(project.ROOT)
    files = changed.changed_files(project.ROOT, base)
    touched = changed.clusters_touched(files, names)
    if form == "json":
        print(json.dumps(touched))
        return
    removed = changed.clusters_removed(files, names)
    for name in touched:
        print(name)
    for name in removed:
        print(f"{name}: removed, so there is nothing to preview. Its machines stay until `pulumi destroy -s {name}`.")
    if not touched and not removed:
        print("No cluster is touched.")


def _sentence(changes: automation.Changes, nothing: str) -> str:
    counts = {name: count for name, count in dataclasses.asdict(changes).items() if count}
    touched = [f"{count} {name}" for name, count in counts.items() if name != "unchanged"]
    return ", ".join(touched) if touched else nothing


def _print_outputs(outputs: automation.Outputs, key: str | None, *, show_secrets: bool) -> None:
    values = dataclasses.asdict(outputs)
    if key is not None:
        print(values[key] if isinstance(values[key], str) else json.dumps(values[key], indent=2))
        return
    hidden = {} if show_secrets else {"kubeconfig": "[secret]", "talosconfig": "[secret]"}
    print(json.dumps({**values, **hidden}, indent=2))
