"""What stands beside the store: a file that rots does no harm to what it only remembers."""

from __future__ import annotations

from pathlib import Path

import apsw
import pytest

from edge_agent.buffer.config import BufferConfig
from edge_agent.buffer.identity import DATABASE, remembered
from edge_agent.buffer.sqlite import SqliteBuffer, open_buffer
from edge_agent.model.errors import StorageError
from edge_agent.model.stream import Checkpoint, Entry

ROTTEN = [b"", b"{", b"[]", b'{"epoch":1}', b'{"epoch":"01\xff"}', b'{"a":' * 5000, bytes(64)]


def config(directory: Path) -> BufferConfig:
    """Return the configuration of a store there."""
    return BufferConfig(path=directory, min_free=0)


async def waiting(buffer: SqliteBuffer) -> list[int]:
    """Return the numbers that wait."""
    return [record.key.seq for record in await buffer.peek("mqtt", None, 10, "E")]


@pytest.mark.parametrize("rotten", ROTTEN)
async def test_a_rotten_identity_file_is_written_anew(tmp_path: Path, rotten: bytes) -> None:
    """The store is whole and knows its epoch: nothing is put aside, and the file is right again."""
    async with open_buffer(config(tmp_path)) as buffer:
        await buffer.append([Entry("filler", "E", "edgeagent.x.v1", 1, 1, b"{}")], None)
        epoch = buffer.epoch
    (tmp_path / "identity.json").write_bytes(rotten)
    async with open_buffer(config(tmp_path)) as buffer:
        assert (buffer.epoch, buffer.damage, await waiting(buffer)) == (epoch, None, [1])
    assert remembered(tmp_path) == epoch


@pytest.mark.parametrize("rotten", ROTTEN)
async def test_a_lost_store_beside_a_rotten_identity_begins_anew(tmp_path: Path, rotten: bytes) -> None:
    """The agent starts without anybody deleting files; the epoch before is not known any more, and nothing is made up."""
    (tmp_path / DATABASE).write_bytes(b"no database at all" * 500)
    (tmp_path / "identity.json").write_bytes(rotten)
    async with open_buffer(config(tmp_path)) as buffer:
        assert buffer.damage is not None
        assert (buffer.damage.epoch, buffer.previous_epoch, buffer.fresh) == (None, None, True)
        epoch = buffer.epoch
    assert remembered(tmp_path) == epoch


@pytest.mark.parametrize("value", ["1:0", "", "-", "é", "9" * 5000, None])
@pytest.mark.parametrize("fact", ["age", "confirmed 1", "confirmed x"])
async def test_a_rotten_fact_about_the_store_is_forgotten(tmp_path: Path, fact: str, value: str | None) -> None:
    """How long the store has run and what was confirmed come again by themselves; records and numbers do not depend on them."""
    settings = BufferConfig(path=tmp_path, min_free=0, confirm=True)
    async with open_buffer(settings) as buffer:
        await buffer.append([Entry("filler", "E", "edgeagent.x.v1", 1, 1, b"{}")], None)
        epoch = buffer.epoch
    database = apsw.Connection(str(tmp_path / DATABASE))
    database.execute("INSERT OR REPLACE INTO store VALUES (?, ?)", (fact, value))
    database.close()
    async with open_buffer(settings) as buffer:
        assert (buffer.epoch, buffer.damage, await waiting(buffer)) == (epoch, None, [1])
        assert [level.confirmed for level in await buffer.levels()] == [None]


async def test_a_rotten_name_of_a_state_costs_that_state_only(tmp_path: Path) -> None:
    """The unit opens with its other states; this one begins anew, as one with a wrong checksum does."""
    async with open_buffer(config(tmp_path)) as buffer:
        await buffer.append([], Checkpoint("filler", {"r": b"1", "s": b"2"}, 5))
    database = apsw.Connection(str(tmp_path / DATABASE))
    database.execute("UPDATE state SET rule = CAST(x'ff' AS TEXT) WHERE rule = 'r'")
    database.close()
    async with open_buffer(config(tmp_path)) as buffer:
        assert await buffer.states("filler") == ({"s": b"2"}, 5)


async def test_a_rotten_dead_letter_does_not_end_the_store(tmp_path: Path) -> None:
    """Whoever asks for the letters is told; appends and deliveries go on."""
    async with open_buffer(config(tmp_path)) as buffer:
        await buffer.append([Entry("filler", "E", "edgeagent.x.v1", 1, 1, b"{}")], None)
        await buffer.settle("mqtt", [], [((await buffer.peek("mqtt", None, 1, "E"))[0].key, "no")])
    database = apsw.Connection(str(tmp_path / DATABASE))
    database.execute("UPDATE dead_letter SET detail = CAST(x'ff' AS TEXT)")
    database.close()
    async with open_buffer(config(tmp_path)) as buffer:
        with pytest.raises(StorageError, match="cannot be read"):
            await buffer.dead_letters(0, 10)
        await buffer.append([Entry("filler", "E", "edgeagent.x.v1", 2, 2, b"{}")], None)
        assert await waiting(buffer) == [1, 2]


GAP = b'{"reason":"buffer_overflow","interval":["2026-10-25T04:00:00Z","2026-10-25T04:00:01Z"],"lost":{"max":2},"seq_from":1,"totals_at_from":{"a":1}}'


@pytest.mark.parametrize(("right", "wrong"), [(b'"a"', b'"\xff"'), (b'"max"', b'"mix"'), (b'["2026', b'["x026'), (b"}}", b"}")])
async def test_a_rotten_loss_record_is_set_aside_like_any_other(tmp_path: Path, right: bytes, wrong: bytes) -> None:
    """Its own loss record takes its place; what it said cannot be merged any more, and the writer lives."""
    async with open_buffer(config(tmp_path)) as buffer:
        await buffer.append([Entry("filler", "E", "edgeagent.collection.gap.v1", 1, 1, GAP)], None)
    assert right in GAP
    database = apsw.Connection(str(tmp_path / DATABASE))
    database.execute("UPDATE record SET body = ?", (GAP.replace(right, wrong),))
    database.close()
    async with open_buffer(config(tmp_path)) as buffer:
        assert await waiting(buffer) == []
        await buffer.append([Entry("filler", "E", "edgeagent.x.v1", 2, 2, b"{}")], None)
        (gap, _) = await buffer.peek("mqtt", None, 10, "E")
        assert (gap.key.seq, b'"corruption"' in gap.entry.body) == (1, True)


async def test_a_rotten_wish_to_send_again_does_not_end_the_store(tmp_path: Path) -> None:
    """A queue entry of a kind that does not exist is no record of ours; commits go on."""
    async with open_buffer(config(tmp_path)) as buffer:
        await buffer.append([Entry("filler", "E", "edgeagent.x.v1", 1, 1, b"{}")], None)
        await buffer.settle("mqtt", [(await buffer.peek("mqtt", None, 1, "E"))[0].key], [])
        assert await buffer.resend("mqtt", "filler", buffer.epoch, 1, 1) == 1
    database = apsw.Connection(str(tmp_path / DATABASE))
    database.execute("UPDATE waiting SET kind = 'A'")
    database.close()
    async with open_buffer(config(tmp_path)) as buffer:
        await buffer.append([Entry("filler", "E", "edgeagent.x.v1", 2, 2, b"{}")], None)
        assert (await waiting(buffer), buffer.damage) == ([2], None)


@pytest.mark.parametrize("body", [b'{"a":"\xff"}', b"{", b"[]"])
async def test_a_dead_letter_that_says_nothing_any_more_is_not_sent_again(tmp_path: Path, body: bytes) -> None:
    """It is left out, and stays where it is; the writer lives."""
    async with open_buffer(config(tmp_path)) as buffer:
        await buffer.append([Entry("filler", "E", "edgeagent.x.v1", 1, 1, b"{}")], None)
        await buffer.settle("mqtt", [], [((await buffer.peek("mqtt", None, 1, "E"))[0].key, "no")])
    database = apsw.Connection(str(tmp_path / DATABASE))
    database.execute("UPDATE dead_letter SET body = ?", (body,))
    database.close()
    async with open_buffer(config(tmp_path)) as buffer:
        assert await buffer.retry([1]) == []
        assert await buffer.dead_letter_count() == 1
