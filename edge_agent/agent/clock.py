"""The plant clocks: the wall clock of a gateway, and the scaled clock of the demo.

The demo's clock is a small JSON file that all its processes read: ``{"epoch": "2026-10-25T04:50:00Z", "speed": 30, "started": null}``. While
``started`` is null the plant stands still at the epoch; then it holds the CLOCK_MONOTONIC time of the start in ns, which is the same
for every process of a machine. A restarted agent finds the same epoch and goes on in the same plant time.
"""

from __future__ import annotations

import asyncio
import json
import os
import time
from pathlib import Path
from typing import Any

from edge_agent.model.errors import ConfigError
from edge_agent.model.instant import NS, parse
from edge_agent.ports import PlantClock

CLOCK_FILE = "EDGE_AGENT_CLOCK"
"""Environment variable that names the demo's clock file."""

_LOOK_AGAIN = 1.0
"""Longest sleep in machine seconds before the clock is asked again: a stepped wall clock moves deadlines."""

_POLL_START = 0.02


class WallClock:
    """UTC of the operating system, one plant second per machine second."""

    speed = 1.0

    def now(self) -> int:
        """Return UTC ns."""
        return time.time_ns()

    async def sleep_until(self, time: int) -> None:
        """Return when the wall clock has reached ``time``."""
        await _sleep(self, time)


class FileClock:
    """Plant time from the demo's clock file: stands at the epoch until started, then runs ``speed`` times as fast as the machine."""

    def __init__(self, path: Path) -> None:
        """Read the file; raises ConfigError when it is no clock file."""
        self._path = path
        self._started: int | None = None
        self._read()

    def _read(self) -> None:
        try:
            content = json.loads(self._path.read_text(encoding="utf-8"))
            self._epoch = parse(content["epoch"])
            self.speed = _speed(content["speed"])
            self._started = _start(content["started"])
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise ConfigError(
                f"{CLOCK_FILE}={self._path} is no clock file ({error}); unset {CLOCK_FILE} to use the wall clock"
            ) from error

    def now(self) -> int:
        """Return plant time in UTC ns. It never lies before the epoch: the start may be announced a moment ahead."""
        if self._started is None:
            return self._epoch
        return self._epoch + max(0, round((time.monotonic_ns() - self._started) * self.speed))

    async def sleep_until(self, time: int) -> None:
        """Return when plant time has reached ``time``; waits for the start first."""
        while self._started is None and time > self._epoch:
            await asyncio.sleep(_POLL_START)
            self._read()
        await _sleep(self, time)


def _speed(value: Any) -> float:
    speed = float(value)
    if not 0 < speed < float("inf"):
        raise ValueError(f"at speed {speed} a plant does not run")
    return speed


def _start(value: object) -> int | None:
    if value is not None and type(value) is not int:
        raise ValueError(f"{value!r} is no start: CLOCK_MONOTONIC in ns, or null")
    return value


async def _sleep(clock: PlantClock, time: int) -> None:
    while (left := time - clock.now()) > 0:  # noqa: ASYNC110 - a clock makes no events
        await asyncio.sleep(min(left / NS / clock.speed, _LOOK_AGAIN))
    await asyncio.sleep(0)


def plant_clock() -> PlantClock:
    """Return the clock that the environment asks for: the demo's file clock, else the wall clock."""
    path = os.environ.get(CLOCK_FILE)
    return FileClock(Path(path)) if path else WallClock()
