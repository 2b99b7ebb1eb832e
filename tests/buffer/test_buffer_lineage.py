"""Where a store comes from: runs, machines, and the new epoch of a store that was rolled back."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from edge_agent.buffer.config import BufferConfig
from edge_agent.buffer.lineage import Run, Succession, machine_of
from edge_agent.buffer.loss import loss_of
from edge_agent.buffer.sqlite import SqliteBuffer, open_buffer
from edge_agent.model.errors import StorageError
from edge_agent.model.stream import Checkpoint, Entry, RecordKey


def settings(path: Path, **more: object) -> BufferConfig:
    """Return the configuration of a store in ``path``."""
    return BufferConfig.model_validate({"path": path, "min_free": 0, "commit_interval": "1ms", "machine_id": "one", **more})


def event(n: int, stream: str = "filler") -> Entry:
    """Return an event."""
    return Entry(stream, "E", "edgeagent.production.count.v1", n, n, b'{"n":%d}' % n)


async def waiting(buffer: SqliteBuffer) -> list[tuple[str, str, int, bytes]]:
    """Return everything undelivered, in the order of delivery."""
    return [(one.key.epoch, one.key.stream, one.key.seq, one.entry.body) for one in await buffer.peek("mqtt", None, 100, "E")]


async def test_each_start_is_a_run_that_knows_the_heads_it_found(tmp_path):
    """Runs have names of their own; the newest stands last with what was there; a visitor leaves none."""
    async with open_buffer(settings(tmp_path)) as buffer:
        await buffer.append([event(1), event(2)], None)
        (first,) = (await buffer.lineage()).runs
        assert first.heads == {}
        epoch = buffer.epoch
    async with open_buffer(settings(tmp_path), as_found=True):
        pass
    async with open_buffer(settings(tmp_path)) as buffer:
        before, now = (await buffer.lineage()).runs
    assert before == first
    assert now == Run(now.token, epoch, {"filler": 2})
    assert now.token != first.token


async def test_only_the_newest_runs_are_remembered(tmp_path):
    """An agent that is started again and again does not fill its store with names."""
    for _ in range(40):
        async with open_buffer(settings(tmp_path)) as buffer:
            newest = (await buffer.lineage()).runs
    assert len(newest) == 32


@pytest.mark.parametrize(("second", "moved"), [("one", False), ("two", True), (None, False)])
async def test_a_store_knows_its_machine(tmp_path, monkeypatch, second, moved):
    """Another machine is noticed at each start until a new epoch begins; a machine without a name is no other one."""
    monkeypatch.delenv("EDGE_AGENT_MACHINE_ID", raising=False)
    monkeypatch.setattr("edge_agent.buffer.lineage._SYSTEM", tmp_path / "none")
    async with open_buffer(settings(tmp_path)) as buffer:
        assert not (await buffer.lineage()).moved
    for _ in range(2):
        async with open_buffer(settings(tmp_path, machine_id=second)) as buffer:
            assert (await buffer.lineage()).moved is moved
            if _ and moved:
                await buffer.succeed(Succession(buffer.epoch))
                assert not (await buffer.lineage()).moved
    async with open_buffer(settings(tmp_path, machine_id=second)) as buffer:
        assert not (await buffer.lineage()).moved


def test_the_machine_is_named_by_environment_configuration_or_system(tmp_path, monkeypatch):
    """In this order; what stands in the store does not tell the id."""
    monkeypatch.setattr("edge_agent.buffer.lineage._SYSTEM", tmp_path / "machine-id")
    monkeypatch.delenv("EDGE_AGENT_MACHINE_ID", raising=False)
    assert machine_of(None) is None
    (tmp_path / "machine-id").write_text("0123456789abcdef\n")
    system, configured = machine_of(None), machine_of("container-7")
    monkeypatch.setenv("EDGE_AGENT_MACHINE_ID", "from outside")
    names = [system, configured, machine_of("container-7")]
    assert len({*names, None}) == 4
    assert all(name is not None and len(name) == 16 and "0123456789" not in name for name in names)


async def test_a_new_epoch_begins_with_its_gaps_and_states(tmp_path):
    """What waits keeps its old numbers and goes first; then come the new ones from 1. It is all there after a restart."""
    async with open_buffer(settings(tmp_path)) as buffer:
        await buffer.append([event(1), event(2)], Checkpoint("filler", {"n": b"2"}, 2))
        old = buffer.epoch
        await buffer.succeed(Succession("before", [event(90)], [Checkpoint("filler", {"n": b"7"}, 7)]))
        new = buffer.epoch
        await buffer.append([event(3)], None)
        assert new != old
        assert buffer.previous_epoch == "before"
    async with open_buffer(settings(tmp_path)) as buffer:
        assert buffer.epoch == new
        assert [place[:3] for place in await waiting(buffer)] == [
            (old, "filler", 1),
            (old, "filler", 2),
            (new, "filler", 1),
            (new, "filler", 2),
        ]
        assert await buffer.states("filler") == ({"n": b"7"}, 7)


async def test_what_was_numbered_above_the_fork_gets_new_numbers(tmp_path):
    """Each behind the gap of its stream, in the old order, with the content untouched; delivered ones wait again; old numbers are free."""
    async with open_buffer(settings(tmp_path)) as buffer:
        await buffer.append([event(1), event(1, "capper"), event(2)], None)
    async with open_buffer(settings(tmp_path)) as buffer:
        old = buffer.epoch
        fork = (await buffer.lineage()).runs[-1].heads
        await buffer.append([event(3), event(2, "capper"), event(4), event(1, "_agent/gw1")], None)
        await buffer.settle("mqtt", [RecordKey("filler", old, 3)], [])
        await buffer.succeed(Succession(old, [event(90), event(90, "_agent/gw1"), event(90, "still")], (), fork))
        new = buffer.epoch
        await buffer.append([event(5), event(3, "capper"), event(1, "still")], None)
        heads = await buffer.heads()
    expected = [
        (old, "filler", 1, b'{"n":1}'),
        (old, "capper", 1, b'{"n":1}'),
        (old, "filler", 2, b'{"n":2}'),
        (new, "filler", 1, b'{"n":90}'),
        (new, "_agent/gw1", 1, b'{"n":90}'),
        (new, "still", 1, b'{"n":90}'),
        (new, "filler", 2, b'{"n":3}'),
        (new, "capper", 1, b'{"n":2}'),
        (new, "filler", 3, b'{"n":4}'),
        (new, "_agent/gw1", 2, b'{"n":1}'),
        (new, "filler", 4, b'{"n":5}'),
        (new, "capper", 2, b'{"n":3}'),
        (new, "still", 2, b'{"n":1}'),
    ]
    assert {name: level[1] for name, level in heads.items()} == {"filler": 4, "_agent/gw1": 2, "capper": 2, "still": 2}
    async with open_buffer(settings(tmp_path)) as buffer:
        assert await waiting(buffer) == expected
        levels = {(one.epoch, one.stream): one.last for one in await buffer.levels()}
        assert (levels[old, "filler"], levels[old, "capper"]) == (2, 1)


async def test_a_loss_record_that_reaches_over_the_fork_closes_the_old_epoch(tmp_path):
    """It stays as the last number of the old epoch, so that nothing is missing there; what follows it begins at 1."""
    config = settings(tmp_path)
    async with open_buffer(config) as buffer:
        await buffer.append([event(n) for n in range(1, 6)], None)
        old = buffer.epoch
        loss = loss_of([(n, event(n)) for n in range(2, 5)], "buffer_overflow").entry("edgeagent")

        def lose(outbox, _now):
            store = outbox.committer.store
            places = [stored.place for stored in store.waiting("E", 0, 10)]
            with store.transaction():
                store.replace(places[3], loss, 2)
                store.drop(places[1:3])

        await buffer._ask(lose)
        await buffer.succeed(Succession(old, (), (), {"filler": 3}))
        found = await waiting(buffer)
        assert [place[:3] for place in found] == [(old, "filler", 1), (old, "filler", 3), (buffer.epoch, "filler", 1)]
        covered = msgspec.json.decode(found[1][3])
        assert (covered["seq_from"], covered["seq_to"]) == (2, 3)
        assert not await buffer.dead_letters(0, 5)


async def test_a_store_out_of_order_begins_no_epoch(tmp_path):
    """The old epoch goes on, and whoever asked is told."""
    async with open_buffer(settings(tmp_path)) as buffer:
        old = buffer.epoch
        await buffer.append([event(1)], None)

        def spoil(outbox, _now):
            outbox.committer.store.db.execute("CREATE TEMP TRIGGER no BEFORE INSERT ON record BEGIN SELECT RAISE(FAIL, 'no'); END")

        await buffer._ask(spoil)
        with pytest.raises(StorageError, match="no new epoch can begin"):
            await buffer.succeed(Succession(old, [event(90)]))
        await buffer.append([event(2)], None)
        assert buffer.epoch == old
        assert [place[:3] for place in await waiting(buffer)] == [(old, "filler", 1), (old, "filler", 2)]
