"""A device that refuses some addresses, over TCP: the good tags go on, the bad ones are named once, and the next connection knows."""

import asyncio
from collections.abc import Callable

import pytest
from modbus_plc import Asked, Plc, ScaledClock, Send, device, frame, serving
from structlog.testing import capture_logs
from test_modbus_acquire import collect, notices

from edge_agent.drivers.modbus.device import Device
from edge_agent.drivers.modbus.driver import ModbusDriver, connect
from edge_agent.drivers.modbus.plan import Block
from edge_agent.drivers.modbus.split import ASK_AGAIN, JOIN_AGAIN
from edge_agent.drivers.modbus.wire import RefusedError, Reply
from edge_agent.model.reading import Batch, Quality, TagStatus
from edge_agent.ports import DeviceWiring, Trigger

BAD = {57, 91}
AROUND = {(0, 57), (58, 33), (92, 8)}
TAGS = {f"r{a}": {"register": "holding", "address": a} for a in range(100)}


async def until(driver: ModbusDriver, done: Callable[[], bool]) -> list[Batch]:
    """Read until ``done``."""
    batches: list[Batch] = []
    async with asyncio.timeout(20):
        while not done():
            batches += await driver.read()
    return batches


def latest(plc: Plc, count: int) -> set[tuple[int, int]]:
    """Return address and size of the latest requests."""
    return {(asked.address, asked.count) for asked in plc.asked[-count:]}


def refusing(bad: set[int], code: int = 2) -> Callable:
    """Return a trick that refuses every request that touches ``bad``."""

    async def trick(asked: Asked, answer: bytes, send: Send) -> None:
        wrong = not bad.isdisjoint(range(asked.address, asked.address + asked.count))
        await send(frame(asked.tid, asked.unit, bytes([asked.function | 0x80, code])) if wrong else answer)

    return trick


@pytest.mark.parametrize("code", [1, 2, 3])
async def test_only_the_bad_tags_are_bad(code: int) -> None:
    """Whichever of the three exceptions a device has for it: two bad addresses of a hundred cost their two tags, by name, and a few requests."""
    plc = Plc(always=refusing(BAD, code))
    with capture_logs() as logs:
        async with serving(plc), connect([device(plc.port, tags=TAGS)], ScaledClock(), {}) as driver:
            first = len(plc.asked)
            batches = await until(driver, lambda: latest(plc, 6) == AROUND)
    rows = {batch.tags[row]: (batch.values[row], batch.details.get(row)) for batch in batches for row in range(len(batch))}
    assert {index: value for index, (value, _) in rows.items() if index not in BAD} == {a: a for a in range(100) if a not in BAD}
    assert {index: detail.split(" exception")[0] for index, (_, detail) in rows.items() if index in BAD} == {
        57: "holding 57-57:",
        91: "holding 91-91:",
    }
    told = [(status.name, status.ok, status.code) for status in notices(batches, TagStatus)]
    assert told == [("r57", False, "tag_lost"), ("r91", False, "tag_lost")]
    assert first <= 9, "one refused block and eight questions in the first poll"
    assert [(log["block"], log["refused"]) for log in logs if log["event"] == "modbus.split"] == [
        ("holding 0-99", ["holding 57-57", "holding 91-91"])
    ]


async def test_the_next_connection_knows() -> None:
    """After a reconnect the first reading has every tag, the two bad ones are tried once each, and nothing is searched again."""
    plc = Plc(always=refusing(BAD))
    async with serving(plc):
        config = device(plc.port, tags=TAGS)
        async with connect([config], ScaledClock(), {}) as driver:
            await until(driver, lambda: latest(plc, 6) == AROUND)
        plc.asked.clear()
        async with connect([config], ScaledClock(), {}) as driver:
            first = [(asked.address, asked.count) for asked in plc.asked]
            batches = await collect(driver, 0.1)
    assert first == [(0, 57), (58, 33), (92, 8), (57, 1), (91, 1)]
    rows = [(index, quality) for batch in batches for index, quality in zip(batch.tags, batch.quality, strict=True)]
    assert sorted(index for index, _ in rows) == list(range(100))
    assert {index for index, quality in rows if quality == Quality.BAD} == BAD


async def test_bad_rows_are_told_at_calendar_boundaries_too() -> None:
    """A full reading has a row of every tag, also of those that nobody asks the device for at that moment."""
    plc = Plc(always=refusing(BAD))
    clock = ScaledClock()
    async with serving(plc), connect([device(plc.port, tags=TAGS)], clock, {}) as driver:
        await until(driver, lambda: latest(plc, 6) == AROUND)
        at = clock.now() + 20_000_000
        driver.poll_at(at)
        batches = [batch for batch in await until(driver, lambda: clock.now() > at + 100_000_000) if batch.received >= at]
    assert sorted(index for batch in batches for index in batch.tags) == list(range(100))


async def test_a_mended_device_is_told_and_read_whole() -> None:
    """When the refused addresses answer, their tags are found again and the block is one request as before."""
    bad = set(BAD)
    plc = Plc(always=refusing(bad))
    async with serving(plc), connect([device(plc.port, tags=TAGS, poll="5s")], ScaledClock(200), {}) as driver:
        await until(driver, lambda: latest(plc, 6) == AROUND)
        bad.clear()
        batches = await until(driver, lambda: latest(plc, 2) == {(0, 100)})
    assert {(status.name, status.ok) for status in notices(batches, TagStatus)} == {("r57", True), ("r91", True)}


async def test_a_group_of_a_split_block_is_read_by_itself() -> None:
    """A trigger group whose block is not read whole any more gets its own request, and its rows from one answer."""
    plc = Plc(value=lambda unit, address: len(plc.asked) if address == 3 else address, always=refusing({57}))
    wiring = {"dev": DeviceWiring(triggers=(Trigger("job", "r3", ("r3", "r10", "r20")),))}
    async with serving(plc), connect([device(plc.port, tags=TAGS)], ScaledClock(), wiring) as driver:
        batches = await until(driver, lambda: sum((a.address, a.count) == (3, 18) for a in plc.asked) > 3)
    groups = [batch for batch in batches if batch.snapshots]
    assert len(groups) >= 3
    assert all(batch.tags[batch.snapshots[0].start : batch.snapshots[0].stop] == [3, 10, 20] for batch in groups)


async def test_a_try_over_a_border_says_nothing_of_the_values() -> None:
    """A busy device, or a refusal, in answer to the try leaves every value as the parts brought it; a group is read all the same."""
    config = device(1, tags={f"r{a}": {"register": "holding", "address": a} for a in range(4)})
    one = Device(config, DeviceWiring(triggers=(Trigger("job", "r3", ("r3", "r0")),)))
    answers: dict[int, int | None] = {}

    async def ask(block: Block) -> Reply:
        code = answers.get(block.count)
        if code is not None:
            raise RefusedError(code, 1)
        return Reply(b"".join(address.to_bytes(2) for address in range(block.address, block.address + block.count)), 1)

    async def polled(now: int, code: int | None) -> list[Batch]:
        answers[4] = code
        batches = await one.poll(one.watches, ask, now)
        return one.answered(batches, one.watches, room=True)

    await polled(1, 2)
    assert [len(block.fields) for block in one.watches[0].split.parts] == [2, 2]
    for turn, code in enumerate((6, 2, 4), 1):
        batches = await polled(1 + turn * JOIN_AGAIN, code)
        assert all(quality == Quality.GOOD for batch in batches for quality in batch.quality)
        assert [len(block.fields) for block in one.watches[0].split.parts] == [2, 2]
    one.forget()
    await polled(1 + 4 * JOIN_AGAIN, None)
    assert one.watches[0].split.whole
    assert all(quality == Quality.GOOD for batch in await polled(2 + 4 * JOIN_AGAIN, None) for quality in batch.quality)


async def test_a_group_in_the_poll_that_makes_a_block_whole() -> None:
    """A group whose trigger fires in the very poll in which its block becomes one request again is read by itself: no poll held all of it."""
    config = device(1, tags={f"r{a}": {"register": "holding", "address": a} for a in range(4)})
    one = Device(config, DeviceWiring(triggers=(Trigger("job", "r3", ("r3", "r0")),)))
    refused, trigger = True, 0

    async def ask(block: Block) -> Reply:
        if refused and block.address <= 3 < block.address + block.count:
            raise RefusedError(2, 1)
        words = [trigger if address == 3 else address for address in range(block.address, block.address + block.count)]
        return Reply(b"".join(word.to_bytes(2) for word in words), 1)

    await one.poll(one.watches, ask, 1)
    refused, trigger = False, 9
    batches = await one.poll(one.watches, ask, 1 + ASK_AGAIN)
    assert one.watches[0].split.whole
    (batch,) = [batch for batch in batches if batch.snapshots]
    (snapshot,) = batch.snapshots
    assert batch.values[snapshot.start : snapshot.stop] == [9, 0]
