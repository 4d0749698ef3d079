"""`python -m lab fault ...`: the words of the command line, made of the registry. The work is the control's."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from typing import Any, NoReturn

from lab.control import Client
from lab.directory import LabDirectory
from lab.faults import kinds
from lab.faults.fault import Fault
from lab.faults.kinds import KINDS, FaultError, Kind, Shape

PROGRAM = "python -m lab fault"
USAGE = f"""{PROGRAM} list
       {PROGRAM} set <kind> [target] [--option value ...] [--match METHOD:PATH] [--at N] [--times N]
       {PROGRAM} clear [<id> | --all]"""


class _Parser(argparse.ArgumentParser):
    """One whose refusals are errors like any other of the lab, with the way to its help."""

    def __init__(self, **about: Any) -> None:
        super().__init__(allow_abbrev=False, **about)

    def error(self, message: str) -> NoReturn:
        raise FaultError(f"{message}; see {self.prog} --help")


def run(directory: LabDirectory, words: Sequence[str]) -> int:
    """Carry a command out. Raises FaultError or ControlError."""
    parser = _Parser(prog=PROGRAM, usage=USAGE, formatter_class=argparse.RawDescriptionHelpFormatter, epilog=_table())
    parser.description = "What is wrong with the site, and what can be; docs/faults.md has all of it."
    parser.add_argument("command", choices=("list", "set", "clear"))
    parser.add_argument("words", nargs=argparse.REMAINDER, help=argparse.SUPPRESS)
    chosen = parser.parse_args(words)
    commands = {"list": _list, "set": _set, "clear": _clear}
    return commands[chosen.command](Client(directory), chosen.words)


def _list(client: Client, words: Sequence[str]) -> int:
    parser = _Parser(prog=f"{PROGRAM} list", description="What holds or waits, and what there is.")
    _add_json(parser)
    if parser.parse_args(words).json:
        print(
            json.dumps({"faults": [_as_json(fault) for fault in client.faults()], "kinds": _kinds_as_json()}, indent=1)
        )
        return 0
    present = list(client.faults())
    print("Now:" if present else "Nothing is wrong.")
    for fault in present:
        print(f"  {fault.id}: {describe(fault)}: {fault.condition}")
    print(f"\nWhat there is ({PROGRAM} set <kind> --help):\n{_table()}")
    return 0


def _set(client: Client, words: Sequence[str]) -> int:
    if not words or words[0] in ("-h", "--help"):
        print(f"usage: {USAGE}\n\nkinds:\n{_table()}")
        return 0
    kind = kinds.find(words[0])
    given = vars(_parser_of(kind).parse_args(words[1:]))
    as_json, given["target"] = given.pop("json"), given.get("target")
    fault = client.set_fault(kind.name, **{name: value for name, value in given.items() if value is not None})
    if as_json:
        print(json.dumps(_as_json(fault), indent=1))
    elif fault.id:
        print(f"lab: {fault.id}: {describe(fault)}: {fault.condition}")
    else:
        print(f"lab: {describe(fault)}: it happened")
    return 0


def _clear(client: Client, words: Sequence[str]) -> int:
    parser = _Parser(prog=f"{PROGRAM} clear", description="End a fault, or all of them.")
    parser.add_argument("id", nargs="?", help="as `fault list` shows it; may be left out where there is one only")
    parser.add_argument("--all", action="store_true", help="all of them")
    _add_json(parser)
    chosen = parser.parse_args(words)
    present = [fault.id for fault in client.faults()]
    if chosen.id and chosen.all:
        raise FaultError(f"either {chosen.id} or --all, not both")
    if not chosen.id and not chosen.all and len(present) > 1:
        raise FaultError(f"which one? {', '.join(present)}; or --all")
    cleared = client.clear_faults(chosen.id)
    if chosen.json:
        print(json.dumps([_as_json(fault) for fault in cleared], indent=1))
    else:
        print("\n".join(f"lab: {fault.id} is over" for fault in cleared) or "lab: nothing was wrong")
    return 0


def describe(fault: Fault) -> str:
    """A fault in the words of the command that sets it."""
    words = [fault.kind, *([fault.target] if fault.target else [])]
    words += [f"--{name} {json.dumps(value) if ' ' in str(value) else value}" for name, value in fault.options.items()]
    when = {"match": fault.match, "at": fault.at, "times": fault.times}
    return " ".join([*words, *(f"--{name} {value}" for name, value in when.items() if value is not None)])


def _parser_of(kind: Kind) -> _Parser:
    parser = _Parser(prog=f"{PROGRAM} set {kind.name}", formatter_class=argparse.RawDescriptionHelpFormatter)
    differs = [f"Unlike a real site: {kind.differs}"] if kind.differs else []
    about = [f"{kind.title}: it {kind.shape.value}.", kind.effect, f"Plays: {kind.plays}", *differs]
    parser.description = "\n".join(about)
    if kind.target:
        optional = {} if kind.target_required else {"nargs": "?"}
        parser.add_argument("target", help=f"which {kind.target.value}", **optional)  # type: ignore[arg-type]
    for option in kind.options:
        usual = "" if option.default is None else f", default: {option.default}"
        meaning = f"{option.meaning} ({option.allowed}{usual})"
        parser.add_argument(f"--{option.name}", required=option.required, help=meaning.replace("%", "%%"))
    strikes = kind.shape in (Shape.REQUEST, Shape.TASK)
    matching = "which requests it is about" if strikes else "wait for a request like this"
    parser.add_argument(
        "--match", help=f"{matching}, such as 'POST:/nodes/*/qemu'; * is one part of a path, ** any number"
    )
    parser.add_argument("--at", type=int, help="strike from the N-th that matches on; by default once")
    if kind.shape is not Shape.STATE:
        parser.add_argument("--times", type=int, help="so many times")
    parser.add_argument("--expected", action="store_true", default=None, help="the VM or volume is still to come")
    _add_json(parser)
    return parser


def _add_json(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="for programs")


def _table() -> str:
    width = max(len(kind.name) for kind in KINDS)
    return "\n".join(f"  {kind.name:{width}}  {kind.title}" for kind in KINDS)


def _as_json(fault: Fault) -> dict[str, Any]:
    return {**fault.model_dump(mode="json"), "condition": fault.condition if fault.id else "happened"}


def _kinds_as_json() -> list[dict[str, Any]]:
    return [
        {
            "kind": kind.name,
            "title": kind.title,
            "effect": kind.effect,
            "plays": kind.plays,
            "shape": kind.shape.name.lower(),
            "target": kind.target.value if kind.target else None,
            "options": {option.name: option.allowed for option in kind.options},
            "differs": kind.differs,
        }
        for kind in KINDS
    ]
