"""A gateway that is lost or rolled back, with real processes: another store goes on, and every part is in one count."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from fault_bench import WINDOW, Bench, bench, until
from fault_command import edge_agent

from simulators.check import judge
from simulators.check_records import read_store
from simulators.ledger import read_ledger

pytestmark = [pytest.mark.faults, pytest.mark.timeout(60)]


async def based(made: Bench) -> None:
    """Wait until a checkpoint has arrived from which another gateway could go on."""

    def arrived() -> bool:
        publishes = [
            entry for entry in made.ledger() if entry["what"] == "publish" and entry["topic"].endswith("/checkpoint/filler")
        ]
        return any('"resume":{' in str(entry["payload"]) for entry in publishes)

    await until(arrived, 15)


def epochs(made: Bench) -> list[str]:
    """Return the epochs of the unit's stream in the order they came."""
    return list(dict.fromkeys(each.epoch for each in made.events() if each.stream == "filler"))


async def settled(made: Bench) -> None:
    """Let everything arrive, end the agent, and judge; the store that went on does not know how far the lost one had got."""
    made.generator.stop_counting()
    await until(lambda: made.generator.final, 5)
    await asyncio.sleep(0.3)
    assert await made.agent.end() == 0
    store = read_store(made.folder / "buffer")
    for key in [key for key in store.heads if key[1] == epochs(made)[0]]:
        del store.heads[key]
    produced = read_ledger(made.folder / "generator.jsonl")
    verdict = judge(made.ledger(), store, produced, window=WINDOW, restarts=made.kills, reasons=frozenset(made.reasons))
    assert verdict.problems == []
    assert all(each.still_buffered == 0 for each in verdict.sources)


async def test_a_blank_gateway_adopts_the_streams_of_one_that_is_lost(tmp_path: Path) -> None:
    """The agent is killed, its disk thrown away; after `adopt` every part is counted once, those made meanwhile as recovered."""
    async with bench(tmp_path) as made:
        await based(made)
        await made.fresh()
        await made.kill_agent()
        shutil.rmtree(tmp_path / "buffer")
        code, out = await edge_agent("adopt", "-c", str(tmp_path / "agent.yaml"))
        assert code == 1
        assert "--yes" in out
        assert not (tmp_path / "buffer" / "buffer.db").exists()
        code, out = await edge_agent("adopt", "-c", str(tmp_path / "agent.yaml"), "--yes")
        assert code == 0, out
        assert "filler" in out
        made.reasons.add("store_rolled_back")
        await made.agent.start()
        await made.fresh(15)
        verdict = await made.finish()
        assert len(epochs(made)) == 2
        gaps = [each.data for each in made.events() if each.stream == "filler" and each.type.endswith("collection.gap.v1")]
        assert {gap["reason"] for gap in gaps} >= {"store_rolled_back", "agent_down"}
        assert verdict.problems == []


def rolled_back(made: Bench) -> dict[str, Any]:
    """Return the gap with which the unit's stream begins behind a store that is older than what it had told."""
    return next(each.data for each in made.events() if each.stream == "filler" and each.data.get("reason") == "store_rolled_back")


async def test_a_store_restored_from_a_copy_begins_a_new_epoch(tmp_path: Path) -> None:
    """A copy of the folder is put back after the agent has gone on: its numbers are not given twice, no part is counted twice."""
    async with bench(tmp_path) as made:
        await based(made)
        await made.agent.end()
        shutil.copytree(tmp_path / "buffer", tmp_path / "copy")
        await made.agent.start()
        await made.fresh(15)
        await made.kill_agent()
        shutil.rmtree(tmp_path / "buffer")
        shutil.copytree(tmp_path / "copy", tmp_path / "buffer")
        made.reasons.add("store_rolled_back")
        await made.agent.start()
        await made.fresh(15)
        await settled(made)
        assert len(epochs(made)) == 2
        gap = rolled_back(made)
        assert gap["doubt"]["epoch"] == epochs(made)[0]


def cut(store: Path) -> None:
    """Flip a byte a third into the log: SQLite reads nothing behind it."""
    log = store / "buffer.db-wal"
    content = bytearray(log.read_bytes())
    content[len(content) // 3] ^= 0x40
    log.write_bytes(content)


def gone(store: Path) -> None:
    """Delete the database, and leave its log."""
    (store / "buffer.db").unlink()


def emptied(store: Path) -> None:
    """Leave a database of no bytes, and no log."""
    (store / "buffer.db").write_bytes(b"")
    (store / "buffer.db-wal").unlink()


@pytest.mark.parametrize("away", [False, True], ids=["sent", "unsent"])
@pytest.mark.parametrize("hurt", [cut, gone, emptied])
async def test_counters_go_on_behind_a_store_that_was_lost(tmp_path: Path, hurt: Callable[[Path], None], away: bool) -> None:
    """The agent is killed and its store hurt, with and without a backlog: the gap has bounds, and every part is in one count."""
    async with bench(tmp_path) as made:
        await based(made)
        if away:
            await made.link.cut()
            await asyncio.sleep(2)
        await made.kill_agent()
        hurt(tmp_path / "buffer")
        if away:
            await made.link.mend()
        made.reasons |= {"store_rolled_back", "corruption"}
        await made.agent.start()
        await made.fresh(15)
        await settled(made)
        assert len(epochs(made)) == 2
        gap = rolled_back(made)
        assert gap["doubt"]["epoch"] == gap["prev_epoch"] == epochs(made)[0]
        assert gap["totals_at_from"].keys() == {"c0", "c1", "c2"}
        assert gap["interval"][0] is not None
