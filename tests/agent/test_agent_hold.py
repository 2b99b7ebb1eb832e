"""Where readings wait while the store could not be opened: in order, bounded, and what does not fit is declared."""

from __future__ import annotations

import asyncio

from edge_agent.agent.hold import Hold
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
    releasing = asyncio.create_task(hold.release())
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
    await hold.release()
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
