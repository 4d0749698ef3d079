"""`python -m cluster_stack ...`: a thin face on ``cluster_stack.automation``."""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
from collections.abc import Sequence

from cluster_stack import automation, recovery
from cluster_stack.config import ConfigError

OUTPUTS = [entry.name for entry in dataclasses.fields(automation.Outputs)]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit code (0 done, 1 refused or failed, 130 interrupted)."""
    options = _parser().parse_args(arguments)
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
    except (ConfigError, automation.ClusterError) as error:
        print(error, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
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
    return parser


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
