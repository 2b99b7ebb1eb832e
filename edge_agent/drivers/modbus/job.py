"""What is polled together: the blocks of one device that share a period, and when they are due."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from edge_agent.drivers.modbus.device import Device
from edge_agent.drivers.modbus.schedule import Grid, phases
from edge_agent.drivers.modbus.watch import Watch


class Job:
    """The blocks of one device that share a period, and their grid; ``polled`` is when (machine seconds) they were due last."""

    def __init__(self, device: Device, watches: list[Watch], phase: int, now: int) -> None:
        self.device = device
        self.watches = watches
        self.grid = Grid(watches[0].block.period, phase, now)
        self.polled = asyncio.get_running_loop().time()


def jobs_of(devices: Sequence[Device], now: int) -> list[Job]:
    """Return one job for each device and period, their phases spread over the period so that they do not all come at once."""
    groups = [
        (device, [watch for watch in device.watches if watch.block.period == period])
        for device in devices
        for period in sorted({watch.block.period for watch in device.watches})
    ]
    spread = phases([watches[0].block.period for _, watches in groups])
    return [Job(device, watches, phase, now) for (device, watches), phase in zip(groups, spread, strict=True)]
