"""Looking into a store on disk: damage, restarts and trouble while people look or send again."""

from __future__ import annotations

import asyncio
import json
import os
from pathlib import Path

import apsw
import pytest

from edge_agent.buffer.config import BufferConfig
from edge_agent.buffer.identity import DATABASE
from edge_agent.buffer.sqlite import SqliteBuffer, open_buffer
from edge_agent.model.errors import StorageError
from edge_agent.model.stream import Entry, RecordKey

OUT = "mqtt"


def config(path: Path, size: str = "64MiB") -> BufferConfig:
    """A buffer in ``path``."""
    return BufferConfig(path=path, min_free=0, commit_interval="1ms", max_bytes=size)


def event(number: int, pad: int = 10) -> Entry:
    """The numbered event."""
    return Entry("filler", "E", "edgeagent.x.v1", number, number, b'{"late":false,"n":%d,"pad":"%s"}' % (number, b"p" * pad))


async def reject(buffer: SqliteBuffer, *numbers: int) -> None:
    """Have records refused, and wait until that is on the disk."""
    before = len(await buffer.dead_letters(0, 10_000))
    await buffer.settle(OUT, [], [(RecordKey("filler", buffer.epoch, n), "no") for n in numbers])
    while len(await buffer.dead_letters(0, 10_000)) < before + len(numbers):
        await buffer.arrived()


def damage(path: Path, statement: str) -> None:
    """Change the closed store behind the buffer's back."""
    connection = apsw.Connection(str(path / DATABASE))
    connection.execute(statement)
    connection.close()


async def test_a_damaged_row_is_shown_as_the_loss_it_will_be(tmp_path):
    """Looking never shows a row whose checksum is wrong, and never leaves its number out."""
    async with open_buffer(config(tmp_path)) as buffer:
        await buffer.append([event(n) for n in (1, 2, 3)], None)
    damage(tmp_path, "UPDATE record SET body = CAST('{}' AS BLOB) WHERE seq = 2")
    async with open_buffer(config(tmp_path)) as buffer:
        for page in (await buffer.waiting("E", 0, 10), await buffer.kept("filler", buffer.epoch, 1, 3, 10)):
            assert [record.key.seq for record in page.records] == [1, 2, 3]
            data = json.loads(page.records[1].entry.body)
            assert (data["reason"], data["seq_from"], data["seq_to"]) == ("corruption", 2, 2)


async def test_a_damaged_letter_is_never_sent_again(tmp_path):
    """What a wrong checksum set aside cannot be believed: it stays a letter."""
    async with open_buffer(config(tmp_path)) as buffer:
        await buffer.append([event(n) for n in (1, 2)], None)
    damage(tmp_path, "UPDATE record SET body = CAST('{}' AS BLOB) WHERE seq = 1")
    async with open_buffer(config(tmp_path)) as buffer:
        await buffer.peek(OUT, None, 10, "E")
        await buffer.arrived()
        while not await buffer.dead_letters(0, 1):
            await buffer.arrived()
        (letter,) = await buffer.dead_letters(0, 10)
        assert letter.reason == "corruption"
        assert list(await buffer.retry([letter.number])) == []
        assert len(await buffer.dead_letters(0, 10)) == 1


async def test_a_retry_survives_a_restart_as_one_record(tmp_path):
    """The new record and the end of its letter are one transaction."""
    async with open_buffer(config(tmp_path)) as buffer:
        await buffer.append([event(n) for n in range(1, 4)], None)
        await reject(buffer, 1, 2)
        first, _ = await buffer.dead_letters(0, 10)
        await buffer.retry([first.number])
    async with open_buffer(config(tmp_path)) as buffer:
        assert [letter.record.key.seq for letter in await buffer.dead_letters(0, 10)] == [2]
        assert (await buffer.heads())["filler"][1] == 4


async def test_a_commit_that_failed_retries_the_letters_once(tmp_path, monkeypatch):
    """When the disk fails within a retry, the asker is told, and what is written later is each letter once."""
    async with open_buffer(config(tmp_path)) as buffer:
        await buffer.append([event(n) for n in range(1, 4)], None)
        await reject(buffer, 1, 2)
        numbers = [letter.number for letter in await buffer.dead_letters(0, 10)]
        committer = buffer._writer.outbox.committer
        write, failures = committer._write, iter([apsw.IOError("fsync")] * 3)

        def failing(*args, **kwargs):
            if (error := next(failures, None)) is not None:
                raise error
            return write(*args, **kwargs)

        monkeypatch.setattr(committer, "_write", failing)
        with pytest.raises(StorageError, match="0 are kept, the others follow when the disk is in order"):
            await buffer.retry(numbers)
        with pytest.raises(StorageError, match="nothing can be sent again"):
            await buffer.retry(numbers)
        while not (await buffer.stats()).healthy:
            await buffer.arrived()
        assert list(await buffer.dead_letters(0, 10)) == []
        assert list(await buffer.retry(numbers)) == []
        assert (await buffer.heads())["filler"][1] == 5


async def test_dead_letters_go_before_events_when_there_is_no_room(tmp_path):
    """Letters, whose loss is declared, never push out events that still can be delivered."""
    async with open_buffer(config(tmp_path, "4MiB")) as buffer:
        for start in range(1, 200, 20):
            await buffer.append([event(n, 5000) for n in range(start, start + 20)], None)
        await reject(buffer, *range(1, 101))
        last = 200
        while len(await buffer.dead_letters(0, 1000)) == 100:
            last += 1
            await buffer.append([event(last, 5000)], None)
        page = await buffer.waiting("E", 0, 10_000)
        assert not [record for record in page.records if b"buffer_overflow" in record.entry.body]
        assert [record.key.seq for record in page.records] == list(range(1, last + 1))


async def test_as_found_never_makes_or_replaces_a_store(tmp_path):
    """Without an agent a missing or damaged store is refused in words and left exactly as it is."""
    with pytest.raises(StorageError, match="there is no store in"):
        async with open_buffer(config(tmp_path / "nowhere"), as_found=True):
            pass
    with pytest.raises(StorageError, match="there is no store in"):
        async with open_buffer(config(tmp_path), as_found=True):
            pass
    assert list(tmp_path.iterdir()) == []
    (tmp_path / DATABASE).write_bytes(b"SQLite format 3\0" + b"garbage" * 3000)
    with pytest.raises(StorageError, match=r"is damaged .* next start of the agent puts it aside"):
        async with open_buffer(config(tmp_path), as_found=True):
            pass
    assert [file for file in tmp_path.iterdir() if "corrupt" in file.name] == []
    assert (tmp_path / DATABASE).read_bytes().endswith(b"garbage")


async def test_as_found_opens_a_whole_store(tmp_path):
    """A store that is there is opened as the agent left it."""
    async with open_buffer(config(tmp_path)) as buffer:
        await buffer.append([event(1)], None)
        epoch = buffer.epoch
    async with open_buffer(config(tmp_path), as_found=True) as buffer:
        assert (buffer.epoch, buffer.fresh) == (epoch, False)
        assert [record.key.seq for record in (await buffer.waiting("E", 0, 10)).records] == [1]


async def test_an_agent_waits_for_a_command_to_end(tmp_path):
    """A short look at the store does not keep the agent from starting."""
    async with open_buffer(config(tmp_path)) as buffer:
        await buffer.append([event(1)], None)

    async def start() -> str:
        async with open_buffer(config(tmp_path)) as buffer:
            return buffer.epoch

    async with open_buffer(config(tmp_path), as_found=True) as visited:
        starting = asyncio.create_task(start())
        await asyncio.sleep(0.2)
        assert not starting.done()
        epoch = visited.epoch
    assert await starting == epoch


async def test_a_command_that_stays_does_not_stop_the_service_for_good(tmp_path, monkeypatch):
    """After its patience the agent ends with an error that lets systemd try again, not with the code of a wrong configuration."""
    monkeypatch.setattr("edge_agent.buffer.identity._PATIENCE", 0.1)
    async with open_buffer(config(tmp_path)) as buffer:
        await buffer.append([event(1)], None)
    async with open_buffer(config(tmp_path), as_found=True):
        with pytest.raises(StorageError, match=rf"`edge-agent buffer` \(process {os.getpid()}\) is using"):
            async with open_buffer(config(tmp_path)):
                pass
        with pytest.raises(StorageError, match="wait for its end, or end it"):
            async with open_buffer(config(tmp_path), as_found=True):
                pass


HUGE = 1 << 70


@pytest.mark.parametrize(
    "question",
    [
        pytest.param(lambda buffer: buffer.retry([HUGE]), id="retry"),
        pytest.param(lambda buffer: buffer.dead_letters(HUGE, 10), id="dead_letters"),
        pytest.param(lambda buffer: buffer.kept("filler", buffer.epoch, HUGE, HUGE, 10), id="kept"),
        pytest.param(lambda buffer: buffer.resend(OUT, "filler", buffer.epoch, HUGE, HUGE), id="resend"),
    ],
)
async def test_a_number_that_cannot_be_is_refused_and_the_store_goes_on(tmp_path, question):
    """Larger than SQLite's numbers: whoever asked is told, and what comes next is kept as before."""
    async with open_buffer(config(tmp_path)) as buffer:
        await buffer.append([event(1)], None)
        with pytest.raises(StorageError, match="no number that large"):
            await question(buffer)
        await buffer.append([event(2)], None)
        assert [record.key.seq for record in await buffer.peek(OUT, None, 10, "E")] == [1, 2]
