"""The buffer against disks that are full, fail or are slow: each fault once, with the real agent and the checker's verdict.

Each test ends by `Bench.finish`: the counters stand, everything arrives, the agent stops in order, and the ledgers balance.
"""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from fault_bench import bench, until
from fault_disk import (
    DOWN,
    HEALED,
    api,
    flagged,
    healthy,
    hurt,
    nothing_lost,
    size_of,
    small_disk,
    spacing,
    starts_critical,
    written,
)

pytestmark = [pytest.mark.faults, pytest.mark.timeout(90)]


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
            await starts_critical(made)
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
        await made.start_broker()
        await made.fresh(2 * HEALED)
        verdict = await made.finish()
        print(f"largest size {largest} of {1 << 20} bytes")
        assert largest <= 1 << 20
        assert sum(each.declared_lost for each in verdict.sources) > 0


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
            await starts_critical(made)
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
