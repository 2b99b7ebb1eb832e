"""A commit whose fate is unknown, followed by damage: each event stands in one place all the same."""

from __future__ import annotations

from pathlib import Path

import apsw
import pytest

from edge_agent.buffer.config import BufferConfig
from edge_agent.buffer.database import Database
from edge_agent.buffer.numbering import Group
from edge_agent.buffer.outbox import Outbox
from edge_agent.buffer.store import Store
from edge_agent.model.stream import Checkpoint, Entry


def opened(directory: Path) -> Outbox:
    """Return an outbox that holds one event."""
    outbox = Outbox(BufferConfig(path=directory, min_free=0), 0.0, prefix="edgeagent")
    outbox.add(Group([entry(1)], ()))
    outbox.work(1.0)
    return outbox


def entry(number: int) -> Entry:
    """Return the numbered event."""
    return Entry("filler", "E", "edgeagent.x.v1", number, number, b'{"n":%d}' % number)


def a_page_rots(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """Have the next look at the pages find one damaged; return what is emptied by that."""
    damages = [True]

    def check(self: Database, seconds: float) -> None:
        if damages:
            damages.pop()
            raise apsw.CorruptError("a page")

    monkeypatch.setattr(Database, "check", check)
    return damages


@pytest.mark.parametrize("reached", [True, False])
def test_damage_right_behind_a_commit_numbers_nothing_twice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, reached: bool) -> None:
    """Salvage keeps what reached the disk under its old number; before, the repeated commit gave it a second one in the new epoch."""
    outbox = opened(tmp_path)
    epoch = outbox.committer.epoch
    real, fails = Store.insert, [True]

    def insert(store: Store, batch: object) -> None:
        if fails and fails.pop():
            if reached:
                real(store, batch)
                store.db.execute("COMMIT")
                store.db.execute("BEGIN")
            raise apsw.IOError("EIO")
        real(store, batch)

    monkeypatch.setattr(Store, "insert", insert)
    damages = a_page_rots(monkeypatch)
    outbox.add(Group([entry(2), entry(3)], (Checkpoint("filler", {"n": b"3"}, 3),)))
    outbox.work(2.0)
    outbox.add(Group([entry(4)], ()))
    outbox.work(4.0)
    new = outbox.committer.epoch
    records = [(record.key.epoch, record.key.seq, record.entry.body) for record in outbox.peek(None, 10, "E")]
    assert (new != epoch, fails, damages) == (True, [], [])
    if reached:
        assert records == [(epoch, 1, b'{"n":1}'), (epoch, 2, b'{"n":2}'), (epoch, 3, b'{"n":3}'), (new, 1, b'{"n":4}')]
    else:
        assert records == [(epoch, 1, b'{"n":1}'), (new, 1, b'{"n":2}'), (new, 2, b'{"n":3}'), (new, 3, b'{"n":4}')]
    assert outbox.states("filler") == ({"n": b"3"}, 3)
    assert outbox.stats().healthy
    assert outbox.committer.counts["E"] == 4
    outbox.close(5.0)


def test_dead_letters_sent_again_right_before_damage_are_told_under_their_number(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The commit that appended them reached the disk, then a page was damaged: the answer names the number that salvage kept."""
    outbox = opened(tmp_path)
    epoch = outbox.committer.epoch
    [record] = outbox.peek(None, 10, "E")
    outbox.settle([], [(record.key, "no")])
    outbox.work(2.0)
    outbox.work(4.0)
    real, fails = Store.insert, [True]

    def insert(store: Store, batch: object) -> None:
        real(store, batch)
        if fails and fails.pop():
            store.db.execute("COMMIT")
            store.db.execute("BEGIN")
            raise apsw.IOError("EIO")

    monkeypatch.setattr(Store, "insert", insert)
    a_page_rots(monkeypatch)
    [letter] = outbox.dead_letters(0, 10)
    [(number, key)] = outbox.retry([letter.number], 6.0)
    assert (number, key.epoch, key.seq) == (letter.number, epoch, 2)
    assert [record.key.seq for record in outbox.peek(None, 10, "E")] == [1, 2]
    outbox.close(7.0)
