"""The command line: `python -m toolchain ensure | status | environment`."""

from __future__ import annotations

import argparse
import os
import shlex
import signal
import sys

from toolchain.ensure import ensure
from toolchain.errors import ToolchainError
from toolchain.installation import Installation
from toolchain.processes import say
from toolchain.tools import tools

EPILOG = """environment variables:
  TOOLCHAIN_KEEP_CACHES=1     the same as --keep-caches
  TOOLCHAIN_GO_CACHES=shared  build with Go's own caches instead of private ones
  XDG_CACHE_HOME              finished programs are kept in cluster-stack/toolchain under it (else under ~/.cache)

`ensure` keeps what it has once decided for. To let it decide anew, remove the folder .toolchain."""


def arguments() -> argparse.ArgumentParser:
    """What can be typed."""
    parser = argparse.ArgumentParser(
        prog="python -m toolchain",
        description="Provides what the project runs: the Pulumi CLI, its plugins, talosctl, and the parts of the lab.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(dest="command", required=True)
    making = commands.add_parser("ensure", help="find, download or build what is missing")
    making.add_argument("--from-source", action="store_true", help="build, even what could be found or downloaded")
    making.add_argument(
        "--keep-caches", action="store_true", help="keep the builds' Go caches (several GB) for the next"
    )
    making.add_argument(
        "names",
        nargs="*",
        metavar="NAME",
        help="a tool, such as talosctl; by default all but those that are built on request (`status` lists them)",
    )
    commands.add_parser("status", help="what is used, in which version, from where")
    commands.add_parser("environment", help="print the variables that make a shell use it, for eval")
    return parser


def status(installation: Installation) -> bool:
    """Print one line for each program; whether everything is there."""
    rows = [("PROGRAM", "VERSION", "FROM", "PATH")]
    complete = True
    for tool in tools().values():
        entry = installation.usable(tool)
        if entry is None and tool.on_request:
            rows.append((tool.name, tool.version, "on request", f"`python -m toolchain ensure {tool.name}`"))
            continue
        if entry is None:
            complete = False
            rows.append((tool.programs[0], tool.version, "missing", "run `python -m toolchain ensure`"))
            continue
        for name, program in zip(tool.programs, entry.programs, strict=True):
            rows.append((name, program.version, f"{entry.origin} {entry.detail}", program.path))
    widths = [max(len(row[column]) for row in rows) for column in range(3)]
    for row in rows:
        say("  ".join([*(cell.ljust(width) for cell, width in zip(row, widths, strict=False)), row[3]]))
    return complete


def main(argv: list[str] | None = None) -> int:
    """Run one command; errors are sentences on standard error."""
    given = arguments().parse_args(argv)
    try:
        if given.command == "ensure":
            # So that a run that is told to end also ends what it started, and cleans up.
            signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
            keep = given.keep_caches or os.environ.get("TOOLCHAIN_KEEP_CACHES") == "1"
            ensure(given.names, from_source=given.from_source, keep_caches=keep)
        elif given.command == "status":
            return 0 if status(Installation()) else 1
        else:
            for name, value in Installation().environment().items():
                say(f"export {name}={shlex.quote(value)}")
    except BrokenPipeError:  # whoever read along has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # for what is written at the exit
        return 1
    except (ToolchainError, OSError) as error:  # the latter names the file, and what the system says of it
        print(f"toolchain: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("toolchain: interrupted; finished tools are kept, run it again to go on", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
