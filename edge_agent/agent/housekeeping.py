"""What an agent does by the way, for as long as it runs: sign of life, calendar, a look at the wall clock, systemd's watchdog."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Coroutine
from typing import Any

import structlog

from edge_agent.agent.build import Parts
from edge_agent.agent.clock import WallClock
from edge_agent.agent.faults import CLOCK_UNSYNCED
from edge_agent.agent.notify import notify, watchdog_seconds
from edge_agent.ports import PlantClock

_ALIVE = 10.0
"""Seconds of machine time between two notes that the agent lives."""
_STEP = 500_000_000
"""Nanoseconds by which the wall clock may part from the monotonic one between two looks."""


_LOOK = 1.0
"""Seconds of machine time between two looks at the clock."""


def _apart() -> int:
    """Return the wall clock minus the monotonic one, in ns."""
    return time.time_ns() - time.monotonic_ns()


def housekeeping(parts: Parts, clock: PlantClock, awake: asyncio.Event) -> list[tuple[str, Coroutine[Any, Any, None]]]:
    """Return the work by name; ``awake`` is set once the store is open."""
    work = [("heartbeat", heartbeat(parts, awake)), ("calendar", calendar(parts, clock)), ("vitals", parts.vitals.run())]
    if isinstance(clock, WallClock):
        work.append(("clock", watch_clock(parts)))
    if (seconds := watchdog_seconds()) is not None:
        work.append(("watchdog", watchdog(parts, seconds)))
    return work


async def heartbeat(parts: Parts, awake: asyncio.Event) -> None:
    """Note every ten seconds that the agent lives, so that the next life knows since when nobody looked."""
    await awake.wait()  # until then the time of the last life stands
    while True:
        await asyncio.sleep(_ALIVE)
        await parts.journal.heartbeat()


async def calendar(parts: Parts, clock: PlantClock) -> None:
    """Hand the drivers each declared instant (shift, energy grid) ahead of time, so that they read exactly there."""
    while True:
        now = clock.now()
        boundaries = [boundary for unit in parts.units if (boundary := unit.next_boundary(now)) is not None]
        if not boundaries:
            return await asyncio.Event().wait() and None
        for collector in parts.collectors:
            collector.poll_at(min(boundaries))
        await clock.sleep_until(min(boundaries))


async def watch_clock(parts: Parts) -> None:
    """Compare the wall clock with the monotonic one each second: a jump changes what times mean and is an event.

    So is the first synchronisation of a clock that had none: from then on earlier times can be corrected by what it moved since the start.
    """
    origin = start = _apart()
    while True:
        await asyncio.sleep(_LOOK)
        offset = _apart()
        before, now = parts.journal.trust.look() if parts.journal.trust is not None else ("synced", "synced")
        if before != now:
            structlog.get_logger().warning("clock.discipline", before=before, now=now)
        if "holdover" in {before, now} and before != now:
            action = "raised" if now == "holdover" else "cleared"
            await parts.journal.write(CLOCK_UNSYNCED.event(time.time_ns(), action))
        if (before, now) == ("unsynced", "synced"):
            await parts.journal.clock_stepped(0, offset - start, cause="ntp")
            origin = offset
        if abs(offset - origin) > _STEP:
            structlog.get_logger().warning("clock.stepped", step_ms=(offset - origin) / 1e6)
            await parts.journal.clock_stepped(0, offset - origin)
            origin = offset


async def watchdog(parts: Parts, seconds: float) -> None:
    """Feed systemd's watchdog while the loop turns and the store's writer answers."""
    while True:
        await parts.buffer.stats()
        notify("WATCHDOG=1")
        await asyncio.sleep(seconds)
