"""Networks that break, stall or swallow: each fault once, with the real agent and the checker's verdict.

Each test ends by `Bench.finish`: the counters stand, everything arrives, the agent stops in order, and the ledgers balance.
"""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from random import Random

import pytest
from fault_acts import DOWN, detected, restart
from fault_bench import RECOVERY, bench, until

pytestmark = [pytest.mark.faults, pytest.mark.timeout(90)]


async def test_f33_connections_that_die_in_the_middle_of_a_packet(tmp_path: Path) -> None:
    """Twice a connection is reset after 9,000 bytes: it goes on from the oldest unacknowledged record each time."""
    async with bench(tmp_path) as made:
        tries = len(made.connects())
        made.link.up.set("cut_after", "9000")
        await until(lambda: len(made.connects()) - tries >= 2, RECOVERY)
        made.link.up.clear()
        await made.fresh()
        await made.finish()


@pytest.mark.waits(14)
async def test_f33_connections_that_die_again_and_again(tmp_path: Path) -> None:
    """A series of resets may be held for a second client, and answered by a pause; the books balance all the same."""
    async with bench(tmp_path) as made:
        made.link.up.set("cut_after", "9000")
        await asyncio.sleep(2 * DOWN)
        made.link.up.clear()
        await restart(made)
        await made.finish()


@pytest.mark.waits(26)
@pytest.mark.parametrize("protocol", ["5", "3.1.1"])
async def test_f33_cuts_at_random_accuse_no_message(tmp_path: Path, protocol: str) -> None:
    """Every connection is reset after another number of bytes, often in the very first record: none is ever set aside for it."""
    async with bench(tmp_path, protocol=protocol) as made:
        random, tries, end = Random(33), len(made.connects()), time.monotonic() + 8 * DOWN
        while time.monotonic() < end:
            made.link.up.set("cut_after", str(random.randint(800, 9_000)))
            await asyncio.sleep(random.uniform(0.1, 0.5))
        made.link.up.clear()
        print(f"{len(made.connects()) - tries} connections")
        assert len(made.connects()) - tries >= 5
        await restart(made)
        verdict = await made.finish()
        assert sum(each.declared_lost for each in verdict.streams) == 0


@pytest.mark.parametrize("which", ["both", "up", "down"])
async def test_f39_a_black_hole(tmp_path: Path, which: str) -> None:
    """Both ways or one: noticed by the missing acknowledgements, and over within seconds of its end."""
    async with bench(tmp_path) as made:
        for lane in made.link.lanes(which):
            lane.set("freeze", "1")
        assert await detected(made, "acknowledged") < 1.0 + 1.5
        await asyncio.sleep(DOWN)
        for lane in made.link.lanes(which):
            lane.set("freeze", "0")
        await made.fresh()
        await made.finish()


async def test_f40_a_peer_that_lost_its_power(tmp_path: Path) -> None:
    """The connection stays open and nobody is there: noticed by the missing acknowledgements, a new connection works at once."""
    async with bench(tmp_path) as made:
        made.link.half_open()
        assert await detected(made, "acknowledged") < 1.0 + 1.5
        await made.fresh()
        await made.finish()


@pytest.mark.waits(14)
@pytest.mark.parametrize("line", ["stall=0.05", "delay=2", "rate=2500"])
async def test_f41_a_bad_line_makes_no_disconnect_loop(tmp_path: Path, line: str) -> None:
    """Losses, two seconds each way, or a thin line on which a full window takes longer than ack_timeout: the connection holds."""
    async with bench(tmp_path, ack_timeout="5s", connect_timeout="5s", keepalive="15s") as made:
        tries = len(made.connects())
        for lane in made.link.lanes("up" if line.startswith("rate") else "both"):
            lane.set(*line.split("="))
        await asyncio.sleep(10)
        assert len(made.connects()) == tries
        for lane in made.link.lanes("both"):
            lane.clear()
        await made.fresh(2 * RECOVERY)
        await made.finish()


async def test_f43_a_backlog_after_an_outage(tmp_path: Path) -> None:
    """What was made in six seconds drains several times faster than it was made, in order, with bounded memory."""
    async with bench(tmp_path, counters=12, rate=20.0) as made:
        before = made.rss()
        await made.fault("fault refuse")
        since = time.monotonic()
        await asyncio.sleep(6)
        count, away = len(made.events()), time.monotonic() - since
        await made.fault("clear")
        await made.fresh(2 * RECOVERY, healed=False)  # it comes behind the whole backlog, whose rate is judged below
        came = made.events()[count:]
        backlog = [each for each in came if each.at <= came[0].at + RECOVERY][: round(away * len(came) / (came[-1].at - since))]
        rate, live = len(backlog) / (backlog[-1].at - backlog[0].at), len(came) / (came[-1].at - since)
        print(f"backlog: {len(backlog)} events at {rate:.0f}/s, live {live:.0f}/s, RSS +{(made.rss() - before) / 2**20:.1f} MiB")
        assert rate >= 5 * live
        assert made.rss() - before < 16 * 2**20
        await made.finish()
