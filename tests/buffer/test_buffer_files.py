"""The files of a store: who may use them, what they are, and what is done when they are damaged or gone."""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import apsw
import pytest

from edge_agent.buffer.config import BufferConfig
from edge_agent.buffer.identity import DATABASE, new_epoch, remembered
from edge_agent.buffer.sqlite import SqliteBuffer, open_buffer
from edge_agent.model.errors import ConfigError
from edge_agent.model.stream import Checkpoint, Custody, Entry, RecordKey

OUT = "mqtt"


def config(path: Path) -> BufferConfig:
    """A buffer in ``path``."""
    return BufferConfig(path=path, min_free=0, commit_interval="1ms")


def event(number: int, stream: str = "filler") -> Entry:
    """The numbered event."""
    return Entry(stream, "E", "edgeagent.x.v1", number, number, b'{"n":%d,"pad":"%s"}' % (number, b"p" * 500))


async def fill(buffer: SqliteBuffer, events: int = 200, delivered: int = 50) -> str:
    """Append some events in several commits, deliver the first of them, and return the epoch."""
    for start in range(1, events + 1, 20):
        await buffer.append([event(n) for n in range(start, start + 20)], Checkpoint("filler", {"n": b"%d" % (start + 19)}, start))
    await buffer.settle(OUT, [RecordKey("filler", buffer.epoch, n) for n in range(1, delivered + 1)], [])
    return buffer.epoch


async def test_what_was_kept_is_there_after_a_restart(tmp_path):
    """Epoch, numbers, states, deliveries and what waits survive an orderly end."""
    async with open_buffer(config(tmp_path)) as buffer:
        epoch = await fill(buffer)
    async with open_buffer(config(tmp_path)) as buffer:
        assert (buffer.epoch, buffer.fresh, buffer.damage) == (epoch, False, None)
        assert await buffer.states("filler") == ({"n": b"200"}, 181)
        assert await buffer.heads() == {"filler": (1, 200, 50)}
        assert [record.key.seq for record in await buffer.peek(OUT, None, 3, "E")] == [51, 52, 53]
        await buffer.arrived()
        await buffer.append([event(201)], None)
        assert (await buffer.heads())["filler"][1] == 201


async def test_a_second_agent_is_refused(tmp_path):
    """The directory belongs to one process at a time, and the message names it."""
    async with open_buffer(config(tmp_path)):
        with pytest.raises(
            ConfigError, match=rf"another agent \(process {os.getpid()}\) is using .*stop it or choose another path"
        ):
            async with open_buffer(config(tmp_path)):
                pass
    async with open_buffer(config(tmp_path)) as buffer:
        assert not buffer.fresh


async def test_a_path_that_cannot_be_used_is_a_matter_of_configuration(tmp_path):
    """A file where the directory should be is told with its name."""
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match=r"cannot use .*file"):
        async with open_buffer(config(tmp_path / "file")):
            pass


async def test_a_newer_store_is_refused_and_untouched(tmp_path):
    """A store of a newer program is not opened, not changed and not put aside."""
    async with open_buffer(config(tmp_path)) as buffer:
        await fill(buffer)
    change(tmp_path, "PRAGMA user_version = 99; UPDATE store SET value = '99' WHERE key = 'format'")
    before = (tmp_path / DATABASE).read_bytes()
    with pytest.raises(ConfigError, match="written by a newer edge-agent"):
        async with open_buffer(config(tmp_path)):
            pass
    assert (tmp_path / DATABASE).read_bytes() == before


@pytest.mark.parametrize("pragma", ["user_version = 99", "user_version = 0x01000001", "application_id = 7"])
async def test_a_header_that_contradicts_the_tables_is_put_right(tmp_path, pragma):
    """A flipped byte in the header's numbers is no newer program and no other one's file: everything is still there."""
    async with open_buffer(config(tmp_path)) as buffer:
        epoch = await fill(buffer)
        heads = await buffer.heads()
    change(tmp_path, f"PRAGMA {pragma}")
    for _ in range(2):
        async with open_buffer(config(tmp_path)) as buffer:
            assert (buffer.epoch, await buffer.heads()) == (epoch, heads)


@pytest.mark.parametrize(
    "damage",
    [
        "PRAGMA writable_schema = ON; UPDATE sqlite_schema SET sql = replace(sql, 'causation', 'causatinn') WHERE name = 'record'",
        "PRAGMA user_version = 0",
    ],
)
async def test_tables_that_are_not_ours_any_more_are_put_aside(tmp_path, damage):
    """A flipped byte in the text of the schema: the agent starts all the same, with a new epoch."""
    async with open_buffer(config(tmp_path)) as buffer:
        old = await fill(buffer)
    change(tmp_path, damage)
    async with open_buffer(config(tmp_path)) as buffer:
        await buffer.peek("mqtt", None, 10, "E")
        assert remembered(tmp_path) == buffer.epoch
        assert buffer.previous_epoch == old


@pytest.mark.parametrize(
    "damage",
    [
        "UPDATE waiting SET id = id + 1000000 WHERE id = 70",
        "UPDATE waiting SET kind = 'G' WHERE id = 70",
        "DELETE FROM waiting WHERE id = 70",
        "UPDATE record SET stream = -126 WHERE id = 70",
        "UPDATE record SET id = id + 1000000 WHERE id = 70",
        "INSERT INTO delivered VALUES (70, 0)",
    ],
)
async def test_a_queue_that_lost_a_record_is_noticed(tmp_path, damage):
    """A wrong byte in the store's own structure takes a record out of the queue: it is found again, or declared, never passed over."""
    async with open_buffer(config(tmp_path)) as buffer:
        await fill(buffer)
        wanted = {record.key.seq for record in await buffer.peek("mqtt", None, 100, "E")}
    change(tmp_path, damage)
    async with open_buffer(config(tmp_path)) as buffer:
        told: set[int] = set()
        for _ in range(3):  # what is found while it runs takes a commit
            told |= {record.key.seq for record in await buffer.peek("mqtt", None, 300, "E")}
            await buffer.append([], Checkpoint("filler", {}, 1))
        assert wanted <= told
        assert buffer.damage is not None


@pytest.mark.parametrize("column", ["kind", "type", "causation"])
async def test_a_text_that_is_none_any_more_costs_its_own_record_only(tmp_path, column):
    """One row with a byte that is no UTF-8: the rows around it in the same batch are handed out, its own is declared once."""
    async with open_buffer(config(tmp_path)) as buffer:
        await fill(buffer)
    change(tmp_path, f"UPDATE record SET {column} = CAST(X'C5' AS TEXT) WHERE id = 70")
    async with open_buffer(config(tmp_path)) as buffer:
        for _ in range(2):  # its loss record takes its place with the next commit
            records = await buffer.peek("mqtt", None, 300, "E")
            await buffer.append([], Checkpoint("filler", {}, 1))
        losses = [record.key.seq for record in records if "collection.gap" in record.entry.type]
        assert losses == [70]
        assert [record.key.seq for record in records] == list(range(51, 201))
        assert buffer.damage is None


async def test_a_foreign_database_is_refused(tmp_path):
    """Somebody else's SQLite file is not taken over."""
    database = apsw.Connection(str(tmp_path / DATABASE))
    database.execute("CREATE TABLE invoices (id)")
    database.close()
    with pytest.raises(ConfigError, match="not a buffer of edge-agent"):
        async with open_buffer(config(tmp_path)):
            pass


async def test_a_lost_store_gives_a_new_epoch_that_names_the_old_one(tmp_path):
    """The identity file beside the store remembers what was there."""
    async with open_buffer(config(tmp_path)) as buffer:
        old = await fill(buffer)
    (tmp_path / DATABASE).unlink()
    for _ in range(2):
        async with open_buffer(config(tmp_path)) as buffer:
            assert (buffer.previous_epoch, await buffer.heads()) == (old, {})
            assert buffer.epoch not in {old, None}
            assert remembered(tmp_path) == buffer.epoch


def test_epochs_are_ulids_in_the_order_of_time():
    """26 Crockford digits, and a later one is greater."""
    first, second = new_epoch(), new_epoch()
    assert len(first) == 26
    assert first != second
    assert set(first) <= set("0123456789ABCDEFGHJKMNPQRSTVWXYZ")
    assert first[:9] <= second[:9]


def change(directory: Path, statement: str, *arguments: object) -> None:
    """Change a closed store behind the program's back."""
    database = apsw.Connection(str(directory / DATABASE))
    database.execute(statement, arguments)
    database.close()


def not_a_database(directory: Path) -> None:
    """Overwrite everything."""
    (directory / DATABASE).write_bytes(os.urandom(40_000))


def zero_first_page(directory: Path) -> None:
    """Lose the first page, which holds the header and the root of the tables."""
    overwrite(directory, 0, bytes(4096))


def garbage_in_the_tables(directory: Path) -> None:
    """Lose three pages in the middle, where the records are."""
    overwrite(directory, (directory / DATABASE).stat().st_size // 8192 * 4096, b"\xa5" * 3 * 4096)


def half_a_file(directory: Path) -> None:
    """Lose the second half."""
    os.truncate(directory / DATABASE, (directory / DATABASE).stat().st_size // 8192 * 4096)


def overwrite(directory: Path, offset: int, content: bytes) -> None:
    """Write into the closed store."""
    with (directory / DATABASE).open("r+b") as file:
        file.seek(offset)
        file.write(content)


@pytest.mark.parametrize(
    ("damage", "saved"),
    [
        pytest.param(not_a_database, None, id="not_a_database"),
        pytest.param(zero_first_page, None, id="first_page_zero"),
        pytest.param(garbage_in_the_tables, 100, id="pages_of_records"),
        pytest.param(half_a_file, 10, id="half_the_file"),
    ],
)
async def test_a_damaged_store_is_put_aside_and_a_new_one_goes_on(tmp_path, damage: Callable[[Path], None], saved: int | None):
    """No damage keeps the agent from starting: new epoch, the old file kept, what is readable saved under its old numbers."""
    live, killed = tmp_path / "live", tmp_path / "killed"
    async with open_buffer(config(live)) as buffer:
        epoch = await fill(buffer)
    shutil.copytree(live, killed)
    change(killed, "UPDATE store SET value = '0' WHERE key = 'clean'")
    damage(killed)
    async with open_buffer(config(killed)) as buffer:
        assert buffer.fresh
        assert buffer.previous_epoch == buffer.damage.epoch == epoch != buffer.epoch
        assert buffer.damage.set_aside in {str(path) for path in killed.glob(f"{DATABASE}.corrupt-*")}
        records = await buffer.peek(OUT, None, 1000, "E")
        assert {record.key.epoch for record in records} <= {epoch}
        own = [record for record in records if record.entry == event(record.key.seq)]
        gaps = [json.loads(record.entry.body) for record in records if record not in own]
        if saved is None:
            assert (records, buffer.damage.saved, buffer.damage.lost) == ([], None, None)
        else:
            assert len(own) == buffer.damage.saved >= saved
            told = {record.key.seq for record in own}.union(*(range(gap["seq_from"], gap["seq_to"] + 1) for gap in gaps))
            assert told == set(range(51, 201)), "every undelivered number is delivered or declared"
            assert [("filler", gap["seq_from"], gap["seq_to"]) for gap in gaps] == list(buffer.damage.lost)
            assert {gap["reason"] for gap in gaps} == {"corruption"}
        assert await buffer.append([event(1)], None) is Custody.DURABLE
        last = (await buffer.peek(OUT, None, 1000, "E"))[-1]
        assert (last.key, last.entry) == (RecordKey("filler", buffer.epoch, 1), event(1))
        await buffer.settle(OUT, [record.key for record in [*records, last]], [])
        assert await buffer.heads() == {"filler": (1, 1, 1)}
        await buffer.declare([], Checkpoint("agent", {}, 1), buffer.damage)
    async with open_buffer(config(killed)) as buffer:
        assert (buffer.fresh, buffer.damage, await buffer.peek(OUT, None, 10, "E")) == (False, None, [])


def only_the_log(folder: Path) -> None:
    """Lose the database; its log stays."""
    (folder / f"{DATABASE}-wal").write_bytes((folder / DATABASE).read_bytes()[:8192])
    (folder / DATABASE).unlink()


def nothing_left(folder: Path) -> None:
    """Lose the database and its log."""
    for file in folder.glob(f"{DATABASE}*"):
        file.unlink()


def nothing_in_it(folder: Path) -> None:
    """Leave a database of no bytes, as a file system repair does."""
    nothing_left(folder)
    (folder / DATABASE).touch()


@pytest.mark.parametrize(
    ("lose", "left"),
    [(only_the_log, ".corrupt-"), (nothing_left, ""), (nothing_in_it, "")],
    ids=lambda each: getattr(each, "__name__", ""),
)
async def test_a_store_that_is_gone_is_declared(tmp_path, lose: Callable[[Path], None], left: str):
    """A store was here, says the file beside it: what waited in it is lost, and the agent is told so, once, with its epoch."""
    async with open_buffer(config(tmp_path)) as buffer:
        assert buffer.damage is None
        epoch = await fill(buffer)
    lose(tmp_path)
    async with open_buffer(config(tmp_path)) as buffer:
        assert (buffer.fresh, buffer.previous_epoch) == (True, epoch)
        assert (buffer.damage.epoch, buffer.damage.saved) == (epoch, None)
        assert left in buffer.damage.set_aside
        assert not left or list(tmp_path.glob("*.corrupt-*-wal")) == [Path(buffer.damage.set_aside)]
        assert DATABASE in buffer.damage.error
        await buffer.declare([], Checkpoint("agent", {}, 1), buffer.damage)
    async with open_buffer(config(tmp_path)) as buffer:
        assert buffer.damage is None


async def test_one_unreadable_record_is_set_aside_for_its_loss(tmp_path):
    """A flipped byte in a row is found by its checksum: the row becomes a gap, those around it are delivered."""
    async with open_buffer(config(tmp_path)) as buffer:
        await buffer.append([event(n) for n in range(1, 6)], None)
    change(tmp_path, "UPDATE record SET body = CAST(replace(body, 'ppp', 'pqp') AS BLOB) WHERE seq = 3")
    async with open_buffer(config(tmp_path)) as buffer:
        assert [record.key.seq for record in await buffer.peek(OUT, None, 10, "E")] == [1, 2, 4, 5]
        await buffer.append([], Checkpoint("filler", {}, 1))
        records = await buffer.peek(OUT, None, 10, "E")
        assert [record.key.seq for record in records] == [1, 2, 3, 4, 5]
        gap = json.loads(records[2].entry.body)
        assert (gap["reason"], gap["seq_from"], gap["seq_to"]) == ("corruption", 3, 3)


async def test_rows_that_changed_places_are_damage_too(tmp_path):
    """The checksum covers the number: a row under another one is not delivered as if it were right."""
    async with open_buffer(config(tmp_path)) as buffer:
        await buffer.append([event(n) for n in range(1, 5)], None)
    for old, new in ((2, 9), (3, 2), (9, 3)):
        change(tmp_path, "UPDATE record SET seq = ? WHERE seq = ?", new, old)
    async with open_buffer(config(tmp_path)) as buffer:
        assert [record.key.seq for record in await buffer.peek(OUT, None, 10, "E")] == [1, 4]


async def test_a_row_beyond_the_last_number_is_damage_too(tmp_path):
    """Such a number was never given: the store is put aside, and the number that the row had is declared."""
    async with open_buffer(config(tmp_path)) as buffer:
        await buffer.append([event(n) for n in range(1, 4)], None)
    change(tmp_path, "UPDATE record SET seq = 7 WHERE seq = 2")
    async with open_buffer(config(tmp_path)) as buffer:
        assert buffer.damage.lost == (("filler", 2, 2),)
        records = await buffer.peek(OUT, None, 10, "E")
        assert [(record.key.seq, record.entry.type) for record in records] == [
            (1, "edgeagent.x.v1"),
            (2, "edgeagent.collection.gap.v1"),
            (3, "edgeagent.x.v1"),
        ]


async def test_a_damaged_state_is_not_used(tmp_path):
    """A rule whose state has a wrong checksum starts without one: a baseline, never a wrong count."""
    async with open_buffer(config(tmp_path)) as buffer:
        await buffer.append([], Checkpoint("filler", {"count": b"12", "state": b"run"}, 5))
    change(tmp_path, "UPDATE state SET value = x'3133' WHERE rule = 'count'")
    async with open_buffer(config(tmp_path)) as buffer:
        assert await buffer.states("filler") == ({"state": b"run"}, 5)


async def test_a_deleted_store_is_brought_back_while_running(tmp_path):
    """When somebody deletes the file it is written anew from the open handle: same epoch, same numbers, nothing lost."""
    ahead = [0.0]
    async with open_buffer(config(tmp_path), machine_clock=lambda: time.monotonic() + ahead[0]) as buffer:
        old = await fill(buffer)
        for suffix in ("", "-wal"):
            (tmp_path / f"{DATABASE}{suffix}").unlink()
        ahead[0] += 2
        await buffer.append([event(1)], Checkpoint("filler", {"n": b"1"}, 1))
        ahead[0] += 2
        await buffer.append([event(2)], None)
        assert (buffer.epoch, buffer.damage) == (old, None)
        assert await buffer.heads() == {"filler": (1, 202, 50)}
    async with open_buffer(config(tmp_path)) as buffer:
        assert (buffer.epoch, await buffer.heads()) == (old, {"filler": (1, 202, 50)})
        assert await buffer.states("filler") == ({"n": b"1"}, 1)


async def test_a_store_under_which_the_directory_was_deleted_is_brought_back(tmp_path):
    """The whole directory may go, the lock with it."""
    ahead = [0.0]
    async with open_buffer(config(tmp_path / "store"), machine_clock=lambda: time.monotonic() + ahead[0]) as buffer:
        old = await fill(buffer)
        shutil.rmtree(tmp_path / "store")
        ahead[0] += 2
        assert await buffer.append([event(201)], None) is Custody.DURABLE
        assert (buffer.epoch, await buffer.heads()) == (old, {"filler": (1, 201, 50)})


@pytest.mark.parametrize("gone", ["store", "store/lock"])
async def test_a_second_agent_does_not_get_in_where_the_lock_was_deleted(tmp_path, gone):
    """With the directory, or alone: within a second the lock is there again, and the second agent is refused like any other."""
    ahead = [0.0]
    async with open_buffer(config(tmp_path / "store"), machine_clock=lambda: time.monotonic() + ahead[0]) as buffer:
        old = await fill(buffer)
        (shutil.rmtree if gone == "store" else os.unlink)(tmp_path / gone)
        ahead[0] += 2
        await buffer.append([event(201)], None)
        with pytest.raises(ConfigError, match=rf"another agent \(process {os.getpid()}\) is using"):
            async with open_buffer(config(tmp_path / "store")):
                pass
        assert await buffer.append([event(202)], None) is Custody.DURABLE
    async with open_buffer(config(tmp_path / "store")) as buffer:
        assert (buffer.epoch, await buffer.heads()) == (old, {"filler": (1, 202, 50)})


async def test_where_the_second_agent_was_faster_the_first_one_stays_out(tmp_path):
    """It keeps to memory and says who is there; once alone it goes on in the store that stands there, and its own is known to be lost."""
    ahead = [0.0]
    async with open_buffer(config(tmp_path / "store"), machine_clock=lambda: time.monotonic() + ahead[0]) as first:
        old = await fill(first)
        shutil.rmtree(tmp_path / "store")
        async with open_buffer(config(tmp_path / "store")) as second:
            ahead[0] += 2
            assert await first.append([event(201)], None) is Custody.VOLATILE
            stats = await first.stats()
            assert (stats.healthy, f"another agent (process {os.getpid()})" in stats.detail) == (False, True)
            await second.append([event(1)], None)
            assert await second.heads() == {"filler": (1, 1, 0)}
        ahead[0] += 2
        assert await first.append([event(202)], None) is Custody.DURABLE
        assert (first.epoch, first.epoch == old) == (second.epoch, False)
        assert [each.entry for each in await first.peek(OUT, None, 10, "E")] == [event(1), event(201), event(202)]
        assert first.damage is not None
        assert (first.damage.epoch, first.damage.saved) == (old, None)


async def test_a_store_that_was_replaced_is_not_overwritten(tmp_path):
    """Where another file stands in the place of ours, somebody meant it: it is opened as it is."""
    async with open_buffer(config(tmp_path / "other")) as buffer:
        other = await fill(buffer, events=40)
    ahead = [0.0]
    async with open_buffer(config(tmp_path / "store"), machine_clock=lambda: time.monotonic() + ahead[0]) as buffer:
        await fill(buffer)
        (tmp_path / "store" / f"{DATABASE}-wal").unlink()
        (tmp_path / "other" / DATABASE).rename(tmp_path / "store" / DATABASE)
        ahead[0] += 2
        await buffer.append([event(41)], None)
        assert (buffer.epoch, (await buffer.heads())["filler"][1]) == (other, 41)
