"""What a consumer has confirmed decides what may be deleted; only room wins over it, and says so."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path

import apsw
import pytest

from edge_agent.buffer.config import BufferConfig
from edge_agent.buffer.lineage import Succession
from edge_agent.buffer.numbering import Group
from edge_agent.buffer.outbox import Outbox
from edge_agent.model.stream import Entry

HOUR = 3600.0


def event(number: int, stream: str = "filler", size: int = 0) -> Entry:
    """A count whose running total is its number; telemetry where the stream is one."""
    body = json.dumps({"counter": "total", "delta": 1, "total": number, "pad": "x" * size}).encode()
    kind = "T" if stream.endswith("/telemetry") else "E"
    return Entry(stream, kind, "edgeagent.production.count.v1", number, number, body)


def config(tmp_path: Path, **changes: object) -> BufferConfig:
    """Return the configuration of a store that waits for confirmations."""
    return BufferConfig.model_validate({"path": tmp_path, "min_free": 0, "confirm": True, "resend_window": "1h", **changes})


@pytest.fixture
def outbox(tmp_path: Path) -> Iterator[Outbox]:
    """Return an open store at machine time 0."""
    opened = Outbox(config(tmp_path), 0.0, prefix="edgeagent")
    yield opened
    opened.close(1e6)


def deliver(outbox: Outbox, now: float, *entries: Entry) -> None:
    """Append, deliver and commit at ``now``."""
    outbox.add(Group(entries, ()))
    outbox.work(now)
    keys = [record.key for kind in ("E", "T") for record in outbox.peek(None, 10_000, kind) if not record.resent]
    outbox.settle(keys, [])
    outbox._commit(now)


def kept(outbox: Outbox, stream: str = "filler") -> list[int]:
    """Return the numbers that are still there."""
    return [record.key.seq for record in outbox.kept(stream, outbox.committer.epoch, 1, 10**6, 10_000).records]


def test_nothing_expires_before_it_is_confirmed(outbox: Outbox) -> None:
    """After the window only what the consumer has applied goes; telemetry is held for nobody who has not confirmed some."""
    deliver(outbox, 1.0, *(event(n) for n in range(1, 6)), event(1, "filler/telemetry"))
    deliver(outbox, 2 * HOUR, event(6), event(2, "filler/telemetry"))
    assert kept(outbox) == [1, 2, 3, 4, 5, 6]
    assert kept(outbox, "filler/telemetry") == [2]
    assert outbox.confirm("filler", outbox.committer.epoch, 3) == "taken"
    deliver(outbox, 2 * HOUR + 1, event(7))
    assert kept(outbox) == [4, 5, 6, 7]
    assert outbox.confirm("filler", outbox.committer.epoch, 6) == "taken"
    deliver(outbox, 2 * HOUR + 2, event(8))
    assert kept(outbox) == [6, 7, 8]  # confirmed, but in its window


def test_a_mark_moves_only_forward_and_only_over_what_was_delivered(outbox: Outbox) -> None:
    """Unknown streams and epochs, numbers never delivered, steps back: each is named and moves nothing."""
    epoch = outbox.committer.epoch
    deliver(outbox, 1.0, event(1), event(2), event(3))
    outbox.add(Group([event(4)], ()))
    outbox.work(2.0)
    said = [
        outbox.confirm(*claim)
        for claim in [
            ("filler", epoch, 4), ("filler", epoch, 2), ("filler", epoch, 2), ("filler", epoch, 1), ("filler", "other", 3),
            ("packer", epoch, 1), ("filler", epoch, 3),
        ]
    ]  # fmt: skip
    assert said == ["ahead", "taken", "known", "backwards", "unknown", "unknown", "taken"]
    assert {level.stream: level.confirmed for level in outbox.levels()} == {"filler": 3}


def test_a_mark_survives_a_restart(tmp_path: Path) -> None:
    """It is written with the commits; a store that does not ask for confirmations knows of none."""
    first = Outbox(config(tmp_path), 0.0, prefix="edgeagent")
    deliver(first, 1.0, event(1), event(2))
    first.confirm("filler", first.committer.epoch, 2)
    first.close(2.0)
    second = Outbox(config(tmp_path), 3.0, prefix="edgeagent")
    assert [level.confirmed for level in second.levels()] == [2]
    assert second.confirm("filler", second.committer.epoch, 1) == "backwards"
    second.close(4.0)
    third = Outbox(config(tmp_path, confirm=False), 5.0, prefix="edgeagent")
    assert third.confirm("filler", third.committer.epoch, 2) == "unknown"
    assert [level.confirmed for level in third.levels()] == [None]
    third.close(6.0)


@pytest.mark.parametrize("sent", [True, False], ids=["losses_are_sent", "losses_wait"])
def test_a_full_store_drops_what_is_confirmed_first_and_declares_the_rest(tmp_path: Path, sent: bool) -> None:
    """The size stays under the quota; loss records cover exactly what nobody had confirmed, wait to be sent, and merge once they were."""
    outbox = Outbox(config(tmp_path, max_bytes="1MiB"), 0.0, prefix="edgeagent")
    made = 0
    for turn in range(60):
        if sent and turn < 50:
            outbox.settle([record.key for record in outbox.peek(None, 10, "E")], [])
        deliver(outbox, 1.0 + turn, *(event(made + n, size=400) for n in range(1, 51)))
        made += 50
        if turn == 5:
            outbox.confirm("filler", outbox.committer.epoch, 200)
    losses = outbox.peek(None, 10, "E")
    ranges = [json.loads(loss.entry.body) for loss in losses]
    assert len(losses) == 1 if sent else len(losses) > 1
    covered = [number for data in ranges for number in range(data["seq_from"], data["seq_to"] + 1)]
    numbers = kept(outbox)
    ends = [data["seq_to"] for data in ranges]
    assert covered == list(range(201, ends[-1] + 1))
    assert numbers == [*ends, *range(ends[-1] + 1, made + 1)]
    for loss, data in zip(losses, ranges, strict=True):
        assert loss.resent
        assert (data["reason"], loss.key.seq) == ("buffer_overflow", data["seq_to"])
        assert data["lost"] == {"min": 0, "max": data["seq_to"] - data["seq_from"] + 1}
        assert (data["totals_at_from"]["total"], data["totals_at_to"]["total"]) == (data["seq_from"] - 1, data["seq_to"])
    assert sum(file.stat().st_size for file in tmp_path.glob("buffer.db*")) <= 1 << 20
    assert outbox.stats().waiting_events == len(losses)
    assert outbox.committer.counts == outbox.committer.store.counts()
    outbox.settle([loss.key for loss in losses], [])
    outbox.close(1e6)
    again = Outbox(config(tmp_path, max_bytes="1MiB"), 0.0, prefix="edgeagent")
    assert not again.peek(None, 10, "E")
    again.close(1.0)


@pytest.mark.parametrize("restarted", [False, True])
def test_an_older_epoch_is_confirmed_to_its_end(tmp_path: Path, restarted: bool) -> None:
    """What waited when a new epoch began goes out under the old one, and its consumer may say so; before, it was "ahead" for ever."""
    outbox = Outbox(config(tmp_path), 0.0, prefix="edgeagent")
    old = outbox.committer.epoch
    deliver(outbox, 1.0, event(1), event(2), event(3))
    outbox.add(Group([event(4), event(5)], ()))
    outbox.work(2.0)
    outbox.succeed(Succession(old), 3.0)
    assert outbox.committer.epoch != old
    if restarted:
        outbox.close(4.0)
        outbox = Outbox(config(tmp_path), 5.0, prefix="edgeagent")
    assert outbox.confirm("filler", old, 4) == "ahead"
    deliver(outbox, 6.0, event(1))
    assert outbox.confirm("filler", old, 5) == "taken"
    assert sorted((level.epoch == old, level.delivered) for level in outbox.levels()) == [(False, 1), (True, 5)]
    assert [level for _, _, _, _, level in outbox.committer.store.all_levels()] == [5, 1]
    outbox.close(7.0)


def flips(tmp_path: Path, fact: str) -> Iterator[str]:
    """Write a fact of the store of before with each of its bits wrong in turn; yields what stands there now."""
    with contextlib.closing(apsw.Connection(str(tmp_path / "buffer.db"))) as database:
        value = database.execute("SELECT value FROM store WHERE key = ?", (fact,)).get
    for place in range(len(value) * 7):
        flipped = bytearray(value.encode())
        flipped[place // 7] ^= 1 << place % 7
        with contextlib.closing(apsw.Connection(str(tmp_path / "buffer.db"))) as database:
            database.execute("UPDATE store SET value = ? WHERE key = ?", (flipped.decode(), fact))
        yield flipped.decode()


def test_a_mark_in_which_a_bit_rotted_confirms_nothing(tmp_path: Path) -> None:
    """What the consumer never confirmed is kept, and the mark that it says again counts; before, a mark of 1 that rotted into 9 freed what a broker may have lost."""
    outbox = Outbox(config(tmp_path), 0.0, prefix="edgeagent")
    deliver(outbox, 1.0, *(event(n) for n in range(1, 10)), event(1, "filler/telemetry"))
    epoch = outbox.committer.epoch
    assert outbox.confirm("filler", epoch, 1) == "taken"
    outbox.close(2.0)
    for said in flips(tmp_path, "confirmed 1"):
        outbox = Outbox(config(tmp_path), 3.0, prefix="edgeagent")
        assert [level.confirmed for level in outbox.levels() if level.stream == "filler"] == [0], said
        outbox._commit(2 * HOUR)
        assert kept(outbox) == list(range(1, 10)), said
        outbox.committer.store.close()
    outbox = Outbox(config(tmp_path), 3.0, prefix="edgeagent")
    assert outbox.confirm("filler", epoch, 1) == "taken"
    outbox.close(4.0)


def test_a_running_time_in_which_a_bit_rotted_lets_nothing_expire(tmp_path: Path) -> None:
    """What was delivered stays for its window at least; before, a flipped digit made the whole window pass at once."""
    settings = config(tmp_path, confirm=False, resend_window="3s")
    outbox = Outbox(settings, 0.0, prefix="edgeagent")
    deliver(outbox, 1.0, event(1), event(2))
    outbox.close(2.0)
    for said in flips(tmp_path, "age"):
        outbox = Outbox(settings, 3.0, prefix="edgeagent")
        outbox._commit(3.1)
        assert kept(outbox) == [1, 2], said
        outbox.committer.store.close()


def test_everything_behind_a_hole_counts_when_the_hole_closes(tmp_path: Path) -> None:
    """However much was delivered behind a number that waited, and deleted since: a restart in between loses sight of none of it."""
    outbox = Outbox(config(tmp_path, confirm=False), 0.0, prefix="edgeagent")
    outbox.add(Group([event(n) for n in range(1, 2_501)], ()))
    outbox.work(1.0)
    first, *others = outbox.peek(None, 10_000, "E")
    outbox.settle([record.key for record in others], [])
    outbox._commit(2.0)
    outbox.committer.store.purge(0, 100, anyway=True)
    outbox.close(3.0)
    outbox = Outbox(config(tmp_path), 4.0, prefix="edgeagent")
    assert outbox.heads() == {"filler": (1, 2_500, 0)}
    outbox.settle([first.key], [])
    outbox._commit(5.0)
    assert outbox.heads() == {"filler": (1, 2_500, 2_500)}
    assert outbox.confirm("filler", outbox.committer.epoch, 2_500) == "taken"
    outbox.close(6.0)


def test_what_is_new_goes_out_although_nobody_confirms(tmp_path: Path) -> None:
    """A consumer that never says a word costs history, never a new event."""
    outbox = Outbox(config(tmp_path, max_bytes="1MiB"), 0.0, prefix="edgeagent")
    for turn in range(40):
        deliver(outbox, 1.0 + turn, *(event(50 * turn + n, size=400) for n in range(1, 51)))
        assert outbox.stats().healthy
        assert outbox.heads()["filler"][1:] == (50 * turn + 50, 50 * turn + 50)
    outbox.close(1e6)
