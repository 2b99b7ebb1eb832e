"""When commits are made, who shares them, and what one request can do to another."""

from __future__ import annotations

import asyncio
import threading

import apsw
import pytest

from edge_agent.buffer import failpoint
from edge_agent.buffer.commit import Committer
from edge_agent.buffer.config import BufferConfig
from edge_agent.buffer.delivery import Delivery
from edge_agent.buffer.numbering import Group
from edge_agent.buffer.outbox import Outbox
from edge_agent.buffer.sqlite import open_buffer
from edge_agent.buffer.store import Store
from edge_agent.model.errors import StorageError
from edge_agent.model.stream import Checkpoint, Custody, Entry, RecordKey

OUT = "mqtt"


def event(number: int = 1, body: object = b"{}") -> Entry:
    """Any event."""
    return Entry("filler", "E", "edgeagent.x.v1", number, number, body)


@pytest.fixture
def outbox(tmp_path):
    """An outbox at machine time 0, with the default policy: 100 ms, 500 events."""
    opened = Outbox(BufferConfig(path=tmp_path, min_free=0), 0.0, prefix="edgeagent")
    yield opened
    opened.close(1e6)


def add(outbox: Outbox, now: float, events: int = 1) -> None:
    """Append and let it work."""
    outbox.add(Group([event(i) for i in range(events)], (), None))
    outbox.work(now)


def test_the_first_append_after_a_pause_is_committed_at_once(outbox):
    """When the last commit is older than the interval nothing waits."""
    add(outbox, 10.0)
    assert outbox.committer.commits == 1
    add(outbox, 10.2)
    assert outbox.committer.commits == 2


def test_appends_inside_the_interval_share_the_next_commit(outbox):
    """At most one commit per interval under load, and `due` tells when."""
    add(outbox, 10.0)
    add(outbox, 10.01)
    add(outbox, 10.05)
    assert outbox.committer.commits == 1
    assert outbox.due(10.05) == pytest.approx(0.05)
    outbox.work(10.1)
    assert (outbox.committer.commits, outbox.stats().waiting_events) == (2, 3)


def test_a_full_batch_does_not_wait(outbox):
    """At 500 events the commit is made before its interval ends."""
    add(outbox, 10.0)
    add(outbox, 10.01, events=499)
    assert outbox.committer.commits == 1
    add(outbox, 10.02)
    assert outbox.committer.commits == 2


def test_deliveries_alone_wait_a_second_and_ride_with_appends(outbox):
    """Settling costs no commit of its own while appends come, and one per second without them."""
    add(outbox, 10.0, events=30)
    for seq in range(1, 11):
        outbox.settle([RecordKey("filler", outbox.committer.epoch, seq)], [])
        outbox.work(10.2)
    assert outbox.committer.commits == 1
    add(outbox, 10.5)
    assert (outbox.committer.commits, len(outbox.committer.delivery)) == (2, 0)
    outbox.settle([RecordKey("filler", outbox.committer.epoch, 11)], [])
    outbox.work(11.0)
    assert (outbox.committer.commits, outbox.due(11.0)) == (2, pytest.approx(1.0, abs=0.5))
    outbox.work(12.1)
    assert outbox.committer.commits == 3


def test_a_refusal_does_not_wait_a_second(outbox):
    """The receiver stands before a hole until the loss record is there: the commit comes with the next interval."""
    add(outbox, 10.0, events=3)
    outbox.settle([], [(RecordKey("filler", outbox.committer.epoch, 2), "no")])
    outbox.work(10.1)
    assert outbox.committer.commits == 2


@pytest.mark.parametrize("dropped", [False, True], ids=["delivered", "dropped"])
def test_what_reached_the_disk_in_a_failed_commit_is_not_queued_again(tmp_path, outbox, monkeypatch, dropped):
    """The sync fails behind the commit, then the disk is full, so the rows go out, or go: the trial that works must not bring them back."""
    add(outbox, 1.0)
    write, reach = Delivery.write, failpoint.reach
    faults = iter([apsw.IOError("a sync that fails")])

    def full(*_: object) -> None:
        raise apsw.FullError("database or disk is full")

    def unsynced(place: str) -> None:
        reach(place)
        if place == "after_commit" and (error := next(faults, None)) is not None:
            monkeypatch.setattr(Delivery, "write", full)
            raise error

    monkeypatch.setattr(failpoint, "reach", unsynced)
    if not dropped:
        monkeypatch.setattr(Committer, "_force_room", lambda *_: False)  # as on a larger store, which has older ones to drop
    outbox.add(Group([event(2), event(3)], (Checkpoint("filler", {"r": b"1"}, 5),), "second"))
    outbox.work(2.0)
    assert outbox.answers[-1] == ("second", Custody.VOLATILE)
    keys = [record.key for record in outbox.peek(None, 10, "E")]
    assert [key.seq for key in keys] == ([3] if dropped else [1, 2, 3])  # one loss record for all of them, or they themselves
    if not dropped:
        outbox.settle(keys, [])
    monkeypatch.setattr(Delivery, "write", write)
    outbox.work(4.0)
    assert (outbox.stats().healthy, outbox.stats().waiting_events) == (True, 1 if dropped else 0)
    assert [record.key.seq for record in outbox.peek(None, 10, "E")] == ([3] if dropped else [])
    assert outbox.states("filler") == ({"r": b"1"}, 5)
    epoch = outbox.committer.epoch
    outbox.close(5.0)
    again = Outbox(BufferConfig(path=tmp_path, min_free=0), 5.0, prefix="edgeagent")
    assert (again.committer.epoch, again.committer.damage) == (epoch, None)
    again.close(6.0)


def test_a_heartbeat_is_a_commit_but_an_idle_store_makes_none(outbox):
    """An hour without requests writes nothing."""
    add(outbox, 10.0)
    for second in range(11, 3600, 100):
        outbox.work(float(second))
    assert outbox.committer.commits == 1


async def test_appends_of_several_owners_share_one_commit(tmp_path):
    """What waited while the last commit ran goes in one transaction, and everybody is answered after it."""
    async with open_buffer(BufferConfig(path=tmp_path, min_free=0)) as buffer:
        await buffer.append([event()], None)
        answers = await asyncio.gather(*(buffer.append([event(n)], Checkpoint(f"unit{n}", {"n": b"1"}, n)) for n in range(50)))
        assert answers == [Custody.DURABLE] * 50
        assert (await buffer.stats()).commits == 2


BAD = [
    pytest.param(Entry("\ud800", "E", "x", 1, 1, b""), None, id="a_name_that_is_no_text"),
    pytest.param(event(), Checkpoint("filler", {"n": 7}, 1), id="a_state_that_is_not_bytes"),
    pytest.param(event(), Checkpoint("filler", {}, None), id="a_checkpoint_without_time"),
]


@pytest.mark.parametrize(("entry", "checkpoint"), BAD)
async def test_a_wrong_append_does_not_poison_the_others(tmp_path, entry: Entry, checkpoint: Checkpoint | None):
    """Only the one who asked for nonsense is refused; its neighbours in the commit are durable, without a hole in the numbers."""
    async with open_buffer(BufferConfig(path=tmp_path, min_free=0)) as buffer:
        answers = await asyncio.gather(
            buffer.append([event(1)], None),
            buffer.append([event(2), entry], checkpoint),
            buffer.append([event(3)], None),
            return_exceptions=True,
        )
        assert (answers[0], answers[2]) == (Custody.DURABLE, Custody.DURABLE)
        assert isinstance(answers[1], StorageError)
        assert [(r.key.seq, r.entry.time) for r in await buffer.peek(OUT, None, 10, "E")] == [(1, 1), (2, 3)]
        assert await buffer.states("filler") == ({}, None)


async def test_a_cancelled_append_disturbs_nobody(tmp_path):
    """Whoever stops waiting leaves the others alone; the append itself stands."""
    async with open_buffer(BufferConfig(path=tmp_path, min_free=0)) as buffer:
        await buffer.append([event(1)], None)
        waiter = asyncio.create_task(buffer.append([event(2)], None))
        await asyncio.sleep(0)
        waiter.cancel()
        assert await buffer.append([event(3)], None) is Custody.DURABLE
        assert waiter.cancelled()
        assert [r.entry.time for r in await buffer.peek(OUT, None, 10, "E")] == [1, 2, 3]


async def test_what_waits_is_committed_on_the_way_out(tmp_path):
    """Leaving the context commits appends whose interval was not over, and ends the thread."""
    async with open_buffer(BufferConfig(path=tmp_path, min_free=0, commit_interval="10s")) as buffer:
        await buffer.append([event(1)], None)
        late = asyncio.create_task(buffer.append([event(2)], None))
        await asyncio.sleep(0)
    assert await late is Custody.DURABLE
    assert not [thread for thread in threading.enumerate() if thread.name == "buffer-writer"]
    with pytest.raises(StorageError, match="closed"):
        await buffer.append([event(3)], None)


async def test_a_bug_in_the_writer_is_told_to_everybody(tmp_path, monkeypatch):
    """Nobody waits for ever on a thread that has ended."""
    async with open_buffer(BufferConfig(path=tmp_path, min_free=0)) as buffer:
        monkeypatch.setattr(Store, "insert", bug)
        answers = await asyncio.gather(buffer.append([event(1)], None), buffer.append([event(2)], None), return_exceptions=True)
        assert [type(answer) for answer in answers] == [StorageError, StorageError]
        with pytest.raises(StorageError, match="IndexError"):
            await buffer.stats()


def bug(self: Store, batch: object) -> None:
    """What nobody expected."""
    raise IndexError("list index out of range")


async def test_a_store_that_cannot_be_read_is_said(tmp_path, monkeypatch):
    """An error of the disk in a question is a StorageError for the one who asked."""
    async with open_buffer(BufferConfig(path=tmp_path, min_free=0)) as buffer:
        with monkeypatch.context() as patch:
            patch.setattr(Store, "levels", broken)
            with pytest.raises(StorageError, match="cannot be read: IOError"):
                await buffer.heads()
        assert await buffer.heads() == {}


def broken(self: Store, epoch: str) -> None:
    """What a dead disk says."""
    raise apsw.IOError("disk I/O error")


async def test_a_second_output_is_refused(tmp_path):
    """Custody belongs to one output."""
    async with open_buffer(BufferConfig(path=tmp_path, min_free=0)) as buffer:
        await buffer.peek(OUT, None, 1, "E")
        with pytest.raises(ValueError, match="belong to output 'mqtt'"):
            await buffer.peek("historian", None, 1, "E")


async def test_peek_does_not_scan(tmp_path):
    """The queue is read through its index, from the place reached, however long it is."""
    async with open_buffer(BufferConfig(path=tmp_path, min_free=0)):
        pass
    from edge_agent.buffer import records

    database = apsw.Connection(str(tmp_path / "buffer.db"))
    plan = [row[3] for row in database.execute("EXPLAIN QUERY PLAN " + records._WAITING, ("E", 5, 10))]
    database.close()
    assert plan == ["SEARCH w USING PRIMARY KEY (kind=? AND id>?)", "SEARCH r USING INTEGER PRIMARY KEY (rowid=?) LEFT-JOIN"]
