"""What is written back to a PLC: only after the commit, only with durable custody, and again when it was lost on the way."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from agent_bench import ManualClock, at, body, others, short, stored, turns, until

from edge_agent.agent.unit import Unit
from edge_agent.buffer.memory import MemoryBuffer
from edge_agent.events.catalog import UnitConfig, fold_of
from edge_agent.model.event import Acknowledge
from edge_agent.model.reading import Batch, DeviceUp, Snapshot, Tag
from edge_agent.model.stream import Checkpoint, Custody, Entry

TAGS = (Tag("plc1", "seq"), Tag("plc1", "seq_end"), Tag("plc1", "weight"), Tag("plc1", "ack", acknowledge=True))
WEIGHER = UnitConfig.model_validate(
    {
        "version": 1,
        "unit": "weigher",
        "records": {
            "scale": {
                "pattern": "seq_ack",
                "seq": "plc1.seq",
                "seq_end": "plc1.seq_end",
                "ack": "plc1.ack",
                "fields": {"value": "plc1.weight"},
                "characteristic": "net_weight",
            }
        },
    }
)


class Store(MemoryBuffer):
    """A buffer whose commits the test lets through, and whose disk it can take away."""

    def __init__(self) -> None:
        super().__init__()
        self.open = asyncio.Event()
        self.open.set()
        self.custody = Custody.DURABLE
        self.waiting = 0

    async def append(self, events: Sequence[Entry], checkpoint: Checkpoint | None) -> Custody:
        """Commit when it is open; without a disk nothing is kept but in memory."""
        self.waiting += 1
        await self.open.wait()
        self.waiting -= 1
        if self.custody is Custody.DURABLE:
            await super().append(events, checkpoint)
        return self.custody


def record(seconds: float, seq: int, weight: float, ack: int, *, up: bool = False) -> Batch:
    """Return one atomic read of the record."""
    before = (DeviceUp("plc1", at(seconds)),) if up else ()
    group = (Snapshot("weigher/scale", 0, 4),)
    return Batch(
        "plc1", at(seconds), [0, 1, 2, 3], [seq, seq, weight, ack], [0] * 4, [0] * 4, [0] * 4, snapshots=group, before=before
    )


@asynccontextmanager
async def weighing(store: Store) -> AsyncIterator[tuple[Unit, list[Acknowledge]]]:
    """Run the unit; at the end kill it."""
    unit = Unit("weigher", fold_of(WEIGHER, devices={"plc1": TAGS}), store, ManualClock(), prefix="edgeagent", cfg="cfg")
    written: list[Acknowledge] = []

    async def write(effect: Acknowledge) -> None:
        written.append(effect)

    unit.effect = write
    await unit.open()
    task = asyncio.create_task(unit.run())
    try:
        yield unit, written
    finally:
        task.cancel()
        await asyncio.wait([task])
        await turns()
        for left in others():
            left.cancel()


async def results(store: Store) -> list[int]:
    """Return the numbers of the records that were told."""
    return [body(entry)["source_key"]["seq"] for entry in await stored(store, "weigher") if short(entry) == "quality.result"]


async def test_an_acknowledgement_is_written_after_the_commit_and_before_the_release():
    """While the append is under way nothing is written; then the record's own number is, and only then the batch is released."""
    store = Store()
    async with weighing(store) as (unit, written):
        await unit.deliver(record(0, 0, 0.0, 0, up=True))
        store.open.clear()
        delivery = asyncio.create_task(unit.deliver(record(1, 17, 251.3, 0)))
        await until(lambda: store.waiting)
        await turns()
        assert (written, delivery.done()) == ([], False)
        store.open.set()
        await asyncio.wait_for(delivery, 5)
        assert written == [Acknowledge("plc1.ack", 17)]
    assert await results(store) == [17]


async def test_volatile_custody_acknowledges_nothing():
    """In memory only, a record is not safe: the PLC keeps it, and gets its acknowledgement when the disk is back."""
    store = Store()
    async with weighing(store) as (unit, written):
        await unit.deliver(record(0, 0, 0.0, 0, up=True))
        store.custody = Custody.VOLATILE
        await unit.deliver(record(1, 17, 251.3, 0))
        assert written == []
        store.custody = Custody.DURABLE
        await unit.deliver(record(2, 17, 251.3, 0))
        assert written == [Acknowledge("plc1.ack", 17)]


async def test_a_kill_between_commit_and_acknowledgement_repeats_the_acknowledgement_only():
    """The record is known after the restart: it is told once, and its acknowledgement is written again."""
    store = Store()
    async with weighing(store) as (unit, _):
        await unit.deliver(record(0, 0, 0.0, 0, up=True))
        unit.effect = None  # killed before it could write
        await unit.deliver(record(1, 17, 251.3, 0))
    async with weighing(store) as (unit, written):
        await unit.deliver(record(2, 17, 251.3, 0, up=True))
        assert written == [Acknowledge("plc1.ack", 17)]
    assert await results(store) == [17]


async def test_a_kill_before_the_commit_tells_the_record_after_the_restart():
    """Nothing was stored, so nothing was written, so the PLC still shows the record: it is told then."""
    store = Store()
    async with weighing(store) as (unit, written):
        await unit.deliver(record(0, 0, 0.0, 0, up=True))
        store.open.clear()
        delivery = asyncio.create_task(unit.deliver(record(1, 17, 251.3, 0)))
        await until(lambda: store.waiting)
        delivery.cancel()
    assert written == []
    store.open.set()
    async with weighing(store) as (unit, written):
        await unit.deliver(record(2, 17, 251.3, 0, up=True))
        assert written == [Acknowledge("plc1.ack", 17)]
    assert await results(store) == [17]
