"""When there is no room: what goes first, how it is declared, and that the file stays inside its limits."""

from __future__ import annotations

import itertools
import json
from pathlib import Path

from recording_vfs import RecordingVFS

from edge_agent.buffer.config import BufferConfig
from edge_agent.buffer.numbering import Group
from edge_agent.buffer.outbox import Outbox
from edge_agent.model.stream import Checkpoint, Custody, Entry, Record, RecordKey

SIZE = 4 << 20
QUICK = RecordingVFS("quick", log=False)


class Filler:
    """An outbox driven by hand: a line that makes one part per event, and telemetry beside it."""

    def __init__(self, directory: Path, **config: object) -> None:
        """Open a small store."""
        self.directory = directory
        self.outbox = Outbox(
            BufferConfig(path=directory, min_free=0, **{"max_bytes": SIZE, **config}), 0.0, prefix="edgeagent", vfs=QUICK.name
        )
        self.now = 0.0
        self.parts = itertools.count(1)
        self.made = 0
        self.largest = 0

    def append(self, events: int = 0, telemetry: int = 0) -> None:
        """Append and expect custody on disk."""
        group = Group(
            (*(self.count() for _ in range(events)), *(values() for _ in range(telemetry))), (Checkpoint("filler", {}, 1),), 0
        )
        self.outbox.add(group)
        self.now += 1
        self.outbox.work(self.now)
        assert self.outbox.answers == [(0, Custody.DURABLE)]
        self.outbox.answers = []
        self.largest = max(self.largest, sum(file.stat().st_size for file in self.directory.iterdir()))

    def count(self) -> Entry:
        """The next part."""
        self.made = next(self.parts)
        body = {"counter": "total", "delta": 1, "total": self.made, "pad": "p" * 300}
        return Entry("filler", "E", "edgeagent.production.count.v1", self.made * 10**9, 0, json.dumps(body).encode())

    def waiting(self, kind: str) -> list[Record]:
        """Everything that waits."""
        return self.outbox.peek(None, 1_000_000, kind)


def values() -> Entry:
    """One telemetry message of ten samples."""
    return Entry("filler/telemetry", "T", "edgeagent.process.value.v1", 10**9, 0, b'{"pad":"' + b"t" * 2000 + b'"}', samples=10)


def covered(records: list[Record]) -> list[int]:
    """Return every number that the records deliver or declare, in order."""
    numbers: list[int] = []
    for record in records:
        if record.entry.type.endswith("collection.gap.v1"):
            gap = json.loads(record.entry.body)
            assert gap["seq_to"] == record.key.seq
            numbers += range(gap["seq_from"], gap["seq_to"] + 1)
        else:
            numbers.append(record.key.seq)
    return numbers


def test_telemetry_goes_before_events(tmp_path):
    """While there is telemetry no event is dropped; one merged gap declares it, with the samples counted."""
    filler = Filler(tmp_path)
    for _ in range(100):
        filler.append(events=8, telemetry=20)
    events, telemetry = filler.waiting("E"), filler.waiting("T")
    assert [record.key.seq for record in events] == list(range(1, 801))
    gaps = [record for record in telemetry if record.entry.type == "edgeagent.collection.gap.v1"]
    assert len(gaps) == 1
    gap = json.loads(gaps[0].entry.body)
    assert telemetry[0] is not None
    assert telemetry[0].key == gaps[0].key
    assert (gap["reason"], gap["seq_from"], gap["lost"]["max"]) == ("buffer_overflow", 1, gap["seq_to"])
    assert gap["samples"] == 10 * gap["seq_to"] == 10 * gaps[0].entry.samples / 10
    assert covered(telemetry) == list(range(1, 2001))
    assert filler.largest <= SIZE


def test_the_oldest_events_go_as_one_range_with_totals_at_both_ends(tmp_path):
    """Counts still reconcile over a hole: total before the first and after the last dropped event stand in its loss record."""
    filler = Filler(tmp_path)
    for _ in range(60):
        filler.append(events=200)
    records = filler.waiting("E")
    gap = json.loads(records[0].entry.body)
    assert covered(records) == list(range(1, 12_001))
    assert sum(record.entry.type.endswith("gap.v1") for record in records) == 1
    assert (gap["totals_at_from"], gap["totals_at_to"]) == ({"total": 0}, {"total": gap["seq_to"]})
    assert gap["lost"] == {"min": gap["seq_to"], "max": gap["seq_to"]}
    assert json.loads(records[1].entry.body)["total"] == gap["seq_to"] + 1
    assert filler.largest <= SIZE
    filler.outbox.close(filler.now)


def test_what_is_on_the_wire_is_not_dropped(tmp_path):
    """Records handed out stay; the hole begins behind them, and ends at its loss record."""
    filler = Filler(tmp_path)
    filler.append(events=100)
    window = filler.outbox.peek(None, 20, "E")
    for _ in range(60):
        filler.append(events=200)
    records = filler.waiting("E")
    assert records[:20] == window
    assert json.loads(records[20].entry.body)["seq_from"] == 21
    assert covered(records) == list(range(1, 12_101))
    filler.outbox.settle([record.key for record in records], [])
    assert filler.outbox.heads()["filler"][1:] == (12_100, 12_100)


def test_delivered_records_go_before_anything_that_waits(tmp_path):
    """Room is taken from the resend window first: a receiver that keeps up loses nothing."""
    filler = Filler(tmp_path)
    after = None
    for _ in range(80):
        filler.append(events=200)
        records = filler.outbox.peek(after, 1000, "E")
        assert all(record.entry.type == "edgeagent.production.count.v1" for record in records)
        after = records[-1].key
        filler.outbox.settle([record.key for record in records], [])
    assert filler.waiting("E") == []
    assert filler.outbox.heads()["filler"][1:] == (16_000, 16_000)
    first = filler.outbox.heads()["filler"][0]
    assert 1 < first < 16_000
    assert filler.largest <= SIZE


def test_the_resend_window_takes_a_quarter_of_the_quota(tmp_path):
    """Delivered records are kept, but not more than 25 % of the room, the newest of them."""
    filler = Filler(tmp_path, max_bytes=16 << 20)
    for _ in range(100):
        filler.append(events=200)
        filler.outbox.settle([record.key for record in filler.waiting("E")], [])
    first, head, _ = filler.outbox.heads()["filler"]
    used = filler.outbox.committer.store.pages()[1] * 4096
    assert 2 << 20 < used < 5 << 20
    assert filler.outbox.resend("filler", filler.outbox.committer.epoch, 1, head, filler.now) == head - first + 1


def test_the_resend_window_ends_by_running_time_whatever_the_clocks_say(tmp_path, monkeypatch):
    """Delivered records are deleted after their window of running time; a jump of the wall clock deletes nothing."""
    filler = Filler(tmp_path, resend_window="1h")
    filler.append(events=10)
    filler.outbox.settle([record.key for record in filler.waiting("E")], [])
    filler.append(events=1)
    monkeypatch.setattr("time.time_ns", lambda: 10**19)
    monkeypatch.setattr("time.time", lambda: 10**10)
    filler.append(events=1)
    assert filler.outbox.heads()["filler"][0] == 1
    filler.outbox.close(filler.now)
    filler.outbox = Outbox(filler.outbox._config, filler.now + 10**6, prefix="edgeagent")
    filler.now += 10**6
    filler.append(events=1)
    assert filler.outbox.heads()["filler"][0] == 1, "time while the agent was off does not count"
    filler.now += 3600
    filler.append(events=1)
    assert filler.outbox.heads()["filler"][0] == 11


def test_the_floor_of_free_space_binds_like_the_quota(tmp_path, monkeypatch):
    """When others fill the disk the store stops growing and drops by the same policy, declared; it grows again when there is room."""
    filler = Filler(tmp_path, max_bytes=64 << 20)
    for _ in range(20):
        filler.append(events=200)
    size = filler.outbox.committer.store.pages()[0]
    filler.outbox.committer.room._min_free = 1 << 60
    for _ in range(20):
        filler.append(events=200)
    assert filler.outbox.committer.store.pages()[0] <= size + 64
    assert covered(filler.waiting("E")) == list(range(1, 8001))
    assert filler.waiting("E")[0].entry.type == "edgeagent.collection.gap.v1"


def test_a_wish_to_send_again_is_given_up_for_room(tmp_path):
    """Records marked for resending were delivered once: they make room without being declared lost."""
    filler = Filler(tmp_path)
    filler.append(events=100)
    filler.outbox.settle([record.key for record in filler.waiting("E")], [])
    filler.append(events=1)
    filler.outbox.committer.delivery.floors["E"] = 0
    assert filler.outbox.resend("filler", filler.outbox.committer.epoch, 1, 100, filler.now) == 100
    for _ in range(60):
        filler.append(events=200)
    records = filler.waiting("E")
    gap = json.loads(records[0].entry.body)
    assert (gap["seq_from"], covered(records)) == (101, list(range(101, 12_102)))


def test_nothing_is_declared_lost_that_was_delivered(tmp_path):
    """Numbers delivered out of order split the range: the loss records cover what is between them and no more."""
    filler = Filler(tmp_path)
    filler.append(events=100)
    epoch = filler.outbox.committer.epoch
    filler.outbox.settle([RecordKey("filler", epoch, seq) for seq in (10, 20)], [])
    for _ in range(60):
        filler.append(events=200)
    records = filler.waiting("E")
    assert [record.key.seq for record in records[:2]] == [9, 19]
    assert covered(records) == [seq for seq in range(1, 12_101) if seq not in {10, 20}]


def test_numbers_go_on_when_every_record_is_gone(tmp_path):
    """A number is never used again, not even after the last record was delivered, deleted and the store opened anew."""
    filler = Filler(tmp_path, resend_window="1ms")
    filler.append(events=5)
    filler.outbox.settle([record.key for record in filler.waiting("E")], [])
    filler.append()
    filler.append()
    assert filler.outbox.heads()["filler"] == (6, 5, 5)
    filler.outbox.close(filler.now)
    filler.outbox = Outbox(filler.outbox._config, filler.now, prefix="edgeagent")
    assert filler.outbox.heads()["filler"] == (6, 5, 5)
    filler.append(events=1)
    assert [record.key.seq for record in filler.waiting("E")] == [6]


def test_what_was_dropped_is_told_while_it_happens(tmp_path):
    """The figures say how many undelivered records went, which is what the loss records say, and that the store is full; delivered ones do not count."""
    filler = Filler(tmp_path)
    filler.append(events=200, telemetry=20)
    stats = filler.outbox.stats()
    assert (stats.dropped, stats.full) == (0, False)
    while filler.outbox.stats().dropped < 3000:
        filler.append(events=200, telemetry=20)
    waiting = [*filler.waiting("E"), *filler.waiting("T")]
    gaps = [json.loads(record.entry.body) for record in waiting if record.entry.type.endswith("collection.gap.v1")]
    stats = filler.outbox.stats()
    assert stats.dropped == sum(gap["lost"]["max"] for gap in gaps)
    assert stats.full
