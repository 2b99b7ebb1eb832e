"""Events that no row can hold: declared and kept as far as possible, and never in the way of what comes with them or after them."""

from __future__ import annotations

import json
from pathlib import Path

import apsw
import pytest

from edge_agent.buffer.config import BufferConfig
from edge_agent.buffer.numbering import Group
from edge_agent.buffer.outbox import Outbox
from edge_agent.buffer.sqlite import open_buffer
from edge_agent.buffer.store import Store
from edge_agent.model.stream import Checkpoint, Custody, Entry

OUT = "mqtt"
COUNT = b'{"counter":"total","delta":2,"total":12}'


def entry(**changes: object) -> Entry:
    """A count with something wrong in it."""
    members = {"stream": "filler", "kind": "E", "type": "edgeagent.production.count.v1", "time": 5, "recorded": 6, "body": COUNT}
    return Entry(**{**members, **changes})


UNFIT = [
    pytest.param(entry(time=1 << 63), True, id="a_time_beyond_64_bits"),
    pytest.param(entry(time=1.5), True, id="a_time_that_is_not_whole"),
    pytest.param(entry(correlation="WO-\ud800"), True, id="an_order_that_is_no_text"),
    pytest.param(entry(kind="X"), True, id="an_unknown_kind"),
    pytest.param(entry(samples=None), True, id="no_number_of_samples"),
    pytest.param(entry(body="text"), False, id="a_body_that_is_not_bytes"),
    pytest.param(entry(body=bytes(17 << 20)), False, id="a_body_beyond_all_limits"),
]


@pytest.mark.parametrize(("bad", "whole"), UNFIT)
async def test_an_event_that_no_row_can_hold_is_declared_and_kept_aside(tmp_path: Path, bad: Entry, whole: bool) -> None:
    """A gap takes its number, its neighbours and the rule state are durable, and it can be retried if nothing of it was left out."""
    async with open_buffer(BufferConfig(path=tmp_path, min_free=0)) as buffer:
        custody = await buffer.append([entry(time=1), bad, entry(time=9)], Checkpoint("filler", {"n": b"1"}, 7))
        assert custody is Custody.DURABLE
        one, gap, three = await buffer.peek(OUT, None, 10, "E")
        assert [record.key.seq for record in (one, gap, three)] == [1, 2, 3]
        assert (one.entry.time, three.entry.time) == (1, 9)
        said = json.loads(gap.entry.body)
        assert gap.entry.type == "edgeagent.collection.gap.v1"
        assert (said["reason"], said["lost"]) == ("rejected", {"min": 1, "max": 1})
        assert "cannot be stored" in said["detail"]
        assert said.get("totals_at_from") == ({"total": 10} if whole else None)
        assert await buffer.states("filler") == ({"n": b"1"}, 7)
        (letter,) = await buffer.dead_letters(0, 10)
        assert letter.record.key == gap.key
        assert len(letter.record.entry.body) < 10_000
        assert await buffer.append([entry(time=10)], None) is Custody.DURABLE
        assert len(await buffer.retry([letter.number])) == whole


async def test_a_body_that_would_fill_a_small_store_does_not_stop_it(tmp_path: Path) -> None:
    """What is more than a quarter of the file is declared; before, no commit was possible any more."""
    async with open_buffer(BufferConfig(path=tmp_path, min_free=0, max_bytes=1 << 20)) as buffer:
        await buffer.append([entry(body=b'{"a":"' + bytes(800_000) + b'"}')], None)
        assert await buffer.append([entry()], None) is Custody.DURABLE
        assert (await buffer.stats()).healthy
        assert [json.loads(record.entry.body).get("reason") for record in await buffer.peek(OUT, None, 9, "E")] == [
            "rejected",
            None,
        ]


def test_a_batch_that_is_written_again_makes_one_letter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A commit whose fate is unknown is repeated: the rows stay, and so does the one dead letter."""
    outbox = Outbox(BufferConfig(path=tmp_path, min_free=0), 0.0, prefix="edgeagent")
    real, failures = Store.insert, [apsw.IOError("EIO after the commit")]

    def insert(store: Store, batch: object) -> None:
        real(store, batch)
        if failures:
            store.db.execute("COMMIT")
            store.db.execute("BEGIN")
            raise failures.pop()

    monkeypatch.setattr(Store, "insert", insert)
    outbox.add(Group([entry(time=1 << 63)], ()))
    outbox.work(1.0)
    assert not failures
    assert len(outbox.dead_letters(0, 10)) == 1
    assert [record.key.seq for record in outbox.peek(None, 10, "E")] == [1]
    outbox.close(2.0)


def test_what_waited_in_memory_fits_a_small_store_when_the_disk_is_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """More was appended while the disk was away than the whole store may hold: the rest is declared, and the store is healthy again."""
    outbox = Outbox(BufferConfig(path=tmp_path, min_free=0, max_bytes=1 << 20), 0.0, prefix="edgeagent")
    with monkeypatch.context() as away:
        away.setattr(Store, "insert", _no_disk)
        for number in range(60):
            outbox.add(Group([entry(body=b'{"a":"' + b"x" * 400 + b'"}') for _ in range(100)], ()))
            outbox.work(1.0 + number)
        assert not outbox.stats().healthy
    outbox.work(100.0)
    assert outbox.stats().healthy
    records = outbox.peek(None, 10_000, "E")
    lost = sum(json.loads(record.entry.body).get("lost", {}).get("max", 0) for record in records)
    assert lost + sum("collection.gap" not in record.entry.type for record in records) == 6_000
    outbox.close(200.0)


def _no_disk(*_: object) -> None:
    raise apsw.IOError("EIO")
