"""The faults that hold now, each in a line: what it is, and the words that set it.

That something takes another time than usual is said, and breaks nothing. What only waits to strike is not shown.
"""

from __future__ import annotations

from lab.faults.command import describe
from lab.faults.fault import Fault, Faults

DELAY = "delay"


def broken(faults: Faults) -> list[str]:
    return [_line(fault) for fault in faults if fault.kind != DELAY and fault.condition == "holds"]


def unusual_delays(faults: Faults) -> list[str]:
    return [f"Not as usual: {describe(fault)}" for fault in faults.holding(DELAY)]


def _line(fault: Fault) -> str:
    return f"{fault.of.title}: {describe(fault)}"
