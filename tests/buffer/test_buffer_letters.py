"""Dead letters of a damaged store: they move into the new one with what else can be read."""

from __future__ import annotations

import contextlib
from pathlib import Path

import apsw
import pytest

from edge_agent.buffer import archive
from edge_agent.buffer.config import BufferConfig
from edge_agent.buffer.identity import DATABASE
from edge_agent.buffer.opening import open_store
from edge_agent.buffer.sqlite import SqliteBuffer, open_buffer
from edge_agent.model.stream import Entry, RecordKey

OUT = "mqtt"
PAGE = 4096


def config(path: Path) -> BufferConfig:
    """A buffer in ``path``."""
    return BufferConfig(path=path, min_free=0, commit_interval="1ms")


def event(number: int, pad: int = 10) -> Entry:
    """The numbered event."""
    return Entry("filler", "E", "edgeagent.x.v1", number, number, b'{"late":false,"n":%d,"pad":"%s"}' % (number, b"p" * pad))


async def refused(path: Path, letters: int, pad: int = 10) -> str:
    """Leave a store behind in which ``letters`` records were refused and one more waits; return its epoch."""
    async with open_buffer(config(path)) as buffer:
        await buffer.append([event(n, pad) for n in range(1, letters + 2)], None)
        await buffer.settle(OUT, [], [(RecordKey("filler", buffer.epoch, n), f"no {n}") for n in range(1, letters + 1)])
        while await buffer.dead_letter_count() < letters:
            await buffer.arrived()
        return buffer.epoch


def change(path: Path, statement: str, *arguments: object) -> None:
    """Change the closed store behind the buffer's back."""
    connection = apsw.Connection(str(path / DATABASE))
    connection.execute(statement, arguments)
    connection.close()


def contradict(path: Path) -> None:
    """Make the store one that has to be put aside, with every row in place."""
    change(path, "UPDATE stream SET head = head + 1000")


async def numbers(buffer: SqliteBuffer) -> list[int]:
    """Return the numbers that the dead letters had in their stream."""
    return [letter.record.key.seq for letter in await buffer.dead_letters(0, 1000)]


async def test_dead_letters_survive_the_store_they_were_in(tmp_path):
    """Number, id, content and reason stay, and a letter is sent again as in the store of before."""
    epoch = await refused(tmp_path, 3)
    async with open_buffer(config(tmp_path)) as buffer:
        before = list(await buffer.dead_letters(0, 10))
    contradict(tmp_path)
    async with open_buffer(config(tmp_path)) as buffer:
        assert buffer.damage is not None
        assert buffer.damage.letters == 3
        assert list(await buffer.dead_letters(0, 10)) == before
        [(number, key)] = await buffer.retry([2])
        assert (number, key) == (2, RecordKey("filler", buffer.epoch, 1))
        page = await buffer.kept("filler", buffer.epoch, 1, 1, 10)
        assert f'"retry_of":"{epoch}-filler-000000000002"'.encode() in page.records[0].entry.body
        assert await numbers(buffer) == [1, 3]


@pytest.mark.parametrize(
    "spoilt",
    [
        "stream = 'filleR'",
        f"stream = CAST(x'{b'fille'.hex()}ff' AS TEXT)",
        "epoch = 'x'",
        "kind = 'F'",
        "body = CAST('{\"late\":fals\x01' AS BLOB)",
        f"detail = CAST(x'{b'no'.hex()}ff' AS TEXT)",
        "seq = -4",
    ],
)
async def test_a_letter_that_rotted_stays_behind(tmp_path, spoilt):
    """Rows of letters have no checksum: what contradicts itself is not taken over, for it could be sent again; the others are."""
    await refused(tmp_path, 3)
    contradict(tmp_path)
    change(tmp_path, f"UPDATE dead_letter SET {spoilt} WHERE seq = 2")
    async with open_buffer(config(tmp_path)) as buffer:
        assert buffer.damage is not None
        assert (buffer.damage.saved, buffer.damage.letters) == (4, 2), "three loss records and the one that waits"
        assert await numbers(buffer) == [1, 3]


async def test_a_damaged_page_of_letters_costs_those_that_stand_on_it(tmp_path):
    """What is on the other pages of the table moves over."""
    await refused(tmp_path, 60, pad=500)
    contradict(tmp_path)
    database = apsw.Connection(str(tmp_path / DATABASE))
    pages = database.execute("SELECT pageno FROM dbstat WHERE name = 'dead_letter' AND pagetype = 'leaf' ORDER BY path").fetchall()
    database.close()
    with (tmp_path / DATABASE).open("r+b") as file:
        file.seek((pages[len(pages) // 2][0] - 1) * PAGE)
        file.write(b"\xa5" * PAGE)
    async with open_buffer(config(tmp_path)) as buffer:
        found = await numbers(buffer)
        assert found[0] == 1
        assert found[-1] == 60
        assert 40 < len(found) < 60


async def test_letters_that_cannot_be_read_cost_a_bounded_number_of_tries(tmp_path, monkeypatch):
    """Whatever the pages answer, the start is not held up: what stands behind damage is looked for in growing steps."""
    tries: list[int] = []

    def unreadable(store: object, after: int, limit: int) -> list[object]:
        tries.append(after)
        raise apsw.CorruptError("database disk image is malformed")

    monkeypatch.setattr(archive, "letters", unreadable)
    with contextlib.closing(open_store(tmp_path, 1000, None, "edgeagent").store) as store:
        assert list(archive.sound_letters(store)) == []
    assert len(tries) < 300
    assert tries[:100] == list(range(100)), "each number of a page has its try"
