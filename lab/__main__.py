"""`python -m lab`: the lab's command line. Words in, words out; the work is in lab.lifecycle."""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Callable, Sequence
from typing import TextIO

from lab import lifecycle, programs
from lab.control import Client, ControlError
from lab.datacentre import Datacentre, DatacentreError, load
from lab.directory import LabDirectory
from lab.faults import command
from lab.faults.fault import Fault
from lab.faults.kinds import FaultError
from lab.lifecycle import LabError
from lab.namespace import NamespaceError
from lab.programs import ProgramError

STOPPED = 3
"""As `systemctl status` answers for what is not running."""


def main(arguments: Sequence[str] | None = None) -> int:
    options = _parser().parse_args(arguments)
    directory = LabDirectory.find(options.directory)
    commands: dict[str, Callable[[], int]] = {
        "start": lambda: _start(directory, load(directory.datacentre)),
        "stop": lambda: _stop(directory),
        "restart": lambda: _stop(directory) or _start(directory, load(directory.datacentre)),
        "status": lambda: (_status_for_tools if options.json else _status)(directory, load(directory.datacentre)),
        "exec": lambda: _exec(directory, load(directory.datacentre), options),
        "schematic": lambda: _schematic(directory, options.files),
        "fault": lambda: command.run(directory, options.words),
        "erase": lambda: _erase(directory),
    }
    try:
        return commands[options.command]()
    except (LabError, DatacentreError, NamespaceError, ControlError, ProgramError, FaultError) as error:
        print(f"lab: {error}", file=sys.stderr)
        return 1
    except BrokenPipeError:  # whoever read along has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m lab", description="A datacentre in a box.")
    parser.add_argument("--directory", help="the lab's folder (default: $LAB_DIRECTORY, else .lab in the repository)")
    commands = parser.add_subparsers(dest="command", required=True, metavar="command")
    commands.add_parser("start", help="start the lab and wait until everything answers")
    commands.add_parser("stop", help="cut its power; what it knows stays in its folder")
    commands.add_parser("restart", help="stop, then start")
    status = commands.add_parser("status", help="what runs, and how to reach it")
    status.add_argument("--json", action="store_true", help="for tools")
    execute = commands.add_parser("exec", help="run a command inside: exec -- pulumi up -s homelab")
    execute.add_argument("words", nargs=argparse.REMAINDER, metavar="-- command")
    schematic = commands.add_parser("schematic", help="post schematics to the Image Factory; prints their ids")
    schematic.add_argument("files", nargs="+", type=argparse.FileType(), metavar="file", help="YAML; - reads the input")
    fault = commands.add_parser("fault", help="break the site: list, set, clear", add_help=False)
    fault.add_argument("words", nargs=argparse.REMAINDER)
    commands.add_parser("erase", help="remove the folder of a stopped lab")
    return parser


def _start(directory: LabDirectory, datacentre: Datacentre) -> int:
    began = time.monotonic()
    pid = lifecycle.start(directory, datacentre, lambda: programs.find(kubernetes=datacentre.kubernetes))
    print(f"lab: started in {time.monotonic() - began:.1f} s in {directory.root} (pid {pid})")
    print(f"  watch it in a browser: {lifecycle.page(directory)}")
    for name, address in datacentre.names.items():
        print(f"  https://{name}/  {address}")
    back = [guest for guest in lifecycle.status(directory)["guests"] if guest["running"] and not guest["foreign"]]
    if back:
        print(f"  powered on again: {', '.join(guest['name'] for guest in back)}")
    return 0


def _stop(directory: LabDirectory) -> int:
    if lifecycle.running(directory) is None:
        print(f"lab: none is running in {directory.root}")
        return 0
    for ended in lifecycle.stop(directory):
        print(f"lab: ended {ended}, which still ran inside")
    print(f"lab: stopped; {directory.root} keeps what it knows")
    return 0


def _status(directory: LabDirectory, datacentre: Datacentre) -> int:
    pid = lifecycle.running(directory)
    if pid is None:
        print(f"lab: none is running in {directory.root}")
        return STOPPED
    print(f"lab: running in {directory.root} since {lifecycle.started_at(directory)} (pid {pid})")
    print(f"  watch it in a browser: {lifecycle.page(directory)}")
    for name, address in datacentre.names.items():
        print(f"  https://{name}/  {address}")
    print("  API token: python -m lab exec -- printenv PROXMOX_VE_API_TOKEN")
    found = lifecycle.status(directory)
    for guest in found["guests"]:
        power = "running" if guest["running"] else "stopped"
        whose = ", somebody else's" if guest["foreign"] else ""
        print(f"  VM {guest['vmid']} {guest['name']} on {guest['node']}: {power}{whose}")
    for fault in map(Fault.model_validate, found["faults"]):
        print(f"  fault {fault.id}: {command.describe(fault)}: {fault.condition}")
    return 0


def _status_for_tools(directory: LabDirectory, datacentre: Datacentre) -> int:
    pid = lifecycle.running(directory)
    about: dict[str, object] = {"running": pid is not None, "directory": str(directory.root)}
    if pid is not None:
        names = {name: str(address) for name, address in datacentre.names.items()}
        about |= {"pid": pid, "page": lifecycle.page(directory), "names": names, **lifecycle.status(directory)}
    print(json.dumps(about, indent=1))
    return 0 if pid is not None else STOPPED


def _exec(directory: LabDirectory, datacentre: Datacentre, options: argparse.Namespace) -> int:
    words = options.words[1:] if options.words[:1] == ["--"] else options.words
    if not words:
        raise LabError("nothing to run: python -m lab exec -- <command>")
    lifecycle.execute(directory, datacentre, words)


def _schematic(directory: LabDirectory, files: Sequence[TextIO]) -> int:
    client = Client(directory)
    for file in files:
        print(client.post_schematic(file.read()))
    return 0


def _erase(directory: LabDirectory) -> int:
    lifecycle.erase(directory)
    print(f"lab: {directory.root} is gone")
    return 0


if __name__ == "__main__":
    sys.exit(main())
