"""Pages that rot under a running agent, or under what a start looks at: nothing new is lost, and nobody has to help."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import apsw
import pytest
from test_buffer_witness import OTHER, UNITS, Life, flip, go_on, spoil

from edge_agent.buffer import commit, opening
from edge_agent.buffer.database import Database
from edge_agent.buffer.evict import Evicted, make_room
from edge_agent.buffer.identity import DATABASE, remember
from edge_agent.buffer.numbering import Group
from edge_agent.model.stream import Checkpoint, Custody, Entry

MADE = 8


def spoil_page(directory: Path, table: str, offset: int = 0, value: int = 0) -> None:
    """Overwrite one byte of the first page of a table or an index."""
    database = apsw.Connection(str(directory / DATABASE))
    page = database.execute("SELECT rootpage FROM sqlite_schema WHERE name = ?", (table,)).get
    database.close()
    content = bytearray((directory / DATABASE).read_bytes())
    content[(page - 1) * 4096 + offset] = value
    (directory / DATABASE).write_bytes(content)


def rot(life: Life, table: str, old: bytes, new: bytes) -> None:
    """Overwrite some bytes in the first page of a table or an index while the store is open: it is read anew when it is needed."""
    store = life.outbox.committer.store
    start = (store.db.execute("SELECT rootpage FROM sqlite_schema WHERE name = ?", (table,)).get - 1) * 4096
    store.checkpoint()
    content = store.path.read_bytes()
    assert content.count(old, start, start + 4096) == 1
    with store.path.open("r+b") as file:
        file.seek(content.index(old, start))
        file.write(new)
    store.db.release_memory()


def told(life: Life, stream: str) -> list[bytes]:
    """Return what the consumer has of a stream."""
    for _ in range(3):
        life.deliver()
    return [body for key, body in life.got.items() if key.stream == stream]


def append(life: Life, stream: str, numbers: range) -> Custody:
    """Append numbered events with their state; return the answer."""
    events = tuple(Entry(stream, "E", "edgeagent.x.v1", n, n, f"{stream} {n}".encode()) for n in numbers)
    life.outbox.add(Group(events, (Checkpoint(stream, {"n": str(numbers[-1]).encode()}, numbers[-1]),), "it"))
    life.turn()
    return next(answer for token, answer in life.outbox.answers if token == "it")


def test_a_number_that_a_rotten_index_holds_for_taken_is_given_all_the_same(tmp_path: Path) -> None:
    """One byte says that a record of the second stream is one of the third, which begins now: its event was passed over."""
    life = Life(tmp_path / "store")
    life.make(MADE)
    for _ in range(2):
        life.deliver()
    rot(life, "sqlite_autoindex_record_1", b"\x04\x01\x01\x01\x02\x08\x10", b"\x04\x01\x01\x01\x03\x08\x10")
    assert append(life, "acme/c", range(1, MADE + 3)) is Custody.DURABLE
    assert told(life, "acme/c") == [f"acme/c {n}".encode() for n in range(1, MADE + 3)]
    assert (life.outbox.stats().healthy, life.outbox.committer.damage is not None) == (True, True)
    life.end()


@pytest.mark.parametrize("entry", [b"\x03\x07\x0f", b"\x02\x67\x0f"], ids=["stream", "number"])
def test_an_index_out_of_its_order_is_found_at_the_start(first: Life, tmp_path: Path, entry: bytes) -> None:
    """New entries would be put before the rotten one and not be found again: a level was raised over records that waited."""
    flip(tmp_path / "store", "sqlite_autoindex_record_1", b"\x04\x01\x01\x01\x02\x07\x0f", b"\x04\x01\x01\x01" + entry)
    life = Life(tmp_path / "store", MADE)
    damage = life.outbox.committer.damage
    assert damage is not None
    assert (damage.saved, damage.lost, damage.cut) == (MADE - 1, (), False)
    life.end()


def test_damage_that_a_commit_meets_is_set_right_with_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A page of a store too large for the check at the start: the events of the commit are durable in the new one; before, none ever was again."""
    monkeypatch.setattr(Database, "check", lambda *_: None)
    life = Life(tmp_path / "store")
    life.make(MADE)
    life.end()
    spoil_page(tmp_path / "store", "state")
    life = Life(tmp_path / "store", MADE)
    assert life.outbox.committer.damage is None
    assert append(life, UNITS[0], range(MADE + 1, MADE + 4)) is Custody.DURABLE
    assert told(life, UNITS[0]) == [f"{UNITS[0]} {n}".encode() for n in range(1, MADE + 4)]
    assert told(life, UNITS[1]) == [f"{UNITS[1]} {n}".encode() for n in range(1, MADE + 1)]
    assert life.outbox.states(UNITS[0]) == ({"n": b"11"}, 11)
    assert (life.outbox.stats().healthy, life.outbox.committer.damage is not None) == (True, True)
    life.end()


def test_damage_that_making_room_meets_is_set_right(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file at its limit whose queue cannot be read: what is saved is all there is, so there is room."""
    life = Life(tmp_path / "store")
    life.make(1)
    real, faults = make_room, [apsw.CorruptError("a page"), apsw.FullError("database or disk is full")]

    def full(*arguments: Any, **more: Any) -> Evicted:
        if faults:
            raise faults.pop()
        return real(*arguments, **more)

    monkeypatch.setattr(commit, "make_room", full)
    assert append(life, UNITS[0], range(2, 4)) is Custody.DURABLE
    assert (len(told(life, UNITS[0])), faults, life.outbox.committer.damage is not None) == (3, [], True)
    life.end()


def test_a_name_of_a_row_that_rotted_into_a_delivered_one_proves_no_delivery(tmp_path: Path) -> None:
    """No checksum covers the name of a row: salvage took the record that waited for one that was gone."""
    life = Life(tmp_path / "store")
    life.make(MADE)
    life.deliver(MADE + 1)
    life.end()
    flip(tmp_path / "store", "record", b"\x0c\x0e\x00", b"\x02\x0e\x00")  # row 12, of a header of 14 bytes
    life = go_on(life, tmp_path / "store")
    assert life.outbox.committer.damage is not None
    life.end()


@pytest.fixture
def first(tmp_path: Path) -> Life:
    """A store whose last records wait; what went out is in ``got``."""
    life = Life(tmp_path / "store")
    life.make(MADE)
    life.deliver(MADE + 1)
    life.end()
    return life


def test_a_format_that_is_no_text_any_more_is_put_right(first: Life, tmp_path: Path) -> None:
    """One byte of a fact that the header says too: the store was given up, and nothing of it could be saved, since that fact was asked first."""
    spoil(tmp_path / "store", "UPDATE store SET value = CAST(X'C5' AS TEXT) WHERE key = 'format'")
    life = go_on(first, tmp_path / "store")
    assert (life.outbox.committer.damage, life.outbox.committer.epoch) == (None, first.outbox.committer.epoch)
    assert life.outbox.committer.store.get("format") == "1"
    life.end()


@pytest.mark.parametrize("beside", ["kept", "lost"])
@pytest.mark.parametrize("table", ["store", "stream"])
def test_a_page_of_facts_or_streams_takes_no_record_along(first: Life, tmp_path: Path, table: str, beside: str) -> None:
    """The epoch stands in each stream, and each stream in an index: what waits is saved under its numbers; before, all of it was given up."""
    directory, epoch = tmp_path / "store", first.outbox.committer.epoch
    spoil_page(directory, table)
    if beside == "lost":
        (directory / "identity.json").unlink()
    life = go_on(first, directory)
    damage = life.outbox.committer.damage
    assert damage is not None
    assert (damage.epoch, damage.saved, damage.lost, damage.cut) == (epoch, MADE - 1, (), table == "stream")
    life.end()


@pytest.mark.parametrize("beside", ["lost", "another"])
def test_the_epoch_before_is_the_one_that_the_damaged_store_proves(first: Life, tmp_path: Path, beside: str) -> None:
    """The identity file was lost, or came with a copy of another store: a receiver is told what the streams were called, not what stood there."""
    directory, epoch = tmp_path / "store", first.outbox.committer.epoch
    (directory / "identity.json").unlink() if beside == "lost" else remember(directory, OTHER)
    spoil_page(directory, "waiting")
    life = go_on(first, directory)
    assert (life.outbox.committer.fresh, life.outbox.committer.previous_epoch) == (True, epoch)
    life.end()
    again = Life(directory, MADE)
    assert again.outbox.committer.previous_epoch == epoch
    again.end()


def test_a_kill_while_a_damaged_store_is_saved_is_made_good(first: Life, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The new store was there and whole, so the next start took it for all there was: what waited was left behind without a word."""
    spoil_page(tmp_path / "store", "waiting")

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(opening, "salvage", killed)
        with pytest.raises(KeyboardInterrupt):
            Life(tmp_path / "store", MADE)
    life = go_on(first, tmp_path / "store")
    damage = life.outbox.committer.damage
    assert damage is not None
    assert (damage.epoch, damage.saved, damage.lost) == (first.outbox.committer.epoch, MADE - 1, ())
    life.outbox.add(Group((), (Checkpoint("agent", {}, 1),), declares=damage))
    life.end()
    again = Life(tmp_path / "store", MADE)
    assert again.outbox.committer.damage is None
    again.end()


def test_a_state_that_is_nothing_any_more_is_one_that_rotted(first: Life, tmp_path: Path) -> None:
    """The page counts a cell too many: a row without a name ended salvage, and would have ended the writer of the buffer at every start."""
    spoil_page(tmp_path / "store", "state", 4, 3)
    life = Life(tmp_path / "store", MADE)
    life.outbox.committer.distrust(apsw.CorruptError("a page"))
    damage = life.outbox.committer.damage
    assert damage is not None
    assert (damage.saved, damage.lost, damage.cut) == (MADE - 1, (), False)
    assert life.outbox.states(UNITS[1]) == ({"n": b"8"}, MADE)
    life.end()


def test_whichever_byte_of_any_page_rots(first: Life, tmp_path: Path) -> None:
    """Every 31st byte, those of the schema, the queue and the indexes too: no number twice, no hole, no loss that is not declared, and events are durable."""
    content = (tmp_path / "store" / DATABASE).read_bytes()
    for place in [place for place in range(len(content)) if content[place]][::31]:
        rotten = tmp_path / f"rotten{place}"
        shutil.copytree(tmp_path / "store", rotten)
        (rotten / DATABASE).write_bytes(content[:place] + bytes([content[place] ^ 1 << place % 8]) + content[place + 1 :])
        life = go_on(first, rotten)
        assert life.outbox.stats().healthy, place
        life.end()
        shutil.rmtree(rotten)
