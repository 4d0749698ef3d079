"""What a recorded `pulumi up` did, step by step, in words: made from the three logs and nothing else."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from tests.bench.recording import API_RUNS, Machine, Recording

Who = Literal["pulumi", "proxmox", "talos"]


@dataclass(frozen=True)
class Step:
    """Something that took time, in seconds since the update began."""

    title: str
    who: Who
    """Whose work it is that the time passes with."""
    begin: float
    end: float
    source: str
    """Where the times are from."""

    @property
    def seconds(self) -> float:
        return self.end - self.begin


@dataclass(frozen=True)
class MachineSteps:
    """One machine's way from nothing to a node."""

    machine: Machine
    create: Step
    power_on: Step
    boot: Step
    """Begins while the provider still waits for its next look at the power-on task."""
    configure: Step
    install: Step
    """Until its API is up again, now from the disk and with its own certificates."""


@dataclass(frozen=True)
class UpSteps:
    """A whole update that made a cluster."""

    preview: Step | None
    """None with --skip-preview."""
    begin: Step
    """Until the first resource: the engine and the program start, cluster.yaml is read, Proxmox is asked."""
    secrets: Step
    machines: tuple[MachineSteps, ...]
    bootstrap: Step
    kubeconfig: Step
    seconds: float
    """The whole update."""


def steps_of(recording: Recording, cluster: str) -> UpSteps:
    previewed = [event.time for event in recording.events if event.kind == "previewed"]
    start = previewed[0] if previewed else recording.began
    secrets = _resource(recording, f"{cluster}-secrets", "make the machine secrets")
    return UpSteps(
        preview=_step(recording, "preview the changes", "pulumi", recording.began, start, "engine events")
        if previewed
        else None,
        begin=Step("read cluster.yaml, ask Proxmox", "pulumi", start - recording.began, secrets.begin, "engine events"),
        secrets=secrets,
        machines=tuple(_machine_steps(recording, machine) for machine in recording.machines),
        bootstrap=_resource(recording, f"{cluster}-bootstrap", "bootstrap etcd", "talos"),
        kubeconfig=_resource(recording, f"{cluster}-kubeconfig", "fetch the kubeconfig", "talos"),
        seconds=recording.ended - recording.began,
    )


def _machine_steps(recording: Recording, machine: Machine) -> MachineSteps:
    vm = f"/qemu/{machine.vmid}"
    created = _first(request.time for request in recording.requests if request.creates == machine.vmid)
    started = _first(request.time for request in recording.requests if request.path.endswith(f"{vm}/status/start"))
    on = _polls(recording, "qmstart", machine)[-1]
    answered = _first(
        request.time
        for request in recording.requests
        if request.path.endswith(f"{vm}/agent/network-get-interfaces") and request.status == 200 and request.time >= on
    )
    configure = _resource(recording, f"{machine.name}-config", "apply the machine configuration", "talos")
    applied = recording.began + configure.begin
    up_again = _first(line.time for line in machine.console if API_RUNS in line.text and line.time > applied)
    polls = "Proxmox requests: from the POST to the poll that sees the task ended"
    return MachineSteps(
        machine=machine,
        create=_step(recording, "create the VM", "proxmox", created, _polls(recording, "qmcreate", machine)[-1], polls),
        power_on=_step(recording, "power on", "proxmox", started, on, polls),
        boot=_step(
            recording,
            "boot the ISO, report the address",
            "talos",
            _first(line.time for line in machine.console),
            answered,
            "console, Proxmox requests: until the guest agent answers the provider",
        ),
        configure=configure,
        install=Step(
            "install to disk, reboot" if machine is recording.machines[0] else "install to disk, reboot, join",
            "talos",
            configure.end,
            up_again - recording.began,
            "engine event of the configuration, console: apid runs",
        ),
    )


def _polls(recording: Recording, task: str, machine: Machine) -> list[float]:
    polls = [request.time for request in recording.requests if f":{task}:{machine.vmid}:" in request.path]
    if not polls:
        raise ValueError(f"the recording has no task {task} of {machine.name}")
    return polls


def _resource(recording: Recording, name: str, title: str, who: Who = "pulumi") -> Step:
    def when(kind: str) -> float:
        return _first(
            event.time
            for event in recording.events
            if event.resource == name and event.kind == kind and not event.planning
        )

    return _step(recording, title, who, when("begin"), when("end"), "engine events of the resource")


def _step(recording: Recording, title: str, who: Who, begin: float, end: float, source: str) -> Step:
    return Step(title, who, begin - recording.began, end - recording.began, source)


def _first(times: Iterator[float]) -> float:
    for time in times:
        return time
    raise ValueError("the recording lacks a step: did the update make this cluster from nothing?")
