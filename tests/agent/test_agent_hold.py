"""Where readings wait while the store could not be opened: in order, bounded, and what does not fit is declared."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime

from agent_bench import FILLER, PLC1, ManualClock, at, body, scan, short, stored, unit_of, until

from edge_agent.agent.hold import Hold
from edge_agent.buffer.memory import MemoryBuffer
from edge_agent.events.catalog import fold_of
from edge_agent.events.derive import Fold
from edge_agent.events.shift import Calendar, ShiftConfig
from edge_agent.model.instant import NS
from edge_agent.model.reading import Batch, DeviceUp, Gap


def batch(number: int, device: str = "plc", rows: int = 1) -> Batch:
    """The numbered batch of a device."""
    return Batch(device, number, list(range(rows)), [number] * rows, [0] * rows, [0] * rows, [0] * rows)


class Reader:
    """A unit that remembers what it got, and lets every delivery wait a turn."""

    def __init__(self) -> None:
        self.got: list[Batch] = []

    async def deliver(self, one: Batch) -> None:
        """Take it."""
        self.got.append(one)
        await asyncio.sleep(0)


async def test_everything_passes_on_at_once_when_nothing_is_wrong():
    """An open hold adds nothing."""
    reader, hold = Reader(), Hold()
    await hold.door(reader.deliver)(batch(1))
    assert (len(reader.got), hold.waiting) == (1, 0)


async def test_what_waited_comes_first_and_in_order():
    """Batches that come while the hold is released queue up behind those that waited; each reader gets its own."""
    first, second, hold = Reader(), Reader(), Hold()
    doors = hold.door(first.deliver), hold.door(second.deliver)
    hold.close()
    for number in range(1, 6):
        for door in doors:
            await door(batch(number))
    assert (first.got, hold.waiting, hold.dropped) == ([], 10, 0)
    releasing = asyncio.create_task(hold.release(lambda: None))
    await asyncio.sleep(0)
    await doors[0](batch(6))
    await releasing
    await doors[0](batch(7))
    assert [one.received for one in first.got] == [1, 2, 3, 4, 5, 6, 7]
    assert [one.received for one in second.got] == [1, 2, 3, 4, 5]


async def test_what_does_not_fit_is_a_gap_of_its_device_and_keeps_its_notices():
    """The oldest go; that a device came up is known all the same."""
    reader, hold = Reader(), Hold(batches=3)
    door = hold.door(reader.deliver)
    hold.close()
    up = DeviceUp("plc", 1)
    await door(Batch("plc", 1, before=(up,)))
    for number in range(2, 8):
        await door(batch(number))
    assert (hold.waiting, hold.dropped) == (3, 4)
    await hold.release(lambda: None)
    assert reader.got[0].before == (up, Gap("plc", "buffer_overflow", 1, 4, count=4))
    assert [one.received for one in reader.got] == [4, 5, 6, 7]


async def test_rows_are_bounded_too():
    """A few large batches do not take more memory than many small ones."""
    reader, hold = Reader(), Hold(rows=100)
    door = hold.door(reader.deliver)
    hold.close()
    for number in range(10):
        await door(batch(number, rows=40))
    assert hold.waiting == 2


async def test_a_shift_that_ended_meanwhile_keeps_the_parts_that_were_made_in_it():
    """What waited is folded before the boundary that passed while it waited, although the unit finds both at once."""
    clock, buffer, hold, awake = ManualClock(0), MemoryBuffer(), Hold(), asyncio.Event()
    minute = datetime.fromtimestamp(at(60) / NS, UTC).strftime("%H:%M")
    calendar = Calendar({"early": ShiftConfig(start="20:00", end=minute), "late": ShiftConfig(start=minute, end="20:00")}, "UTC")
    folding = fold_of(FILLER, devices=PLC1, calendar=calendar)
    await _lived(buffer, clock, folding, scan(0, 100, up=True))
    unit = unit_of(buffer, clock, folding=folding)
    door = hold.door(unit.deliver)
    hold.close()
    for seconds, count in ((10, 100), (30, 107), (61, 110)):
        await door(scan(seconds, count, up=seconds == 10))
    clock.advance(90)
    await unit.open(at(5))

    async def run() -> None:
        await awake.wait()
        await unit.run()

    running = asyncio.create_task(run())
    await asyncio.sleep(0)
    releasing = asyncio.create_task(hold.release(awake.set))
    await until(lambda: not unit._inbox and awake.is_set())
    clock.advance(5)
    await releasing
    unit.stop()
    await running
    told = [(short(entry), body(entry)) for entry in await stored(buffer)]
    assert [(data["delta"], data["ctx"]["shift"]) for kind, data in told if kind == "production.count"] == [
        (7, "early"),
        (3, "late"),
    ]
    assert [data["totals"] for kind, data in told if kind == "shift.changed"] == [{"total": 7}]


async def _lived(buffer: MemoryBuffer, clock: ManualClock, folding: Fold, first: Batch) -> None:
    """Let the unit live once, up to now, and know ``first``."""
    unit = unit_of(buffer, clock, folding=folding)
    await unit.open()
    delivering = asyncio.create_task(unit.deliver(first))
    await asyncio.sleep(0)
    await unit.close()
    await delivering
