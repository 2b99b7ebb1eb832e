"""What is polled together: the blocks of one device that share a period, and when they are due."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from edge_agent.drivers.modbus.device import Device
from edge_agent.drivers.modbus.schedule import Grid, phases
from edge_agent.drivers.modbus.watch import Watch


class Moment(NamedTuple):
    """The same instant in plant time (ns) and in machine seconds."""

    plant: int
    machine: float


class Job:
    """The blocks of one device that share a period, and their grid; ``polled`` is when (machine seconds) they were due last."""

    def __init__(self, device: Device, watches: list[Watch], phase: int, polled: Moment) -> None:
        self.device = device
        self.watches = watches
        self.grid = Grid(watches[0].block.period, phase, polled.plant)
        self.polled = polled.machine


def jobs_of(devices: Sequence[Device], started: Mapping[str, Moment], now: Moment) -> list[Job]:
    """Return one job for each device and period, their phases spread over the period so that they do not all come at once.

    Each begins when its device was first asked, if it was: a start that takes long, or a machine that has no time after it, misses polls, too.
    """
    groups = [
        (device, [watch for watch in device.watches if watch.block.period == period])
        for device in devices
        for period in sorted({watch.block.period for watch in device.watches})
    ]
    spread = phases([watches[0].block.period for _, watches in groups])
    first = {device.name: now for device in devices} | dict(started)
    return [Job(device, watches, phase, first[device.name]) for (device, watches), phase in zip(groups, spread, strict=True)]
