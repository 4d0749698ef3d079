"""The steps of a recorded update as lanes: one for Pulumi itself, one per machine, one for what comes out of it."""

from __future__ import annotations

from dataclasses import dataclass

from tests.bench.steps import MachineSteps, Step, UpSteps


@dataclass(frozen=True)
class Lane:
    title: str
    subtitle: str
    steps: tuple[Step, ...]


@dataclass(frozen=True)
class Timeline:
    command: str
    summary: str
    lanes: tuple[Lane, ...]
    seconds: float
    """When the command ended. A machine may still be busy then."""


def timeline_of(steps: UpSteps, cluster: str) -> Timeline:
    opening = [step for step in (steps.preview, steps.begin, steps.secrets) if step]
    lanes = [Lane("pulumi", "reads, plans, checks", tuple(opening))]
    lanes += [_machine_lane(way, steps, first=way is steps.machines[0]) for way in steps.machines]
    lanes.append(Lane(cluster, "the cluster's outputs", (steps.kubeconfig,)))
    return Timeline(
        command=f"pulumi up -s {cluster}",
        summary=f"from nothing to a Talos cluster in {steps.seconds:.0f} seconds",
        lanes=tuple(lanes),
        seconds=steps.seconds,
    )


def _machine_lane(way: MachineSteps, steps: UpSteps, *, first: bool) -> Lane:
    role = "control plane" if way.machine.is_control_plane else "worker"
    ways = (way.create, way.power_on, way.boot, way.configure, way.install)
    return Lane(way.machine.name, f"{role}, VM {way.machine.vmid}", (*ways, steps.bootstrap) if first else ways)
