"""Telemetry between two flushes lives in memory: a kill takes it along, and the next start says which samples those were."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
from agent_bench import PLC1, ManualClock, at, body, others, scan, short, stored, unit_of

from edge_agent.events.catalog import UnitConfig, fold_of
from edge_agent.model.instant import iso

SAMPLING = UnitConfig.model_validate(
    {
        "version": 1,
        "unit": "filler",
        "counters": {"total": {"tag": "plc1.count", "role": "total", "wraps": "uint16", "max_rate": "100/s"}},
        "telemetry": {"tags": ["plc1.count"], "publish": "10s"},
    }
)


async def gaps_after(buffer: Any, clock: ManualClock, seconds: float) -> list[Mapping[str, Any]]:
    """Start again at t and return the gaps that are declared before anything is read."""
    clock.advance(seconds - (clock.now() - at(0)) / 1e9)
    unit = unit_of(buffer, clock, folding=fold_of(SAMPLING, devices=PLC1))
    await unit.open()
    assert not others()
    return [body(entry) for entry in await stored(buffer) if short(entry) == "collection.gap"]


async def turn(unit: Any, clock: ManualClock, second: float, count: int) -> None:
    """Fold one read at t."""
    clock.advance(second - (clock.now() - at(0)) / 1e9)
    unit._inbox.append((scan(second, count, up=second == 0), None))
    await unit._turn(unit._due(clock.now()))


@pytest.mark.parametrize("clean", [False, True], ids=["killed", "stopped"])
async def test_samples_that_waited_for_their_flush_are_declared_after_a_kill(buffer: Any, clean: bool) -> None:
    """From the oldest one that waited to the last moment stored; a stop in order sends them instead, and declares nothing."""
    clock = ManualClock(0)
    unit = unit_of(buffer, clock, folding=fold_of(SAMPLING, devices=PLC1))
    await unit.open()
    for second in range(5):
        await turn(unit, clock, second, 100 + second)
    sent = await buffer.peek("mqtt", None, 10, "T")
    assert not sent
    if clean:
        await unit.close()
        assert len(await buffer.peek("mqtt", None, 10, "T")) == 1
    gaps = await gaps_after(buffer, clock, 60)
    wanted = [] if clean else [("agent_down", [iso(at(0)), iso(at(4))], ["plc1.count"], "unknown")]
    assert [(gap["reason"], gap["interval"], gap["tags"], gap["lost"]) for gap in gaps] == wanted
    assert await gaps_after(buffer, clock, 61) == gaps  # told once


async def test_samples_that_were_flushed_are_not_declared(buffer: Any) -> None:
    """After a flush only what came since then waits."""
    clock = ManualClock(0)
    unit = unit_of(buffer, clock, folding=fold_of(SAMPLING, devices=PLC1))
    await unit.open()
    for second in (*range(13),):
        await turn(unit, clock, second, 100 + second)
    assert len(await buffer.peek("mqtt", None, 10, "T")) == 1
    (gap,) = await gaps_after(buffer, clock, 60)
    assert gap["interval"] == [iso(at(11)), iso(at(12))]
