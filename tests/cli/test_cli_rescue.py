"""``edge-agent buffer export`` of a store that nobody may change: dead, torn, damaged, or none at all. Whatever it is, its folder stays as it was."""

from __future__ import annotations

import asyncio
import errno
import fcntl
import json
import os
import shutil
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import apsw
import pytest
from cli_place import OUT, Gateway, count
from structlog.testing import capture_logs

from edge_agent.agent.envelope import configured, keep
from edge_agent.buffer.identity import DATABASE
from edge_agent.buffer.sqlite import open_buffer
from edge_agent.config.load import load
from edge_agent.model.stream import Checkpoint, Record, RecordKey, record_id

PAGE = 4096
EVENTS, DELIVERED = 400, 100
WAITING = set(range(DELIVERED + 1, EVENTS + 1))


@pytest.fixture(autouse=True)
def _surroundings(monkeypatch) -> Iterator[None]:
    """Keep the logs of the tests to themselves, and look for no service on this machine."""
    monkeypatch.setattr("edge_agent.logs.configure", lambda *_: None)
    monkeypatch.delenv("RUNTIME_DIRECTORY", raising=False)
    monkeypatch.setattr("edge_agent.status.place._SERVICE", Path("/nonexistent"))
    with capture_logs():
        yield


@pytest.fixture
def gateway(tmp_path, capsys, monkeypatch) -> Gateway:
    """A gateway with a configuration."""
    return Gateway(tmp_path, capsys, monkeypatch)


@pytest.fixture
def published(monkeypatch) -> list[Record]:
    """What a broker behind every connect has taken."""
    seen: list[Record] = []

    class Sink:
        window = 20

        async def publish(self, record: Record) -> None:
            seen.append(record)

    @asynccontextmanager
    async def connect(config, **how) -> AsyncIterator[Sink]:
        yield Sink()

    monkeypatch.setattr("edge_agent.publish.mqtt.connect", connect)
    return seen


def killed(gateway: Gateway, commits: int = 8) -> Path:
    """Copy the store of a gateway while it is open, as a kill or a power cut leaves it: most of it stands in the log. Return the copy."""
    dead = gateway.store.with_name("dead")

    async def work() -> None:
        config = load(gateway.config)
        async with open_buffer(config.agent.buffer) as buffer:
            await keep(buffer, configured(config), 0)
            size = EVENTS // commits
            for start in range(1, EVENTS + 1, size):
                await buffer.append([count(n) for n in range(start, start + size)], None)
            await buffer.settle(OUT, [RecordKey("filler", buffer.epoch, n) for n in range(1, DELIVERED + 1)], [])
            await buffer.append([count(1, "filler/telemetry", "T")], None)
            await buffer.append([], Checkpoint("filler", {}, 1))  # commits what was delivered too
            shutil.copytree(gateway.store, dead)

    asyncio.run(work())
    return dead


def closed(gateway: Gateway) -> Path:
    """Leave a store behind that was closed in order: all of it stands in the database."""
    gateway.fill(events=EVENTS, delivered=DELIVERED)
    return gateway.store


def leaves(folder: Path, table: str) -> list[int]:
    """Return where the leaves of a table stand in the file."""
    database = apsw.Connection(f"file:{folder / DATABASE}?immutable=1", flags=apsw.SQLITE_OPEN_READONLY | apsw.SQLITE_OPEN_URI)
    found = database.execute("SELECT pageno FROM dbstat WHERE name = ? AND pagetype = 'leaf' ORDER BY path", (table,)).fetchall()
    database.close()
    return [(page - 1) * PAGE for (page,) in found]


def overwrite(file: Path, offset: int, content: bytes) -> None:
    """Write into a file."""
    with file.open("r+b") as target:
        target.seek(offset)
        target.write(content)


def pages_of_records(folder: Path) -> None:
    """Lose two pages of records that wait."""
    pages = leaves(folder, "record")
    for page in (pages[-3], pages[-8]):
        overwrite(folder / DATABASE, page, b"\xa5" * PAGE)


def half_the_file(folder: Path) -> None:
    """Lose the second half."""
    os.truncate(folder / DATABASE, (folder / DATABASE).stat().st_size // 2 // PAGE * PAGE)


def head_that_rotted(folder: Path) -> None:
    """Change the last number of a stream."""
    database = apsw.Connection(str(folder / DATABASE))
    database.execute("UPDATE stream SET head = head - 1 WHERE name = 'filler'")
    database.close()


def seen(folder: Path) -> dict[str, tuple[bytes, int]]:
    """Return everything there is in a folder."""
    return {file.name: (file.read_bytes(), file.stat().st_mtime_ns) for file in folder.iterdir() if file.is_file()}


def events(text: str) -> list[dict]:
    """The CloudEvents of an export."""
    return [json.loads(line) for line in text.splitlines()]


def covered(event: dict) -> set[int]:
    """The numbers of a stream that an event accounts for: its own, or those whose loss it declares."""
    data = event["data"]
    return set(range(data["seq_from"], data["seq_to"] + 1)) if "seq_from" in data else {data["seq"]}


def said(record: Record) -> tuple[str, dict]:
    """What a record says, but the moment at which a loss was noticed of which nothing tells the time."""
    data = json.loads(record.entry.body)
    if data.get("seq_from") in {1, DELIVERED + 1}:
        del data["interval"]
    return record_id(record.key), data


def saved_by_an_agent(folder: Path, gateway: Gateway) -> list[tuple[str, dict]]:
    """What an agent that starts on a copy of a store would send, by id."""
    copy = shutil.copytree(folder, folder.with_name("for-the-agent"))

    async def work() -> list[tuple[str, dict]]:
        async with open_buffer(load(gateway.config).agent.buffer.model_copy(update={"path": copy})) as buffer:
            records = [*await buffer.peek(OUT, None, 10_000, "E"), *await buffer.peek(OUT, None, 10_000, "T")]
            return [said(record) for record in records]

    return asyncio.run(work())


@pytest.mark.parametrize("damage", [pages_of_records, half_the_file])
def test_a_damaged_store_gives_what_can_be_read(gateway, damage: Callable[[Path], None]):
    """Every number that waited comes once, as its record or inside a gap; stderr counts what is missing; the code is 3; nothing is touched."""
    dead = closed(gateway)
    damage(dead)
    before = seen(dead)
    code, out, err = gateway.run("buffer", "export", "--store", dead)
    assert seen(dead) == before
    filler = [event for event in events(out) if event["source"].endswith("/filler")]
    numbers = [number for event in filler for number in covered(event)]
    assert sorted(numbers) == sorted(WAITING)
    gaps = [event for event in filler if event["type"].endswith("collection.gap.v1")]
    assert {gap["data"]["reason"] for gap in gaps} == {"corruption"}
    missing = sum(gap["data"]["seq_to"] - gap["data"]["seq_from"] + 1 for gap in gaps)
    assert code == 3
    assert f"{len(events(out))} records exported\n" in err
    assert f"({missing} records of epoch" in err
    assert "what can be read of it was exported, and it was left as it is" in err
    assert "missing: filler " in err
    assert "/tmp/edge-agent-" not in err
    assert "missing: filler/telemetry 1 (1 record of epoch" in err or damage is pages_of_records


@pytest.mark.parametrize("damage", [pages_of_records, half_the_file])
def test_a_damaged_store_is_published_with_its_losses(gateway, published, damage: Callable[[Path], None]):
    """The broker gets exactly what an agent that starts on that store would send, the loss records included."""
    dead = closed(gateway)
    damage(dead)
    code, _, err = gateway.run("buffer", "export", "--store", dead, "--publish", "mqtt://b", "--allow-insecure")
    assert code == 3
    assert "missing: filler " in err
    assert "was published" in err
    assert [said(record) for record in published] == saved_by_an_agent(dead, gateway)


def test_the_gateways_own_damaged_store_is_read_too(gateway):
    """Asked by its configuration, and no agent runs: the same, and the store waits for its agent."""
    dead = closed(gateway)
    head_that_rotted(dead)
    code, out, err = gateway.run("buffer", "export", "-c", gateway.config)
    assert (code, len(events(out))) == (3, EVENTS - DELIVERED + 2), (
        "what waits, and a gap: a head that is wrong may be wrong by more"
    )
    assert "stream filler has given numbers up to 399" in err
    assert not list(dead.glob("*.corrupt-*"))


def test_a_range_of_a_damaged_store_is_of_its_own_epoch(gateway):
    """Nobody has to name the epoch of a store that has one."""
    dead = closed(gateway)
    head_that_rotted(dead)
    code, out, _ = gateway.run("buffer", "export", "--store", dead, "--stream", "filler", "--from", 200, "--to", 205)
    assert (code, [event["data"]["seq"] for event in events(out)]) == (3, [200, 201, 202, 203, 204, 205])


def test_a_damaged_file_is_kept_when_what_can_be_read_is_in_it(gateway, tmp_path):
    """With --output the file is there with code 3, for it is all there is to have."""
    dead = closed(gateway)
    pages_of_records(dead)
    assert gateway.run("buffer", "export", "--store", dead, "-o", tmp_path / "rest.jsonl")[0] == 3
    assert {number for event in events((tmp_path / "rest.jsonl").read_text())[:-1] for number in covered(event)} == WAITING


def test_a_damaged_row_is_told(gateway):
    """A wrong checksum needs no salvage: its gap comes in its turn, and counts as missing."""
    dead = closed(gateway)
    database = apsw.Connection(str(dead / DATABASE))
    database.execute("UPDATE record SET body = CAST('{}' AS BLOB) WHERE seq = 200 AND kind = 'E'")
    database.close()
    code, out, err = gateway.run("buffer", "export", "--store", dead)
    assert (code, len(events(out))) == (3, EVENTS - DELIVERED + 1)
    assert "missing: filler 200 (1 record of epoch" in err


def test_a_gateway_that_was_killed_gives_everything(gateway):
    """The log is read along with the database, and stays as it is: nothing else is needed, and nothing is missing."""
    dead = killed(gateway)
    assert (dead / f"{DATABASE}-wal").stat().st_size > 20 * PAGE
    before = seen(dead)
    for _ in range(2):
        code, out, err = gateway.run("buffer", "export", "--store", dead)
        assert (code, err) == (0, "301 records exported\n")
        assert {e["data"]["seq"] for e in events(out) if e["source"].endswith("/filler")} == WAITING
    assert gateway.run("buffer", "status", "--store", dead)[0] == 0
    assert gateway.run("buffer", "dead-letters", "--store", dead)[0] == 0
    assert seen(dead) == before


def test_a_torn_tail_of_the_log_costs_nothing_that_was_accepted_before(gateway):
    """A power cut in the middle of the last commit: every commit before it is there."""
    dead = killed(gateway)
    log = dead / f"{DATABASE}-wal"
    os.truncate(log, log.stat().st_size - 100)
    before = seen(dead)
    code, out, err = gateway.run("buffer", "export", "--store", dead)
    numbers = {e["data"]["seq"] for e in events(out) if e["source"].endswith("/filler")}
    assert (code, numbers) == (0, WAITING | (numbers - WAITING)), err
    assert err.startswith(
        f"caution: {dead}: {DATABASE}-wal ends in the middle of a write, as a power cut leaves it, or a copy that is not"
    )
    assert seen(dead) == before


def test_a_log_that_was_left_behind_is_asked_for(gateway):
    """Whoever copied the database alone is told so, whatever else comes of it."""
    dead = killed(gateway)
    (dead / f"{DATABASE}-wal").unlink()
    for verb in ("export", "status", "dead-letters"):
        _, _, err = gateway.run("buffer", verb, "--store", dead)
        assert err.startswith(f"caution: {dead}: {DATABASE}-wal is missing, and the store was not closed: copy it along")


def test_a_log_damaged_in_its_middle_is_declared(gateway, published):
    """Commits behind the damage are gone, how many records nobody can know: a gap in the stream of the agent says so, as a started agent does."""
    dead = killed(gateway)
    log = dead / f"{DATABASE}-wal"
    overwrite(log, 32 + (log.stat().st_size // 2 - 32) // (PAGE + 24) * (PAGE + 24) + 500, os.urandom(64))
    before = seen(dead)
    code, out, err = gateway.run("buffer", "export", "--store", dead)
    assert code == 3
    assert "commits stand behind a damaged place in the log" in err
    assert "missing: perhaps what was written last, nobody can know how much: declared by a collection.gap" in err
    gaps = [event for event in events(out) if event["data"].get("lost") == "unknown"]
    assert [gap["source"] for gap in gaps] == ["/acme/plant1/gw1/_agent/gw1"]
    good = [e["data"]["seq"] for e in events(out) if e["type"].endswith("count.v1") and e["source"].endswith("/filler")]
    assert len(good) == len(set(good)) > 0
    assert gateway.run("buffer", "export", "--store", dead, "--publish", "mqtt://b", "--allow-insecure")[0] == 3
    assert len(published) == len(events(out))
    assert seen(dead) == before


def test_pages_that_the_medium_cannot_read_are_gone_round(gateway, monkeypatch):
    """A disk that answers EIO in one place still gives everything else."""
    dead = closed(gateway)
    bad = leaves(dead, "record")[-3]
    original = os.pread

    def failing(fd: int, length: int, offset: int) -> bytes:
        if Path(f"/proc/self/fd/{fd}").readlink() == dead / DATABASE and offset <= bad < offset + length:
            raise OSError(errno.EIO, "Input/output error")
        return original(fd, length, offset)

    monkeypatch.setattr(os, "pread", failing)
    code, out, err = gateway.run("buffer", "export", "--store", dead)
    assert code == 3
    assert "missing: filler " in err
    assert {number for event in events(out)[:-1] for number in covered(event)} == WAITING


def test_gaps_have_the_types_of_their_gateway(gateway):
    """The store tells its type prefix, no configuration is needed for it."""
    text = json.loads(gateway.config.read_text()) | {"events": {"type_prefix": "com.acme"}}
    gateway.config.write_text(json.dumps(text))
    dead = closed(gateway)
    pages_of_records(dead)
    code, out, _ = gateway.run("buffer", "export", "--store", dead)
    assert code == 3
    gaps = {event["type"] for event in events(out) if "gap" in event["type"]}
    assert gaps == {"com.acme.collection.gap.v1"}


def no_store(folder: Path) -> None:
    """Something else under the name of a store."""
    (folder / DATABASE).write_bytes(b"hello, I am not a database\n" * 500)


def other_database(folder: Path) -> None:
    """The database of another program."""
    (folder / DATABASE).unlink()
    database = apsw.Connection(str(folder / DATABASE))
    database.execute("CREATE TABLE x (y)")
    database.close()


def newer(folder: Path) -> None:
    """The store of a later version."""
    database = apsw.Connection(str(folder / DATABASE))
    database.pragma("user_version", 99)
    database.execute("UPDATE store SET value = '99' WHERE key = 'format'")
    database.close()


def empty_file(folder: Path) -> None:
    """A file of no bytes."""
    (folder / DATABASE).write_bytes(b"")


@pytest.mark.parametrize(
    ("spoil", "expected", "said"),
    [
        (no_store, 1, "edge-agent: nothing can be read of the store in {} (file is not a database): not even its list of streams, or it is no store"),
        (other_database, 78, "{}/buffer.db: not a buffer of edge-agent; name another folder with --store"),
        (newer, 78, "{}/buffer.db: written by a newer edge-agent (format 99, this one knows 1); install that version again, or name another"),
        (empty_file, 1, "edge-agent: {0}/buffer.db is empty: there is no store in {0}"),
        (lambda folder: (folder / DATABASE).unlink(), 1, "edge-agent: no agent answers, and there is no store in {}; name the folder"),
    ],
)  # fmt: skip
def test_what_is_no_store_is_refused_in_one_line(gateway, spoil: Callable[[Path], None], expected: int, said: str):
    """File, cause and remedy; nothing is made or changed."""
    dead = closed(gateway)
    spoil(dead)
    before = seen(dead)
    code, out, err = gateway.run("buffer", "export", "--store", dead)
    assert (code, out) == (expected, "")
    assert err.startswith(said.format(dead))
    assert err.count("\n") == 1
    assert seen(dead) == before


def test_a_store_in_use_is_not_copied(gateway):
    """An agent that answers nowhere is named by its process."""
    dead = closed(gateway)
    with (dead / "lock").open("w") as lock:
        lock.write("4711\n")
        lock.flush()
        fcntl.flock(lock, fcntl.LOCK_EX)
        code, _, err = gateway.run("buffer", "export", "--store", dead)
    assert code == 1
    assert f"(process 4711) is using {dead}; stop it first, or ask the agent itself by its configuration (--config FOLDER" in err


def test_sending_again_from_where_nobody_may_write_is_refused(gateway, monkeypatch):
    """What has to be written cannot be: cause and remedy; an export of the same store, by its configuration too, reads a copy."""
    dead = closed(gateway)
    monkeypatch.setattr(os, "access", lambda path, mode, **_: mode != os.W_OK or Path(path) != dead)
    before = seen(dead)
    code, _, err = gateway.run("buffer", "resend", "--stream", "filler", "--from", 1, "--store", dead)
    assert code == 1
    assert err.startswith(f"edge-agent: {dead} is read-only, or this user may not write there")
    assert err.count("\n") == 1
    for options in (("--store", dead), ("-c", gateway.config)):
        assert gateway.run("buffer", "export", *options)[::2] == (0, "301 records exported\n")
    assert seen(dead) == before


def test_the_room_for_a_copy_is_asked_for(gateway, monkeypatch):
    """Where it is missing the message says how much, where, and how to name another place."""
    dead = closed(gateway)
    usage = shutil.disk_usage("/")._replace(free=1 << 20)
    monkeypatch.setattr("shutil.disk_usage", lambda _: usage)
    overwrite(dead / DATABASE, 2 << 20, b"x")
    code, _, err = gateway.run("buffer", "export", "--store", dead)
    assert code == 1
    assert "where 1 MiB are free; name a folder with more room: TMPDIR=FOLDER" in err


def test_damage_is_told_by_every_other_verb(gateway):
    """They refuse, name the store that the user named, and the way on."""
    dead = closed(gateway)
    head_that_rotted(dead)
    for verb in (("status",), ("dead-letters",), ("resend", "--stream", "filler", "--from", 1), ("dead-letters", "--retry", "all")):
        code, _, err = gateway.run("buffer", *verb, "--store", dead)
        assert code == 1
        assert err.startswith(f"edge-agent: the store in {dead} is damaged (stream filler has given")
        assert "`edge-agent buffer export` reads it" in err


def test_stderr_is_for_words(gateway):
    """The command itself, in a process of its own: no line of a log and no name of the copy comes between what it says."""
    dead = closed(gateway)
    pages_of_records(dead)
    command = [sys.executable, "-c", "from edge_agent.cli import main; main()", "buffer", "export", "--store", str(dead)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 3
    assert [line.split(":")[0] for line in done.stderr.splitlines()] == [
        f"{len(events(done.stdout))} records exported",
        "damaged",
        "missing",
    ]
