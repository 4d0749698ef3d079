"""`python -m cluster_stack ...`: a thin face on ``cluster_stack.automation``, and the commands that need no Pulumi.

Those (``check``, ``show``, ``diff``, ``changed``) do not import it: they run in workflows, hooks and editors, in
milliseconds. What they print is made in ``cluster_stack.report``.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from cluster_stack import changed, project
from cluster_stack.config import ConfigError, cluster_names
from cluster_stack.git import GitError

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
    "talos_version",
    "kubernetes_version",
    "talos_version_contract",
    "flux_version",
)
"""The fields of ``automation.Outputs``, which cannot be asked without importing Pulumi."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit code (0 done, 1 refused or failed, 130 interrupted)."""
    options = _parser().parse_args(arguments)
    try:
        code = _run(options)
        sys.stdout.flush()
        return code
    except (ConfigError, GitError) as error:
        print(error, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        # Whoever reads has seen enough (`| head`). What is left goes nowhere, also what is written at the exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1


def _run(options: argparse.Namespace) -> int:
    match options.command:
        case "check":
            return _check(options.clusters, infrastructure=options.infrastructure, as_json=options.json)
        case "show":
            return _show(options.cluster, options.svg, as_json=options.json)
        case "diff":
            return _diff(options.cluster, options.base, as_json=options.json)
        case "changed":
            _print_changed(options.base, options.format)
            return 0
        case _:
            return _run_pulumi(options)


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
    check.add_argument(
        "--infrastructure", action="store_true", help="also every component of infrastructure/, chosen or not"
    )
    show = command("show", "Show the machines of a cluster as they are planned: a table and a drawing. Asks nobody.")
    show.add_argument("--svg", type=Path, metavar="FILE", help="write the drawing to a file, as an SVG image")
    diff = command("diff", "Say what the edits of cluster.yaml would do to which machine. Asks nobody but git.")
    diff.add_argument("--base", default="HEAD", metavar="REV", help="the revision to compare with (%(default)s)")
    for offline in (check, show, diff):
        offline.add_argument("--json", action="store_true", help="print one JSON document")
    help_text = "Name the clusters that a change may alter, by the files that HEAD changed since it left a revision."
    touched = commands.add_parser("changed", help=help_text, description=help_text)
    touched.add_argument("--base", required=True, metavar="REV", help="the revision, such as origin/main")
    touched.add_argument("--format", choices=["text", "json"], default="text", help="json: a list of names (text)")
    return parser


def _check(names: Sequence[str], *, infrastructure: bool, as_json: bool) -> int:
    from cluster_stack.report import check

    clusters = check.check(project.ROOT, names, infrastructure=infrastructure)
    if as_json:
        print(check.as_json(clusters))
    else:
        check.write(clusters)
    return 1 if any(cluster.problems for cluster in clusters) else 0


def _show(name: str, svg: Path | None, *, as_json: bool) -> int:
    from cluster_stack.report import cluster, picture, text
    from cluster_stack.report.terminal import terminal

    view = cluster.ClusterView(project.plan(name, project.ROOT))
    if svg is not None:
        try:
            svg.write_text(picture.draw(view), encoding="utf-8")
        except OSError as error:
            print(f"{svg} cannot be written: {error.strerror}.", file=sys.stderr)
            return 1
    print(cluster.as_json(view) if as_json else f"{svg}: {view.summary}" if svg else text.draw(view, terminal()))
    return 0


def _diff(name: str, base: str, *, as_json: bool) -> int:
    from cluster_stack.report import diff
    from cluster_stack.report.terminal import terminal

    found = diff.diff(project.ROOT, name, base)
    print(diff.as_json(found) if as_json else diff.as_text(found, terminal()))
    return 1 if found.changes.refused else 0


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
