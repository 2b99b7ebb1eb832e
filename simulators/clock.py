"""The plant clock that all processes of a run share.

A JSON file ``{"epoch": "2026-10-25T04:50:00Z", "speed": 30.0, "started": null}`` holds it: while ``started`` is null the plant stands at
t=0, then it is the CLOCK_MONOTONIC time of the start in ns (the same for all processes of one machine on Linux). The file is
replaced atomically; a simulator reads it again every 20 ms until it has started, and never after that.
"""

from __future__ import annotations

import asyncio
import json
import time
from datetime import datetime, timedelta
from pathlib import Path

from simulators.timed import Timed
from simulators.vocabulary import SECOND

_POLL_START = 0.02


class ClockError(ValueError):
    """A clock file cannot be read or belongs to another scenario."""


class Clock:
    """Plant time: t in ns since the epoch, from 0 to ``length`` (None: no end), then standing still."""

    def __init__(
        self, epoch: datetime, speed: float, started: int | None, length: int | None = None, path: Path | None = None
    ) -> None:
        self.epoch = epoch
        self.speed = speed
        self.length = length
        self._started = started
        self._path = path

    @property
    def started(self) -> bool:
        """Say whether the plant runs."""
        return self._started is not None

    def t(self) -> int:
        """Give the plant time since the epoch in ns."""
        return 0 if self._started is None else self.t_of(time.monotonic_ns())

    def t_of(self, monotonic: int) -> int:
        """Give the plant time of a CLOCK_MONOTONIC instant in ns."""
        if self._started is None:
            return 0
        t = max(round((monotonic - self._started) * self.speed), 0)
        return t if self.length is None else min(t, self.length)

    def utc(self, t: int) -> datetime:
        """Give t as UTC, to the microsecond."""
        return self.epoch + timedelta(microseconds=t // 1000)

    async def wait_started(self) -> None:
        """Return when the plant runs."""
        while self._started is None:
            await asyncio.sleep(_POLL_START)
            if self._path is not None:
                self._started = _read(self._path)[2]

    async def sleep_until(self, t: int) -> None:
        """Return when ``t`` is reached, at once when it is past; never returns for a t after ``length``."""
        await self.wait_started()
        if self.length is not None and t > self.length:
            await asyncio.Event().wait()
        while (left := t - self.t()) > 0:  # noqa: ASYNC110 - time makes no events
            await asyncio.sleep(left / self.speed / SECOND)


def start_clock(scenario: Timed, speed: float) -> Clock:
    """Make a clock that starts now."""
    return Clock(scenario.epoch, speed, time.monotonic_ns(), scenario.length)


def read_clock(path: Path, scenario: Timed | None = None) -> Clock:
    """Make the clock that a file describes; `ClockError` when it is unreadable or not the scenario's."""
    epoch, speed, started = _read(path)
    if scenario is None:
        return Clock(epoch, speed, started, None, path)
    if epoch != scenario.epoch:
        raise ClockError(f"{path}: epoch {epoch.isoformat()} is not that of scenario {scenario.name}, {scenario.epoch.isoformat()}")
    return Clock(epoch, speed, started, scenario.length, path)


def write_clock(path: Path, scenario: Timed, speed: float, started: int | None = None) -> None:
    """Put a clock file in place atomically; ``started`` is a CLOCK_MONOTONIC time in ns."""
    content = {"epoch": scenario.epoch.isoformat().replace("+00:00", "Z"), "speed": speed, "started": started}
    beside = path.with_suffix(".new")
    beside.write_text(json.dumps(content), encoding="utf-8")
    beside.replace(path)


def _read(path: Path) -> tuple[datetime, float, int | None]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        started = content["started"]
        return datetime.fromisoformat(content["epoch"]), float(content["speed"]), None if started is None else int(started)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ClockError(f"{path}: no clock file: {error}") from error
