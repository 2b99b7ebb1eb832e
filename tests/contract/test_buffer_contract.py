"""What every buffer promises: the same tests run on the SQLite store and on the one in memory."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator

import pytest

from edge_agent.buffer.config import BufferConfig
from edge_agent.buffer.memory import MemoryBuffer
from edge_agent.buffer.sqlite import open_buffer
from edge_agent.model.stream import Checkpoint, Custody, Entry, Record, RecordKey
from edge_agent.ports import Buffer

OUT = "mqtt"


def count(number: int, stream: str = "filler", kind: str = "E") -> Entry:
    """A count event whose time and total tell its number."""
    body = json.dumps({"counter": "total", "delta": 1, "total": number}).encode()
    return Entry(stream, kind, "edgeagent.production.count.v1", number * 10**9, number * 10**9 + 5, body, f"WO-{number}", "cause")


@pytest.fixture(params=["memory", "sqlite"])
async def buffer(request, tmp_path) -> AsyncIterator[Buffer]:
    """One buffer of each kind."""
    if request.param == "memory":
        yield MemoryBuffer()
        return
    async with open_buffer(BufferConfig(path=tmp_path / "buffer", min_free=0, commit_interval="1ms")) as opened:
        yield opened


def numbers(records: list[Record]) -> list[int]:
    """The numbers of records."""
    return [record.key.seq for record in records]


async def test_an_append_is_durable_and_keeps_every_member(buffer):
    """A record comes back exactly as it was appended, with its stream, the store's epoch and the number 1."""
    assert await buffer.append([count(7)], None) is Custody.DURABLE
    (record,) = await buffer.peek(OUT, None, 10, "E")
    assert record == Record(RecordKey("filler", buffer.epoch, 1), count(7), resent=False)


async def test_numbers_are_contiguous_per_stream(buffer):
    """Each stream counts from 1 without a hole, whatever the appends interleave."""
    await asyncio.gather(*(buffer.append([count(i), count(i, "capper"), count(i)], None) for i in range(20)))
    records = await buffer.peek(OUT, None, 100, "E")
    by_stream = {name: [r.key.seq for r in records if r.key.stream == name] for name in ("filler", "capper")}
    assert by_stream == {"filler": list(range(1, 41)), "capper": list(range(1, 21))}


async def test_peek_gives_the_order_of_appending_over_streams(buffer):
    """Records of several streams come in the one order in which they were appended."""
    for i in range(1, 7):
        await buffer.append([count(i, f"unit{i % 3}")], None)
    assert [record.entry.time for record in await buffer.peek(OUT, None, 10, "E")] == [i * 10**9 for i in range(1, 7)]


async def test_peek_goes_on_behind_what_is_in_flight(buffer):
    """A window slides: ``after`` the last record in flight, up to the limit, and nothing when there is no more."""
    await buffer.append([count(i) for i in range(1, 8)], None)
    first = await buffer.peek(OUT, None, 3, "E")
    second = await buffer.peek(OUT, first[-1].key, 3, "E")
    await buffer.settle(OUT, [first[-1].key], [])
    third = await buffer.peek(OUT, second[-1].key, 3, "E")
    assert (numbers(first), numbers(second), numbers(third)) == ([1, 2, 3], [4, 5, 6], [7])
    assert await buffer.peek(OUT, third[-1].key, 3, "E") == []


async def test_peek_goes_on_behind_a_record_that_is_settled_already(buffer):
    """The place of ``after`` is known although that record, and others before it, are delivered."""
    await buffer.append([count(i) for i in range(1, 6)], None)
    window = await buffer.peek(OUT, None, 3, "E")
    await buffer.settle(OUT, [record.key for record in window], [])
    assert numbers(await buffer.peek(OUT, window[-1].key, 10, "E")) == [4, 5]


async def test_settled_records_are_not_given_again(buffer):
    """A settled record is gone from the queue at once; those around it stay."""
    await buffer.append([count(i) for i in range(1, 5)], None)
    records = await buffer.peek(OUT, None, 10, "E")
    await buffer.settle(OUT, [records[1].key, records[2].key], [])
    assert numbers(await buffer.peek(OUT, None, 10, "E")) == [1, 4]


async def test_a_settled_seq_is_never_used_again(buffer):
    """Numbers go on after everything was delivered."""
    await buffer.append([count(1), count(2)], None)
    await buffer.settle(OUT, [r.key for r in await buffer.peek(OUT, None, 10, "E")], [])
    await buffer.append([count(3)], None)
    assert numbers(await buffer.peek(OUT, None, 10, "E")) == [3]


async def test_unknown_and_repeated_keys_are_ignored(buffer):
    """Acknowledgements of foreign, unknown or settled records change nothing."""
    await buffer.append([count(1), count(2)], None)
    known = (await buffer.peek(OUT, None, 1, "E"))[0].key
    strange = [
        RecordKey("filler", "00000000000000000000000000", 1),
        RecordKey("nobody", buffer.epoch, 1),
        RecordKey("filler", buffer.epoch, 99),
    ]
    await buffer.settle(OUT, [*strange, known, known], [(strange[0], "no")])
    await buffer.settle(OUT, [known], [(known, "late refusal")])
    assert numbers(await buffer.peek(OUT, None, 10, "E")) == [2]
    assert (await buffer.heads())["filler"][1:] == (2, 1)
    assert (await buffer.stats()).waiting_events == 1


async def test_kinds_are_separate_queues(buffer):
    """Telemetry never stands in the way of events."""
    await buffer.append([count(1, "filler/telemetry", "T"), count(2), count(3, "filler/telemetry", "T")], None)
    assert [r.entry.time for r in await buffer.peek(OUT, None, 10, "E")] == [2 * 10**9]
    assert [r.entry.time for r in await buffer.peek(OUT, None, 10, "T")] == [10**9, 3 * 10**9]
    stats = await buffer.stats()
    assert (stats.waiting_events, stats.waiting_telemetry, stats.oldest) == (1, 2, 10**9)


async def test_states_are_kept_per_owner_and_rule(buffer):
    """A checkpoint replaces the rules it names and leaves the others; owners do not see each other."""
    await buffer.append([count(1)], Checkpoint("filler", {"count": b"1", "state": b"run"}, 100))
    await buffer.append([], Checkpoint("filler", {"count": b"2"}, 200))
    await buffer.append([], Checkpoint("capper", {"count": b"9"}, 150))
    assert await buffer.states("filler") == ({"count": b"2", "state": b"run"}, 200)
    assert await buffer.states("capper") == ({"count": b"9"}, 150)
    assert await buffer.states("nobody") == ({}, None)


async def test_a_heartbeat_saves_only_the_time(buffer):
    """An append without events moves the last-seen time and gives no number."""
    await buffer.append([count(1)], Checkpoint("filler", {"count": b"1"}, 100))
    await buffer.append([], Checkpoint("filler", {}, 300))
    assert await buffer.states("filler") == ({"count": b"1"}, 300)
    assert (await buffer.heads())["filler"][1] == 1


async def test_a_rejected_record_is_replaced_by_its_loss(buffer):
    """Where the receiver refuses a record, a gap with the same stream and number declares it."""
    await buffer.append([count(i) for i in (1, 2, 3)], None)
    one, two, three = await buffer.peek(OUT, None, 10, "E")
    await buffer.settle(OUT, [one.key, three.key], [(two.key, "payload format invalid (0x99)")])
    await buffer.arrived()
    (loss,) = await wait_for_one(buffer)
    assert (loss.key, loss.entry.type, loss.entry.kind) == (two.key, "edgeagent.collection.gap.v1", "E")
    data = json.loads(loss.entry.body)
    assert {key: data[key] for key in ("reason", "seq_from", "seq_to", "lost", "q", "detail")} == {
        "reason": "rejected", "seq_from": 2, "seq_to": 2, "lost": {"min": 1, "max": 1}, "q": "good", "detail": "payload format invalid (0x99)",
    }  # fmt: skip
    assert (data["totals_at_from"], data["totals_at_to"]) == ({"total": 1}, {"total": 2})
    await buffer.settle(OUT, [loss.key], [])
    assert (await buffer.heads())["filler"][1:] == (3, 3)


async def wait_for_one(buffer: Buffer) -> list[Record]:
    """Wait until something waits again."""
    async with asyncio.timeout(5):
        while not (found := await buffer.peek(OUT, None, 10, "E")):
            await buffer.arrived()
    return list(found)


async def test_a_rejected_loss_record_does_not_go_round_for_ever(buffer):
    """A receiver that refuses the loss record too gets the stream moved on."""
    await buffer.append([count(1), count(2)], None)
    first, _ = await buffer.peek(OUT, None, 10, "E")
    for left in ([1, 2], [2]):
        await buffer.settle(OUT, [], [(first.key, "not authorized")])
        await buffer.append([], Checkpoint("filler", {}, 1))  # a commit takes the decision along
        assert numbers(await buffer.peek(OUT, None, 10, "E")) == left
    assert (await buffer.stats()).waiting_events == 1
    await buffer.settle(OUT, [RecordKey("filler", buffer.epoch, 2)], [])
    assert (await buffer.heads())["filler"] == (1, 2, 2)


async def test_delivered_records_can_be_sent_again(buffer):
    """A resend marks delivered records only, with their old numbers and bytes, and tells how many."""
    await buffer.append([count(i) for i in range(1, 7)], None)
    records = await buffer.peek(OUT, None, 10, "E")
    await buffer.settle(OUT, [record.key for record in records[:4]], [])
    assert await buffer.resend(OUT, "filler", buffer.epoch, 2, 5) == 3
    again = await buffer.peek(OUT, None, 10, "E")
    assert [(r.key.seq, r.resent) for r in again] == [(2, True), (3, True), (4, True), (5, False), (6, False)]
    assert again[0].entry == count(2)
    assert await buffer.resend(OUT, "filler", "another epoch", 1, 6) == 0
    assert await buffer.resend(OUT, "filler", buffer.epoch, 2, 5) == 0
    await buffer.settle(OUT, [record.key for record in again], [])
    assert await buffer.peek(OUT, None, 10, "E") == []
    assert await buffer.resend(OUT, "filler", buffer.epoch, 3, 3) == 1


async def test_heads_tell_how_far_a_stream_is(buffer):
    """First kept, last given, and the last delivered without a hole, which a resend does not move back."""
    await buffer.append([count(i) for i in range(1, 6)], None)
    records = await buffer.peek(OUT, None, 10, "E")
    assert await buffer.heads() == {"filler": (1, 5, 0)}
    await buffer.settle(OUT, [records[1].key, records[2].key], [])
    assert (await buffer.heads())["filler"] == (1, 5, 0)
    await buffer.settle(OUT, [records[0].key], [])
    assert (await buffer.heads())["filler"] == (1, 5, 3)
    await buffer.resend(OUT, "filler", buffer.epoch, 1, 2)
    assert (await buffer.heads())["filler"] == (1, 5, 3)


async def test_arrived_wakes_for_an_append_and_for_a_resend(buffer):
    """`arrived` returns once per news, and waits when there is none."""
    waiter = asyncio.create_task(buffer.arrived())
    await buffer.append([count(1)], None)
    await asyncio.wait_for(waiter, 5)
    waiter = asyncio.create_task(buffer.arrived())
    await buffer.settle(OUT, [RecordKey("filler", buffer.epoch, 1)], [])
    await buffer.append([], Checkpoint("filler", {}, 1))
    assert not waiter.done()
    assert await buffer.resend(OUT, "filler", buffer.epoch, 1, 1) == 1
    await asyncio.wait_for(waiter, 5)


async def test_an_empty_append_is_nothing(buffer):
    """Nothing to keep is kept at once."""
    assert await buffer.append([], None) is Custody.DURABLE
    assert await buffer.heads() == {}


async def test_a_new_store_says_so(buffer):
    """A store that was just made is fresh, its epoch a ULID, without a predecessor."""
    assert (buffer.fresh, buffer.previous_epoch, len(buffer.epoch)) == (True, None, 26)
