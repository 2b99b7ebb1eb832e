"""What every buffer lets people do: look without touching, and send dead letters again; the same on disk and in memory."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator

import pytest

from edge_agent.buffer.config import BufferConfig
from edge_agent.buffer.memory import MemoryBuffer
from edge_agent.buffer.sqlite import open_buffer
from edge_agent.model.stream import Entry, RecordKey
from edge_agent.ports import ArchiveBuffer, Page

OUT = "mqtt"


def count(number: int, stream: str = "filler", kind: str = "E") -> Entry:
    """A count event whose time and total tell its number."""
    body = json.dumps({"late": False, "counter": "total", "delta": 1, "total": number}).encode()
    return Entry(stream, kind, "edgeagent.production.count.v1", number * 10**9, number * 10**9 + 5, body, f"WO-{number}", "cause")


@pytest.fixture(params=["memory", "sqlite"])
async def buffer(request, tmp_path) -> AsyncIterator[ArchiveBuffer]:
    """One buffer of each kind."""
    if request.param == "memory":
        yield MemoryBuffer()
        return
    async with open_buffer(BufferConfig(path=tmp_path / "buffer", min_free=0, commit_interval="1ms")) as opened:
        yield opened


def seqs(page: Page) -> list[int]:
    """The numbers of a page."""
    return [record.key.seq for record in page.records]


async def reject(buffer: ArchiveBuffer, *numbers: int, reason: str = "too large") -> None:
    """Have the receiver refuse some of the waiting records and wait until their loss records stand in their places."""
    keys = [RecordKey("filler", buffer.epoch, number) for number in numbers]
    await buffer.settle(OUT, [], [(key, reason) for key in keys])
    while len(await buffer.dead_letters(0, 1000)) < len(keys):
        await buffer.arrived()


async def test_pages_of_what_waits_come_in_order_and_end(buffer):
    """Every undelivered record comes once, over pages of any size, and looking changes nothing."""
    await buffer.append([count(n) for n in range(1, 8)], None)
    await buffer.append([count(8, "filler/telemetry", "T")], None)
    await buffer.settle(OUT, [RecordKey("filler", buffer.epoch, 2)], [])
    position, found, end = 0, [], False
    while not end:
        page = await buffer.waiting("E", position, 2)
        position, end = page.position, page.end
        found += seqs(page)
    assert found == [1, 3, 4, 5, 6, 7]
    assert seqs(await buffer.waiting("T", 0, 10)) == [1]
    assert [record.key.seq for record in await buffer.peek(OUT, None, 10, "E")] == found


async def test_a_range_holds_what_was_delivered_too(buffer):
    """A range of numbers is everything still kept, delivered or not, as it was appended; other streams stay out."""
    for n in range(1, 8):
        await buffer.append([count(n), count(n, "capper")], None)
    await buffer.settle(OUT, [RecordKey("filler", buffer.epoch, n) for n in (1, 2, 3)], [])
    first = await buffer.kept("filler", buffer.epoch, 2, 6, 3)
    second = await buffer.kept("filler", buffer.epoch, first.position + 1, 6, 3)
    assert (seqs(first), first.end, seqs(second), second.end) == ([2, 3, 4], False, [5, 6], True)
    assert first.records[0].entry == count(2)
    assert not first.records[0].resent


async def test_a_range_of_nothing_is_empty_and_ends(buffer):
    """Streams, epochs and numbers that are not there give an empty last page."""
    await buffer.append([count(1)], None)
    for stream, epoch, first, last in (("nobody", buffer.epoch, 1, 9), ("filler", "0" * 26, 1, 9), ("filler", buffer.epoch, 2, 9)):
        page = await buffer.kept(stream, epoch, first, last, 10)
        assert (page.records, page.end) == ([], True)


async def test_levels_tell_how_far_each_stream_is(buffer):
    """Per stream: numbers kept, given and delivered without a hole, and the time of the oldest that waits."""
    await buffer.append([count(n) for n in range(1, 6)], None)
    await buffer.append([count(9, "capper")], None)
    await buffer.settle(OUT, [RecordKey("filler", buffer.epoch, n) for n in (1, 2)], [])
    await buffer.settle(OUT, [RecordKey("capper", buffer.epoch, 1)], [])
    levels = {level.stream: level for level in await buffer.levels()}
    filler, capper = levels["filler"], levels["capper"]
    assert (filler.epoch, filler.first, filler.last, filler.delivered, filler.oldest) == (buffer.epoch, 1, 5, 2, 3 * 10**9)
    assert (capper.last, capper.delivered, capper.oldest) == (1, 1, None)


async def test_a_record_asked_for_again_was_delivered(buffer):
    """A hole that is filled while later records wait for their resend is closed up to the last one that was ever delivered."""
    await buffer.append([count(n) for n in range(1, 5)], None)
    await buffer.settle(OUT, [RecordKey("filler", buffer.epoch, n) for n in (1, 3, 4)], [])
    assert await buffer.resend(OUT, "filler", buffer.epoch, 3, 4) == 2
    await buffer.settle(OUT, [RecordKey("filler", buffer.epoch, 2)], [])
    assert (await buffer.heads())["filler"] == (1, 4, 4)


async def test_dead_letters_tell_what_was_refused_and_why(buffer):
    """A refused record is kept as it was, with its name and the reason; pages go on behind a number."""
    await buffer.append([count(n) for n in range(1, 5)], None)
    await reject(buffer, 2, 3, reason="Packet too large (0x95)")
    first, second = await buffer.dead_letters(0, 10)
    assert first.record.key == RecordKey("filler", buffer.epoch, 2)
    assert (first.record.entry, first.reason, first.detail) == (count(2), "rejected", "Packet too large (0x95)")
    assert list(await buffer.dead_letters(first.number, 10)) == [second]
    assert list(await buffer.dead_letters(0, 1)) == [first]
    assert await buffer.dead_letter_count() == 2


async def test_a_retried_letter_is_a_new_late_record(buffer):
    """Its content comes at the end of its stream with a number of its own, late, under its own time, and the letter is gone."""
    await buffer.append([count(n) for n in range(1, 4)], None)
    await reject(buffer, 2)
    (letter,) = await buffer.dead_letters(0, 10)
    assert list(await buffer.retry([letter.number])) == [(letter.number, RecordKey("filler", buffer.epoch, 4))]
    assert list(await buffer.dead_letters(0, 10)) == []
    *_, gap, _, late = await buffer.peek(OUT, None, 10, "E")
    assert (gap.key.seq, gap.entry.type) == (2, "edgeagent.collection.gap.v1")
    assert (late.key.seq, late.entry.time, late.entry.type, late.entry.correlation) == (4, 2 * 10**9, count(2).type, "WO-2")
    data = json.loads(late.entry.body)
    assert data == {"late": True, "counter": "total", "delta": 1, "total": 2, "retry_of": f"{buffer.epoch}-filler-000000000002"}


async def test_a_retry_happens_once(buffer):
    """Letters that are unknown or were sent again already are left out: no count twice."""
    await buffer.append([count(n) for n in range(1, 4)], None)
    await reject(buffer, 1, 3)
    numbers = [letter.number for letter in await buffer.dead_letters(0, 10)]
    assert len(await buffer.retry([*numbers, *numbers, 999])) == 2
    assert list(await buffer.retry(numbers)) == []
    assert (await buffer.heads())["filler"][1] == 5


async def test_a_retry_wakes_the_forwarder(buffer):
    """Whoever waits for news hears of the new record."""
    await buffer.append([count(1)], None)
    await reject(buffer, 1)
    await buffer.settle(OUT, [RecordKey("filler", buffer.epoch, 1)], [])
    (letter,) = await buffer.dead_letters(0, 1)
    await buffer.retry([letter.number])
    await buffer.arrived()
    assert [record.key.seq for record in await buffer.peek(OUT, None, 10, "E")] == [2]
