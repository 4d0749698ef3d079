"""Writes docs/faults.md from the registry: `python -m lab.faults.page`."""

from __future__ import annotations

from collections.abc import Iterator

from lab.directory import REPOSITORY
from lab.faults.kinds import KINDS, Kind

PAGE = REPOSITORY / "docs" / "faults.md"
HEAD = """# What can go wrong with the lab, on command

<!-- Made from lab/faults/kinds.py by `python -m lab.faults.page`. -->

```
.venv/bin/python -m lab fault list                      # what holds or waits, and what there is
.venv/bin/python -m lab fault set network-cut homelab-cp1
.venv/bin/python -m lab fault set api-error --status 595 --match 'POST:/nodes/*/qemu' --at 2
.venv/bin/python -m lab fault clear network-cut-1       # or --all
```

A fault holds, or has happened, once `set` returns. It is kept in the lab's folder: what is broken stays broken through `lab stop` and
`lab start`, and can be broken before a start. `--json` is for programs; tests use `lab.control.Client.set_fault` and `clear_faults`.

* **A target** is checked: a VM by its id or name, everything else by its name. What is still to come is named with `--expected`: a VM by
  the id that it will have, a volume.
* **`--match METHOD:PATH`** says which requests to Proxmox a fault is about. The path is that of Proxmox's API viewer; `*` is one part of it, `**`
  any number, as a method `*` is any. For tasks, it is the request that starts the task.
* **`--at N`** strikes at the N-th request (or task) that matches, counted from the setting of the fault. Whatever does not strike requests by itself
  waits for that request, and comes before it is answered: `vm-kill 800 --match 'POST:/nodes/*/qemu/800/config' --at 1`.
* **`--times N`** strikes N of them, one after another. `--at` alone strikes once.
* What has struck as often as it should stays in the list, as a note, until it is cleared.

"""


def text() -> str:
    return HEAD + _overview() + "".join(f"\n{part}" for kind in KINDS for part in _section(kind))


def _overview() -> str:
    rows = (f"| [{kind.name}](#{kind.name}) | {kind.title} | {_target(kind)} |\n" for kind in KINDS)
    return "| Fault | | Target |\n|---|---|---|\n" + "".join(rows)


def _target(kind: Kind) -> str:
    if kind.target is None:
        return ""
    return kind.target.value if kind.target_required else f"{kind.target.value}, or none"


def _section(kind: Kind) -> Iterator[str]:
    yield f"## {kind.name}\n"
    yield f"{kind.title}: it {kind.shape.value}. {kind.effect}\n"
    yield f"Plays: {kind.plays}\n"
    if kind.differs:
        yield f"Unlike a real site: {kind.differs}\n"
    if kind.needs_running_lab:
        yield "Set and cleared while the lab runs.\n"
    if kind.options:
        rows = (
            f"| `--{option.name}` | {option.meaning} | {option.allowed} | "
            f"{'required' if option.required else '' if option.default is None else f'`{option.default}`'} |\n"
            for option in kind.options
        )
        yield "| Option | | May be | Default |\n|---|---|---|---|\n" + "".join(rows)


if __name__ == "__main__":
    PAGE.write_text(text(), encoding="utf-8")
