"""What the reader is handed from memory is what it would have read from the disk, whatever happens in between."""

from __future__ import annotations

import contextlib
import itertools
import json
import shutil
import tempfile
from pathlib import Path

import apsw
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from recording_vfs import RecordingVFS

from edge_agent.buffer import tail
from edge_agent.buffer.config import BufferConfig
from edge_agent.buffer.numbering import Group
from edge_agent.buffer.outbox import Outbox
from edge_agent.model.errors import StorageError
from edge_agent.model.stream import Checkpoint, Entry, Kind, Record, RecordKey

DISK = RecordingVFS("tail", log=False)
STREAMS: tuple[tuple[str, Kind], ...] = (("filler", "E"), ("capper", "E"), ("filler/telemetry", "T"))
KINDS: tuple[Kind, ...] = ("E", "T")


class Line:
    """An outbox driven by hand."""

    def __init__(self, directory: Path, **config: object) -> None:
        """Open a store in ``directory``."""
        self._config = BufferConfig(path=directory, min_free=0, **{"max_bytes": "1MiB", **config})
        self.now = 0.0
        self.made = itertools.count(1)
        self.open()

    def open(self) -> None:
        """Open the store."""
        self.outbox = Outbox(self._config, self.now, prefix="edgeagent", vfs=DISK.name)

    def add(self, streams: list[tuple[str, Kind]], size: int = 10) -> None:
        """Append one event for each of ``streams``; no commit yet."""
        events = [self._event(stream, kind, size) for stream, kind in streams]
        self.outbox.add(Group(tuple(events), (Checkpoint("filler", {}, 1),), 0))

    def _event(self, stream: str, kind: Kind, size: int) -> Entry:
        body = {"counter": "total", "delta": 1, "total": next(self.made), "pad": "p" * size}
        return Entry(stream, kind, "edgeagent.production.count.v1", 10**9, 0, json.dumps(body).encode())

    def commit(self) -> None:
        """Commit what waits, and everything that was decided."""
        self.now += 2.0
        self.outbox.work(self.now)

    def read(self, after: RecordKey | None, limit: int, kind: Kind) -> list[Record]:
        """What the reader is given."""
        return self.outbox.peek(after, limit, kind)

    def on_disk(self, after: RecordKey | None, limit: int, kind: Kind) -> list[Record]:
        """What a reader without a memory of commits would be given; nothing counts as handed out."""
        committer = self.outbox.committer
        if not committer.readable:
            return []
        position = committer.delivery._position(committer.store, after, kind)
        rows = committer.store.waiting(kind, position, 1_000)
        return [found.record for found in rows if found.record.key not in committer.delivery._verdicts][:limit]


class Reading(RuleBasedStateMachine):
    """A reader among appends, commits that fail, settlements, resends, evictions and openings."""

    def __init__(self) -> None:
        """Make a folder of our own."""
        super().__init__()
        self.folder = Path(tempfile.mkdtemp(prefix="buffer-tail-"))
        self.at: dict[Kind, RecordKey | None] = {"E": None, "T": None}

    @initialize(confirm=st.booleans(), most=st.sampled_from((3, 1_024)), largest=st.sampled_from((500, 1 << 20)))
    def start(self, *, confirm: bool, most: int, largest: int) -> None:
        """Open, with memory for few records or for many."""
        self.limits, tail.MOST, tail.LARGEST = (tail.MOST, tail.LARGEST), most, largest
        self.line = Line(self.folder, confirm=confirm)

    @property
    def healthy(self) -> bool:
        """Whether the store takes commits."""
        return not self.line.outbox._trouble and self.line.outbox.committer.readable

    @rule(picks=st.lists(st.sampled_from(STREAMS), max_size=6), size=st.sampled_from((10, 300, 60_000)), commit=st.booleans())
    def append(self, picks: list[tuple[str, Kind]], size: int, *, commit: bool) -> None:
        """Append, with the commit or before it; large bodies soon fill the store."""
        self.line.add(picks, size)
        if commit:
            self.line.commit()

    @rule()
    def commit(self) -> None:
        """Let a commit be made."""
        self.line.commit()

    @precondition(lambda self: self.healthy)
    @rule(reached=st.booleans())
    def failing_commit(self, *, reached: bool) -> None:
        """The first trial fails before the disk has it, or when it has reached the disk and nobody knows."""
        committer = self.line.outbox.committer
        thing, name = (committer.syncs, "observe") if reached else (committer.store, "put_states")
        with pytest.MonkeyPatch.context() as patch:

            def fail(*_: object) -> None:
                patch.undo()
                raise apsw.IOError("the disk said no")

            if reached:
                patch.setattr(type(thing), name, fail)
            else:
                patch.setattr(thing, name, fail)
            self.line.add([STREAMS[0], STREAMS[2]])
            self.line.commit()

    @rule(kind=st.sampled_from(KINDS), limit=st.sampled_from((0, 1, 4, 100)))
    def read_on(self, kind: Kind, limit: int) -> None:
        """Read behind what was read last."""
        there = self.line.on_disk(self.at[kind], limit, kind)
        found = self.line.read(self.at[kind], limit, kind)
        assert found in (there, [])
        assert found == there or not self.healthy  # a store in trouble may hand out nothing
        if found:
            self.at[kind] = found[-1].key

    @rule(kind=st.sampled_from(KINDS), limit=st.sampled_from((2, 100)))
    def reconnect(self, kind: Kind, limit: int) -> None:
        """Read from the oldest again."""
        self.at[kind] = None
        self.read_on(kind, limit)

    @rule(kind=st.sampled_from(KINDS), data=st.data(), refuse=st.booleans())
    def settle(self, kind: Kind, data: st.DataObject, *, refuse: bool) -> None:
        """Deliver or refuse some of what waits, in any order."""
        waiting = [record.key for record in self.line.read(None, 20, kind)]
        keys = data.draw(st.lists(st.sampled_from(waiting), unique=True)) if waiting else []
        self.line.outbox.settle([] if refuse else keys, [(key, "no") for key in keys] if refuse else [])

    @rule(stream=st.sampled_from(STREAMS), first=st.integers(1, 20), length=st.integers(0, 20))
    def resend(self, stream: tuple[str, Kind], first: int, length: int) -> None:
        """Ask for a range again."""
        with contextlib.suppress(StorageError):  # said while the disk is out of order
            self.line.outbox.resend(stream[0], self.line.outbox.committer.epoch, first, first + length, self.line.now)

    @precondition(lambda self: self.healthy)
    @rule(stream=st.sampled_from(STREAMS), seq=st.integers(1, 20))
    def confirm(self, stream: tuple[str, Kind], seq: int) -> None:
        """The consumer has applied some."""
        self.line.outbox.confirm(stream[0], self.line.outbox.committer.epoch, seq)

    @precondition(lambda self: self.healthy)
    @rule(need=st.sampled_from((100_000, 600_000)))
    def fill(self, need: int) -> None:
        """The disk says that it is full: something has to go."""
        self.line.outbox.committer._force_room(need)

    @precondition(lambda self: self.healthy)
    @rule()
    def reopen(self) -> None:
        """Lose the handle, and open the same store again."""
        self.line.outbox.committer._give_up_handle()
        self.line.outbox.committer._open()

    @rule()
    def restart(self) -> None:
        """Close in order, and begin anew."""
        self.line.outbox.close(self.line.now)
        self.line.open()
        self.at = {"E": None, "T": None}

    @invariant()
    def same(self) -> None:
        """From anywhere, memory and disk give the same."""
        for kind in KINDS if hasattr(self, "line") and self.line.outbox.committer.readable else ():
            for after in {None, self.at[kind]}:
                on_disk = self.line.on_disk(after, 100, kind)
                tails = self.line.outbox.committer.delivery.tails
                position = self.line.outbox.committer.delivery._position(self.line.outbox.committer.store, after, kind)
                held = tails[kind].behind(position, 100)
                assert held is None or [record for _, record in held] == on_disk
                assert tails[kind]._bytes == sum(len(record.entry.body) for _, record in tails[kind]._held.values())

    def teardown(self) -> None:
        """Close everything."""
        if hasattr(self, "line"):
            self.line.outbox.close(self.line.now)
            tail.MOST, tail.LARGEST = self.limits
        shutil.rmtree(self.folder)


TestReading = Reading.TestCase
TestReading.settings = settings(max_examples=25, stateful_step_count=30, deadline=None)


def test_a_reader_at_the_end_reads_nothing_back(tmp_path, monkeypatch):
    """After the first look, records come from memory as long as nothing but commits and deliveries happens."""
    line = Line(tmp_path)
    line.add([STREAMS[0]] * 3)
    line.commit()
    first = line.read(None, 100, "E")
    monkeypatch.setattr(line.outbox.committer.store, "waiting", lambda *_: pytest.fail("read from the disk"))
    last, numbers = first[-1].key, [record.key.seq for record in first]
    for _ in range(5):
        line.outbox.settle([record.key for record in first], [])
        line.add([STREAMS[0]] * 2)
        assert line.read(last, 100, "E") == []  # not before the commit
        line.commit()
        first = line.read(last, 100, "E")
        assert line.read(None, 100, "E") == first
        last = first[-1].key
        numbers += [record.key.seq for record in first]
    assert numbers == list(range(1, 14))
    line.outbox.close(line.now)


def test_the_memory_of_the_tail_is_bounded(tmp_path):
    """With nobody reading, the oldest leave the memory, and are read from the disk."""
    line = Line(tmp_path, max_bytes="64MiB")
    line.read(None, 1, "E")
    for _ in range(30):
        line.add([STREAMS[0]] * 50, size=2_000)
        line.commit()
    held = line.outbox.committer.delivery.tails["E"]
    assert 0 < held._bytes <= tail.LARGEST
    assert [record.key.seq for record in line.read(None, 2_000, "E")] == list(range(1, 1_501))
    line.outbox.close(line.now)


def test_what_is_asked_for_again_is_read_from_the_disk(tmp_path):
    """Delivered records that are marked again come before those that memory holds."""
    line = Line(tmp_path)
    line.add([STREAMS[0]] * 4)
    line.commit()
    keys = [record.key for record in line.read(None, 100, "E")]
    line.outbox.settle(keys[:2], [])
    assert [record.key for record in line.read(None, 100, "E")] == keys[2:]
    assert line.outbox.resend("filler", line.outbox.committer.epoch, 1, 1, line.now) == 1
    assert [(record.key, record.resent) for record in line.read(None, 100, "E")] == [
        (keys[0], True), (keys[2], False), (keys[3], False)
    ]  # fmt: skip
    line.outbox.close(line.now)


def test_a_resend_that_an_eviction_takes_back_waits_no_more(tmp_path):
    """What was to be sent again gives way to what was never sent, and is neither counted as waiting nor handed out any more."""
    line = Line(tmp_path)
    for _ in range(6):
        line.add([STREAMS[0]] * 4, size=5_000)
        line.commit()
    line.outbox.settle([record.key for record in line.read(None, 100, "E")], [])
    line.commit()
    line.outbox.close(line.now)
    line.open()
    committer = line.outbox.committer
    assert line.outbox.resend("filler", committer.epoch, 1, 24, line.now) == 24
    for _ in range(60):
        line.add([STREAMS[0]] * 2, size=9_000)
        line.commit()
        assert committer.counts == committer.store.counts()
    waiting = line.read(None, 1_000, "E")
    assert len(waiting) == committer.counts["E"]
    assert not any(record.resent for record in waiting)
    line.outbox.close(line.now)
