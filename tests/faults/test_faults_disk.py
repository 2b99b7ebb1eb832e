"""The buffer against everything that disks do: each fault once, with the real agent and the checker's verdict.

Each test ends by `Bench.finish`: the counters stand, everything arrives, the agent stops in order, and the ledgers balance.
"""

from __future__ import annotations

import asyncio
import random
import shutil
import signal
from pathlib import Path

import pytest
from fault_bench import Bench, bench, until
from fault_command import edge_agent
from fault_disk import announced, api, size_of, small_disk, spacing, written

pytestmark = [pytest.mark.faults, pytest.mark.timeout(90)]

DOWN = 1.5
"""Machine seconds that a fault lasts."""
HEALED = 5.0
"""Machine seconds in which new data have to arrive when the disk is in order again."""


def flagged(folder: Path, *names: str) -> tuple[Path, dict[str, str]]:
    """Return the file that switches the failpoints on, and the environment that names them."""
    flag = folder / "flag"
    return flag, {"EDGE_AGENT_FAILPOINT": ";".join(f"{name}:while={flag}" for name in names)}


async def critical(made: Bench) -> None:
    """Wait until both the local API and the retained status say that the store is out of order."""
    await until(lambda: any(status.get("health") == "critical" for status in announced(made)), 5)
    assert (await api(made))["health"] == "critical"


async def healthy(made: Bench) -> None:
    """Wait until the retained status says that the store is in order again."""
    await until(lambda: announced(made)[-1].get("health") == "ok", HEALED)


def nothing_lost(verdict) -> None:
    """No part and no number is missing, not even declared."""
    assert sum(each.declared_lost for each in (*verdict.sources, *verdict.streams)) == 0


async def hurt(made: Bench, flag: Path) -> None:
    """Let the fault last a while and pass."""
    flag.touch()  # noqa: ASYNC240 - a name in a directory of the test
    await critical(made)
    await asyncio.sleep(DOWN)
    flag.unlink()  # noqa: ASYNC240
    await made.fresh(HEALED)
    await healthy(made)


# -- the process dies --------------------------------------------------------------------------------------------------


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


# -- no room -----------------------------------------------------------------------------------------------------------


async def test_f10_a_disk_that_others_fill(tmp_path: Path) -> None:
    """While there is no room at all everything goes on within what the store has; with room again it is as before, by itself."""
    with small_disk(tmp_path / "disk", "6m") as disk:
        async with bench(tmp_path, buffer={"path": str(disk.place / "store"), "max_bytes": "4MiB"}) as made:
            disk.fill()
            await made.fresh(HEALED, healed=False)
            await asyncio.sleep(DOWN)
            disk.free()
            await made.fresh(HEALED)
            nothing_lost(await made.finish())


async def test_f10_a_disk_that_is_full_at_the_start(tmp_path: Path) -> None:
    """The agent starts without a store, says that it is in trouble, and nothing of that time is lost."""
    with small_disk(tmp_path / "disk", "6m") as disk:
        disk.fill()
        async with bench(tmp_path, started=False, buffer={"path": str(disk.place / "store")}) as made:
            await made.agent.start()
            await until(lambda: any(status.get("health") == "critical" for status in announced(made)), 10)
            await asyncio.sleep(DOWN)
            disk.free()
            await made.fresh(HEALED)
            nothing_lost(await made.finish())


async def test_f11_a_quota_that_is_reached(tmp_path: Path) -> None:
    """With the broker away the smallest quota fills: the oldest events go, declared with their totals, and the size stays below it."""
    async with bench(tmp_path, counters=12, rate=40, buffer={"max_bytes": "1MiB"}) as made:
        made.reasons.add("buffer_overflow")
        await made.broker.end()
        largest = 0
        for _ in range(70):
            await asyncio.sleep(0.1)
            largest = max(largest, size_of(made.store))
        await made.broker.start()
        await made.fresh(2 * HEALED)
        verdict = await made.finish()
        print(f"largest size {largest} of {1 << 20} bytes")
        assert largest <= 1 << 20
        assert sum(each.declared_lost for each in verdict.sources) > 0


# -- a disk that fails -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["write_readonly", "write_eio", "fsync_eio", "fsync_enospc", "write_full"])
async def test_f12_f13_f14_a_disk_that_fails_for_a_while(tmp_path: Path, name: str) -> None:
    """Read-only, EIO at write or sync, ENOSPC: it is said at once, readings wait in memory, and all of them are there afterwards."""
    flag, environment = flagged(tmp_path, name)
    async with bench(tmp_path, environment=environment) as made:
        await hurt(made, flag)
        nothing_lost(await made.finish())


async def test_f12_a_file_system_that_is_read_only_at_the_start(tmp_path: Path) -> None:
    """The second life finds its store on a read-only disk: counts go on from it when it is writable, exactly."""
    with small_disk(tmp_path / "disk", "16m") as disk:
        async with bench(tmp_path, buffer={"path": str(disk.place / "store")}) as made:
            made.reasons.add("agent_down")
            assert await made.agent.end() == 0
            disk.remount("ro")
            await made.agent.start()
            before = len(announced(made))
            await until(lambda: any(status.get("health") == "critical" for status in announced(made)[before:]), 10)
            await asyncio.sleep(DOWN)
            disk.remount("rw")
            await made.fresh(HEALED)
            await healthy(made)
            nothing_lost(await made.finish())


async def test_f13_a_sync_that_fails_once(tmp_path: Path) -> None:
    """One failed sync is not even noticed outside: the file is opened anew and the same rows are inserted."""
    async with bench(tmp_path, environment={"EDGE_AGENT_FAILPOINT": "fsync_eio:from=40,times=1"}) as made:
        await until(lambda: any(line["event"] == "buffer.commit_failed" for line in made.log()), 10)
        await made.fresh(HEALED)
        assert not any(line["event"] == "buffer.degraded" for line in made.log())
        nothing_lost(await made.finish())


# -- files that are not what they were ---------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["buffer.db", "buffer.db-wal"])
async def test_f16_bytes_that_flip(tmp_path: Path, name: str) -> None:
    """Garbage in the files of an agent that was killed: it starts, hands out nothing foreign, and declares what it cannot read."""
    async with bench(tmp_path, seed=16) as made:
        made.reasons |= {"corruption"}
        await made.broker.end()
        await asyncio.sleep(DOWN)
        await made.kill_agent()
        spoil(made.store / name, random.Random(16))
        await made.broker.start()
        await made.agent.start()
        await made.fresh(15)
        made.generator.stop_counting()
        await until(lambda: made.generator.final, 5)
        await asyncio.sleep(0.3)
        assert await made.agent.end() == 0
        verdict = made.judge()
        made.tally.judged(verdict)
        print(*verdict.lines(), sep="\n")
        declared = [each for each in made.events() if each.data.get("reason") == "corruption"]
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
        await made.agent.start()
        before = len(announced(made))
        await until(lambda: any(status.get("health") == "critical" for status in announced(made)[before:]), 10)
        assert (await api(made))["health"] == "critical"
        await asyncio.sleep(DOWN)
        flag.unlink()
        await made.fresh(HEALED)
        await healthy(made)
        nothing_lost(await made.finish())


# -- slow disks, worn disks --------------------------------------------------------------------------------------------


async def test_f18_a_disk_that_takes_its_time(tmp_path: Path) -> None:
    """Each sync takes 200 ms: commits get larger, polls not later."""
    flag = tmp_path / "flag"
    async with bench(tmp_path, environment={"EDGE_AGENT_FAILPOINT": f"fsync_sleep=200ms:while={flag}"}) as made:
        await asyncio.sleep(2)
        middle = made.generator.clock.t() / 1e9
        flag.touch()
        await asyncio.sleep(3)
        end = made.generator.clock.t() / 1e9
        quick = [each for each in spacing(made, 0.0) if each]
        slow = spacing(made, middle)
        flag.unlink()
        for word, found in (("before", quick), ("slow", slow)):
            print(
                f"{word}: time between readings p50 {found[len(found) // 2] * 1e3:.0f} ms, p99 {found[len(found) * 99 // 100] * 1e3:.0f} ms"
            )
        assert len(slow) > 0.8 * 20 * (end - middle), "polls waited for the disk"
        assert slow[len(slow) * 9 // 10] < 0.15
        await made.fresh(HEALED)
        nothing_lost(await made.finish())


async def test_f19_how_much_a_disk_is_worn(tmp_path: Path) -> None:
    """Under load there are at most ten commits a second; what that is in an hour is printed."""
    async with bench(tmp_path, counters=6, rate=40) as made:
        before, bytes_before = (await api(made))["buffer"]["commits"], written(made)
        await asyncio.sleep(4)
        commits, moved = (await api(made))["buffer"]["commits"] - before, written(made) - bytes_before
        print(f"{commits / 4:.1f} commits a second, {moved / 4 * 3600 / 1e6:.0f} MB an hour handed to storage")
        assert 0 < commits / 4 <= 10.5
        await made.finish()
