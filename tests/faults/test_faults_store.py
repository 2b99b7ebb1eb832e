"""The buffer against kills, and files that are not what they were: each fault once, with the real agent and the checker's verdict.

Each test ends by `Bench.finish`: the counters stand, everything arrives, the agent stops in order, and the ledgers balance.
"""

from __future__ import annotations

import asyncio
import random
import shutil
import signal
from pathlib import Path

import pytest
from fault_bench import bench, until
from fault_command import edge_agent
from fault_disk import DOWN, HEALED, api, flagged, healthy, hurt, nothing_lost, starts_critical

pytestmark = [pytest.mark.faults, pytest.mark.timeout(90)]


@pytest.mark.parametrize("place", ["before_commit", "after_commit"])
async def test_f01_a_kill_at_a_commit(tmp_path: Path, place: str) -> None:
    """Killed right before or right after a commit: the next life goes on from what was committed, no part twice and none missing."""
    async with bench(tmp_path, environment={"EDGE_AGENT_FAILPOINT": f"{place}:40"}) as made:
        assert await asyncio.wait_for(made.agent.wait(), 20) == -signal.SIGKILL
        made.kills += 1
        made.reasons.add("agent_down")
        made.agent.environment["EDGE_AGENT_FAILPOINT"] = ""
        await made.agent.start()
        await made.fresh(10)
        nothing_lost(await made.finish())


@pytest.mark.parametrize(
    ("name", "reasons"),
    [("buffer.db", {"corruption"}), ("buffer.db-wal", {"corruption", "store_rolled_back"})],
    ids=["buffer.db", "buffer.db-wal"],
)
async def test_f16_bytes_that_flip(tmp_path: Path, name: str, reasons: set[str]) -> None:
    """Garbage in the files of an agent that was killed: it starts, hands out nothing foreign, and declares what it cannot read.

    A log that is cut ends a store earlier than it had promised: that is rolled back, and the broker's checkpoints bound it.
    """
    async with bench(tmp_path, seed=16) as made:
        made.reasons |= reasons
        await made.broker.end()
        await asyncio.sleep(DOWN)
        await made.kill_agent()
        spoil(made.store / name, random.Random(16))
        await made.start_broker()
        await made.agent.start()
        await made.fresh(15)
        made.generator.stop_counting()
        await until(lambda: made.generator.final, 5)
        await asyncio.sleep(0.3)
        assert await made.agent.end() == 0
        verdict = made.judge()
        made.tally.judged(verdict)
        print(*verdict.lines(), sep="\n")
        declared = [each for each in made.events() if each.data.get("reason") in reasons]
        missing = sum(each.undeclared_missing for each in verdict.sources)
        assert not missing or declared, "parts are missing and no gap says why"
        assert [
            each for each in verdict.problems if "undeclared_missing" not in each or "invented" in each or "twice" in each
        ] == []


def spoil(path: Path, rng: random.Random) -> None:
    """Write garbage at three places of a file, the first page of a database left out."""
    content = bytearray(path.read_bytes())
    for _ in range(3):
        place = rng.randrange(min(4096, len(content) // 2), len(content))
        content[place : place + 64] = rng.randbytes(len(content[place : place + 64]))
    path.write_bytes(content)


async def test_f17_a_store_that_somebody_deletes(tmp_path: Path) -> None:
    """The files go while the agent runs: they are written anew from the open handle, and nothing is lost."""
    async with bench(tmp_path) as made:
        for suffix in ("", "-wal"):
            (made.store / f"buffer.db{suffix}").unlink()
        await until(lambda: any(line["event"] == "buffer.rescued" for line in made.log()), 5)
        await made.fresh(HEALED)
        nothing_lost(await made.finish())


async def test_f17_a_second_agent_where_the_directory_was_deleted(tmp_path: Path) -> None:
    """The directory goes with its lock: both are there again, a second agent on the same path is refused, and nothing is lost."""
    async with bench(tmp_path) as made:
        shutil.rmtree(made.store)
        await until(lambda: any(line["event"] == "buffer.rescued" for line in made.log()), 5)
        code, said = await edge_agent("run", "-c", str(tmp_path / "agent.yaml"))
        assert (code, f"another agent (process {made.agent.pid})" in said) == (78, True), said
        await made.fresh(HEALED)
        nothing_lost(await made.finish())


async def test_f17_a_directory_that_cannot_be_used_any_more(tmp_path: Path) -> None:
    """Neither writing nor opening anew works for a while (for root no permission is ever lost, so a failpoint says so)."""
    flag, environment = flagged(tmp_path, "write_eio", "open_fail")
    async with bench(tmp_path, environment=environment) as made:
        await hurt(made, flag)
        nothing_lost(await made.finish())


async def test_f17_a_store_that_cannot_be_opened_at_the_start(tmp_path: Path) -> None:
    """The next life cannot open it: readings wait with their own times, and counts go on from the stored ones."""
    flag, environment = flagged(tmp_path, "open_fail")
    async with bench(tmp_path, environment=environment) as made:
        made.reasons.add("agent_down")
        assert await made.agent.end() == 0
        flag.touch()
        await starts_critical(made)
        assert (await api(made))["health"] == "critical"
        await asyncio.sleep(DOWN)
        flag.unlink()
        await made.fresh(HEALED)
        await healthy(made)
        nothing_lost(await made.finish())
