"""What has no checksum of its own, the facts and the streams, is believed only where nothing contradicts it: a byte that rots there is declared."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import apsw
import pytest

from edge_agent.buffer.config import BufferConfig
from edge_agent.buffer.identity import DATABASE, remember
from edge_agent.buffer.numbering import Group
from edge_agent.buffer.outbox import Outbox
from edge_agent.model.stream import Checkpoint, Entry, RecordKey

UNITS = ("acme/a", "acme/b")
MADE, DELIVERED, MORE = 8, 5, 3
OTHER = "01J0000000000000000000000Z"


class Life:
    """A store on which two units make numbered events, and the consumer who gets them. Time moves two seconds per turn."""

    def __init__(self, directory: Path, made: int = 0) -> None:
        """Open the store, in which each unit has made ``made`` events."""
        directory.mkdir(exist_ok=True)
        self.now, self.made = 0.0, dict.fromkeys(UNITS, made)
        self.got: dict[RecordKey, bytes] = {}
        self.outbox = Outbox(BufferConfig(path=directory, min_free=0, max_bytes="4MiB"), 0.0, prefix="edgeagent")

    def turn(self) -> None:
        """Let the outbox work."""
        self.now += 2.0
        self.outbox.work(self.now)

    def make(self, count: int) -> None:
        """Have each unit make events, with the state that counts them."""
        for unit in UNITS:
            numbers = range(self.made[unit] + 1, self.made[unit] + count + 1)
            self.made[unit] += count
            events = tuple(Entry(unit, "E", "edgeagent.x.v1", n, n, f"{unit} {n}".encode()) for n in numbers)
            self.outbox.add(Group(events, (Checkpoint(unit, {"n": str(self.made[unit]).encode()}, self.made[unit]),)))
            self.turn()

    def deliver(self, limit: int = 1_000) -> None:
        """Hand out and settle once."""
        records = self.outbox.peek(None, limit, "E")
        self.got |= {record.key: record.entry.body for record in records}
        self.outbox.settle([record.key for record in records], [])
        self.turn()

    def end(self) -> None:
        """Close the store."""
        self.outbox.close(self.now)


@pytest.fixture
def first(tmp_path: Path) -> Life:
    """A store whose last records wait; what went out is in ``got``."""
    life = Life(tmp_path / "store")
    life.make(MADE)
    life.deliver(MADE + DELIVERED)
    life.end()
    return life


def spoil(directory: Path, statement: str, *arguments: object) -> None:
    """Change what stands in no index, as a byte that rots does."""
    database = apsw.Connection(str(directory / DATABASE))
    database.execute(statement, arguments)
    database.close()


def flip(directory: Path, table: str, old: bytes, new: bytes) -> None:
    """Overwrite some bytes wherever they stand in the page of a table (what was updated may have left a copy)."""
    database = apsw.Connection(str(directory / DATABASE))
    page = database.execute("SELECT rootpage FROM sqlite_schema WHERE name = ?", (table,)).get
    database.close()
    content = bytearray((directory / DATABASE).read_bytes())
    inside = slice((page - 1) * 4096, page * 4096)
    content[inside] = content[inside].replace(old, new)
    (directory / DATABASE).write_bytes(content)


def go_on(first: Life, directory: Path) -> Life:
    """Start again on what is left, make and deliver more, and judge: each event came under one number, or its number is declared."""
    life = Life(directory, MADE)
    life.got = dict(first.got)
    for _ in range(3):
        life.deliver()
    life.make(MORE)
    for _ in range(3):
        life.deliver()
    damage = life.outbox.committer.damage
    unknown = damage is not None and (damage.lost is None or damage.cut)
    bodies = set(life.got.values())
    declared = {number for body in bodies if body[:1] == b"{" for number in _declared(body)}
    assert all(first.got[key] == life.got[key] for key in first.got), "a number was used twice"
    missing = {f"{unit} {n}" for unit in UNITS for n in range(1, MADE + MORE + 1)} - {
        body.decode(errors="replace") for body in bodies
    }
    assert unknown or missing <= declared, f"lost: {sorted(missing - declared)}"
    for epoch, stream in {(key.epoch, key.stream) for key in life.got}:
        numbers = {key.seq for key in life.got if (key.epoch, key.stream) == (epoch, stream)}
        assert unknown or (min(numbers), max(numbers)) == (1, len(numbers)), f"a hole in {stream} of {epoch}"
    return life


def _declared(body: bytes) -> Iterator[str]:
    gap = json.loads(body)
    for number in range(gap["seq_from"], gap["seq_to"] + 1):
        yield from (f"{unit} {number}" for unit in UNITS)


def test_a_sound_store_is_not_doubted(first: Life, tmp_path: Path) -> None:
    """Nothing contradicts itself: the epoch goes on."""
    life = go_on(first, tmp_path / "store")
    assert (life.outbox.committer.damage, {key.epoch for key in life.got}) == (None, {life.outbox.committer.epoch})
    life.end()


@pytest.mark.parametrize("beside", ["kept", "lost"])
@pytest.mark.parametrize("rotten", [OTHER, "\x00", None, "key"])
def test_a_rotten_epoch_begins_no_silent_one(first: Life, tmp_path: Path, rotten: str | None, beside: str) -> None:
    """The runs, the streams and the file beside the store prove the epoch: what waits keeps it, and the new one names it as the one before."""
    directory, epoch = tmp_path / "store", first.outbox.committer.epoch
    if rotten == "key":
        flip(directory, "store", b"epoch" + epoch.encode(), b"epocl" + epoch.encode())
    else:
        spoil(directory, "UPDATE store SET value = ? WHERE key = 'epoch'", rotten)
    if beside == "lost":
        (directory / "identity.json").unlink()
    life = go_on(first, directory)
    damage = life.outbox.committer.damage
    assert damage is not None
    assert (damage.epoch, damage.saved, damage.lost, damage.cut) == (epoch, 2 * MADE - MADE - DELIVERED, (), False)
    assert OTHER not in {key.epoch for key in life.got}
    assert life.outbox.states(UNITS[0]) == ({"n": b"11"}, 11)
    life.end()


@pytest.mark.parametrize("behind", ["file", "runs", "both"])
def test_an_epoch_that_is_provable_goes_on(first: Life, tmp_path: Path, behind: str) -> None:
    """A file of another store beside it (a restored copy), or runs that rotted, contradict nothing that two others say."""
    directory = tmp_path / "store"
    if behind != "runs":
        remember(directory, OTHER)
    if behind != "file":
        spoil(directory, "UPDATE store SET value = ? WHERE key = 'runs'", "{")
    life = go_on(first, directory)
    assert (life.outbox.committer.damage, life.outbox.committer.epoch) == (None, first.outbox.committer.epoch)
    life.end()


@pytest.mark.parametrize("column", ["epoch", "name"])
def test_a_stream_whose_name_rotted_keeps_its_numbers(first: Life, tmp_path: Path, column: str) -> None:
    """The checksums of its records prove the name: before, it began again at 1, and a receiver took all of it for repeats."""
    old = first.outbox.committer.epoch.encode() if column == "epoch" else b"acme/b"
    flip(tmp_path / "store", "stream", old, old[:-1] + b"!")
    life = go_on(first, tmp_path / "store")
    damage = life.outbox.committer.damage
    assert damage is not None
    assert (damage.lost, damage.cut) == ((), False)
    assert {key.stream for key in life.got} == set(UNITS)
    life.end()


@pytest.mark.parametrize(
    "spoilt", ["head = 0", "head = 7", "head = 9", "head = 1000", "settled = 7", "settled = 9", "settled = -1"]
)
def test_numbers_of_a_stream_that_rotted_are_put_right(first: Life, tmp_path: Path, spoilt: str) -> None:
    """A head that is too low gave numbers twice, one too high left a hole that nothing declared, a level too high kept records from being saved."""
    spoil(tmp_path / "store", f"UPDATE stream SET {spoilt} WHERE name = 'acme/b'")
    life = go_on(first, tmp_path / "store")
    damage = life.outbox.committer.damage
    assert damage is not None
    assert damage.lost == ()
    assert len([body for body in life.got.values() if body[:1] != b"{"]) == 2 * (MADE + MORE)
    life.end()


def test_whichever_byte_of_the_streams_and_facts_rots(first: Life, tmp_path: Path) -> None:
    """Every seventh byte of the pages that have no checksum: no number twice, no hole, no loss that is not declared."""
    content = (tmp_path / "store" / DATABASE).read_bytes()
    database = apsw.Connection(str(tmp_path / "store" / DATABASE))
    pages = [page for (page,) in database.execute("SELECT rootpage FROM sqlite_schema WHERE tbl_name IN ('stream', 'store')")]
    database.close()
    places = [place for page in pages for place in range((page - 1) * 4096, page * 4096) if content[place]]
    for place in places[::7]:
        rotten = tmp_path / f"rotten{place}"
        shutil.copytree(tmp_path / "store", rotten)
        flipped = bytearray(content)
        flipped[place] ^= 1 << place % 8
        (rotten / DATABASE).write_bytes(flipped)
        go_on(first, rotten).end()
        shutil.rmtree(rotten)


def test_the_last_number_is_kept_as_long_as_an_earlier_one_waits(tmp_path: Path) -> None:
    """Of a stream that was delivered out of order the last record is not purged: its head could not be proved any more."""
    life = Life(tmp_path / "store")
    life.make(2)
    store = life.outbox.committer.store
    records = life.outbox.peek(None, 10, "E")
    life.outbox.settle([record.key for record in records if record.key.seq == 2], [])
    life.turn()
    life.turn()
    assert (store.purge(0, 10, anyway=True), store.counts()) == (0, {"E": 2, "T": 0, "delivered": 2})
    life.deliver()
    life.turn()
    assert store.purge(0, 10, anyway=True) == 4
    assert life.outbox.committer.damage is None
    life.end()


def test_a_place_in_the_queue_that_rotted_into_another_one(first: Life, tmp_path: Path) -> None:
    """As many wait as before, one of them twice and one not at all: nothing goes missing."""
    database = apsw.Connection(str(tmp_path / "store" / DATABASE))
    names = [identity for (identity,) in database.execute("SELECT id FROM waiting ORDER BY id DESC LIMIT 2")]
    database.close()
    flip(tmp_path / "store", "waiting", b"E%c" % names[0], b"E%c" % names[1])
    go_on(first, tmp_path / "store").end()
