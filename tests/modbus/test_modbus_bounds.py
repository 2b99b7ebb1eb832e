"""Counters that are polled more rarely than the order: read with its change, and told as of one instant."""

from __future__ import annotations

import asyncio
import contextlib
import itertools

import pytest
from modbus_plc import Plc, ScaledClock, device, serving

from edge_agent.drivers.modbus.config import tags_of
from edge_agent.drivers.modbus.driver import connect
from edge_agent.events.catalog import UnitConfig, fold_of, wiring_of
from edge_agent.events.derive import Tick
from edge_agent.model.reading import Batch
from edge_agent.ports import DeviceWiring

MS = 1_000_000
TAGS = {
    "order": {"register": "holding", "address": 0, "poll": "100ms"},
    "count": {"register": "holding", "address": 100, "poll": "1s"},
    "scrap": {"register": "holding", "address": 200, "poll": "5s"},
    "heat": {"register": "holding", "address": 300, "poll": "5s"},
}
UNIT = UnitConfig.model_validate(
    {
        "version": 1,
        "unit": "press",
        "context": {"order": "dev.order"},
        "counters": {
            name: {"tag": f"dev.{name}", "role": role, "wraps": "uint16", "max_rate": "500/s", "burst": 100}
            for name, role in (("count", "total"), ("scrap", "scrap"))
        },
    }
)


class Press:
    """A machine that makes a part every 10 ms, and gets its next order every 730 ms; every seventh part is scrap."""

    def __init__(self, clock: ScaledClock, *, stands: bool = False) -> None:
        self.clock, self.began, self.stands = clock, clock.now(), stands

    def value(self, _unit: int, address: int) -> int:
        """Return what a register holds now."""
        ms = (self.clock.now() - self.began) // MS
        counts = {} if self.stands else {100: ms // 10, 200: ms // 70}
        return {0: 1 + ms // 730, **counts}.get(address, 0)

    def made(self, order: int, until: int) -> int:
        """Return how many parts were made from the start of an order to ``until`` (plant UTC ns)."""
        return min((until - self.began) // (10 * MS), 10**9) - (order - 1) * 73


async def polled(wiring: DeviceWiring, seconds: float, *, stands: bool = False) -> tuple[Press, list[Batch]]:
    """Return what a press told in a while."""
    clock, batches = ScaledClock(), []
    press = Press(clock, stands=stands)
    config = device(1, tags=TAGS, timeout="1s")
    plc = Plc(value=press.value)
    async with serving(plc), connect([config.model_copy(update={"port": plc.port})], clock, {"dev": wiring}) as driver:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while True:
                    batches += await driver.read()
    return press, batches


async def test_every_count_is_of_the_order_that_it_was_read_with() -> None:
    """Each change of order brings both counters, changed or not, in one moment: all is booked, and no order has what it cannot have made."""
    press, batches = await polled(wiring_of(UNIT)["dev"], 2.6)
    fold = fold_of(UNIT, devices={"dev": tags_of(device(1, tags=TAGS))})
    turn = fold.fold(fold.start({})[0], [*batches, Tick(batches[-1].received, final=True)])
    counts = [event for event in turn.events if event.type == "production.count"]
    ended = {event.data["order"]: event.time for event in turn.events if event.type == "order.completed"}
    assert len(ended) >= 3
    for counter, every in (("count", 1), ("scrap", 7)):
        own = {
            order: sum(e.data["delta"] for e in counts if e.ctx.order == order and e.data["counter"] == counter) for order in ended
        }
        assert all(event.data["spans"] == [] for event in counts)
        for order, until in ended.items():
            assert 0 < own[order] <= press.made(int(order), until) // every + 1
        if every == 1:
            first = next(dict(zip(batch.tags, batch.values, strict=True))[1] for batch in batches if 1 in batch.tags)
            assert sum(own.values()) + first >= 73 * len(ended), "what was made before each change is told with it"


@pytest.mark.parametrize("stands", [False, True])
async def test_a_change_reads_what_counts_and_nothing_else(stands: bool) -> None:
    """One instant for all, also where nothing was counted since; other slow blocks wait for their turn, and a poll without a change asks nothing more."""
    _, batches = await polled(
        DeviceWiring(boundary=frozenset({"order"}), counted=frozenset({"count", "scrap"})), 0.95, stands=stands
    )
    changed = [batch for batch in batches[1:] if 0 in batch.tags and batch.received > batches[0].received + 100 * MS]
    assert changed
    instant = changed[0].received
    told = set(itertools.chain.from_iterable(batch.tags for batch in batches if batch.received == instant))
    assert told == {0, 1, 2}
    assert all(batch.asked < instant for batch in batches if batch.received == instant)


async def test_without_the_wiring_nothing_is_booked_to_the_later_order() -> None:
    """A counter that nobody reads at the change is nobody's, where it lies across: never silently the later order's."""
    press, batches = await polled(DeviceWiring(), 2.3)
    fold = fold_of(UNIT, devices={"dev": tags_of(device(1, tags=TAGS))})
    turn = fold.fold(fold.start({})[0], [*batches, Tick(batches[-1].received, final=True)])
    counts = [event for event in turn.events if event.type == "production.count"]
    spanned = [event for event in counts if event.data["spans"] == ["order"]]
    assert spanned
    assert all(event.ctx.order is None and len(event.data["candidates"]["order"]) > 1 for event in spanned)
    ended = {event.data["order"]: event.time for event in turn.events if event.type == "order.completed"}
    for order, until in ended.items():
        own = sum(event.data["delta"] for event in counts if event.ctx.order == order and event.data["counter"] == "count")
        assert own <= press.made(int(order), until) + 1
