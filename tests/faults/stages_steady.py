"""Stages without a fault to speak of: what grows over time, and how fast a backlog drains."""

from __future__ import annotations

import asyncio
import json
import re
import time
from collections.abc import Iterator
from datetime import datetime
from itertools import pairwise
from pathlib import Path
from statistics import quantiles
from typing import Any

from fault_bench import Bench, bench, until
from order import Order
from stages_agent import trial
from tally import Tally

from edge_agent.buffer.config import BufferConfig
from edge_agent.buffer.sqlite import open_buffer
from edge_agent.model.stream import Entry

MIB = 2**20
_GROWTH = 0.5
"""MiB an hour that the agent's memory may grow."""
_TIMES = 5.0
"""A backlog drains so many times faster than new events come, at least."""
_JITTER = 1.2
"""The jitter of polls while a backlog drains may be so many times what it is without one."""
_POLL = 0.05
_STARTING = 40
"""Polls of the first two seconds, in which a process has other things to do."""
_ROOM = 48 * MIB
"""Bytes by which memory may grow while a backlog drains, however long it is."""
PLANT = {"timeout": "5s", "keepalive": "15s", "ack_timeout": "15s", "connect_timeout": "5s"}
"""The agent's own defaults, and a device that may take five seconds: nothing is broken here, so a machine that has no time for a second is no fault."""
_SEQUENCE = re.compile(rb'/filler/_event".*?\\"sequence\\":\\"(\d+)\\"')


async def soak(order: Order) -> Tally:
    """Many times the rate of a line, for long: memory does not grow after warming up, files and threads not at all."""
    tally = Tally("soak", order.seed, injected=1)
    samples: list[tuple[float, int, int, int]] = []
    async with trial(order, tally, counters=2, **PLANT) as made:
        begin = time.monotonic()
        while (now := time.monotonic() - begin) < order.minutes * 60:
            samples.append((now, made.rss(), *held(made.agent.pid)))
            if len(samples) % 60 == 0:
                order.say(f"RSS {samples[-1][1] / MIB:.1f} MiB, {samples[-1][2]} files, {samples[-1][3]} threads")
            await made.seen.catch_up()
            await asyncio.sleep(5)
        await made.fresh(healed=False)
    warm = [each for each in samples if each[0] >= samples[-1][0] / 3]
    slope = slope_of([(each[0] / 3600, each[1] / MIB) for each in warm])
    tally.figures |= {"rss_mib": round(warm[-1][1] / MIB, 1), "slope_mib_per_hour": round(slope, 2)}
    for place, name in ((2, "files"), (3, "threads")):
        tally.figures[name] = f"{min(each[place] for each in warm)}..{max(each[place] for each in warm)}"
    if order.minutes >= 20 and slope > _GROWTH:
        tally.failures.append(f"memory grows by {slope:.2f} MiB an hour")
    if max(each[2] for each in warm) > warm[0][2] + 2 or max(each[3] for each in warm) > warm[0][3]:
        tally.failures.append(f"files {tally.figures['files']}, threads {tally.figures['threads']}")
    return tally


def held(pid: int) -> tuple[int, int]:
    """Return the open files and the threads of a process."""
    place = Path(f"/proc/{pid}")
    return len(list((place / "fd").iterdir())), len(list((place / "task").iterdir()))


def slope_of(points: list[tuple[float, float]]) -> float:
    """Return the slope of the line of least squares."""
    count = len(points)
    x, y = sum(each[0] for each in points) / count, sum(each[1] for each in points) / count
    spread = sum((each[0] - x) ** 2 for each in points)
    return sum((each[0] - x) * (each[1] - y) for each in points) / spread if spread else 0.0


async def backlog(order: Order) -> Tally:
    """A store full of undelivered events: how fast it drains beside the live ones, what memory that takes, and whether polls notice."""
    tally = Tally("backlog", order.seed, injected=1)
    for name in ("quiet", "full"):
        (order.folder / name).mkdir()
    quiet = await polls_without(order.folder / "quiet")
    folder = order.folder / "full"
    await fill(folder, order.trials, body_of(order.folder / "quiet"))
    order.say(f"{order.trials} events are in the store; jitter of polls without a backlog {quiet * 1e3:.1f} ms (p99)")
    async with bench(folder, seed=order.seed, wait=False, rate=1000.0) as made:
        rss = await drained(made, order)
        made.generator.stop_counting()
        await until(lambda: made.generator.final, 5)
        await asyncio.sleep(1)
        assert await made.agent.end() == 0
    judge_drain(tally, order, folder, rss, quiet)
    return tally


async def polls_without(folder: Path) -> float:
    """Return the jitter of polls (s, p99) of an agent that has only live events to send."""
    async with bench(folder, rate=1000.0) as made:
        await asyncio.sleep(17)
        await made.agent.end()
    return jitter([event["data"]["ts"]["agent"] for _, _, event in events_of(folder / "broker.jsonl", 0) if event])


def body_of(folder: Path) -> dict[str, Any]:
    """Return what a count of that run said."""
    events = (event for _, _, event in events_of(folder / "broker.jsonl", 0) if event)
    data: dict[str, Any] = next(event["data"] for event in events if event["type"].endswith("count.v1"))
    return {name: value for name, value in data.items() if name not in {"epoch", "seq"}}


async def fill(folder: Path, count: int, body: dict[str, Any]) -> None:
    """Append ``count`` events to a new store, as the agent would have done while its broker was away."""
    config = BufferConfig(path=folder / "buffer", min_free=0, max_bytes="8GiB", commit_interval="1ms", max_batch=10_000)
    now = time.time_ns()
    async with open_buffer(config) as buffer:
        for first in range(0, count, 10_000):
            entries = [
                Entry("filler", "E", "edgeagent.production.count.v1", now, now, json.dumps(body | {"total": number}).encode())
                for number in range(first, min(count, first + 10_000))
            ]
            await buffer.append(entries, None)


async def drained(made: Bench, order: Order) -> list[int]:
    """Wait until the broker has as many messages as there were events, and return what memory the agent took on the way."""
    rss, published, begun = [made.rss()], 0, time.monotonic()
    since, still = 0, begun
    while published < order.trials + 60:
        await asyncio.sleep(1)
        rss.append(made.rss())
        published = json.loads(await made.fault("stats"))["published"]
        if published > since:
            since, still = published, time.monotonic()
        assert time.monotonic() - still < 30, f"it stands still at {published}"
        if len(rss) % 60 == 0:
            order.say(f"{published} of {order.trials}, {published / (time.monotonic() - begun):.0f}/s, RSS {rss[-1] / MIB:.0f} MiB")
    return rss


def judge_drain(tally: Tally, order: Order, folder: Path, rss: list[int], quiet: float) -> None:
    """Read the ledger line by line: every number once and in order, how fast, and when the polls were."""
    high, times, first, last = 0, [], 0.0, 0.0
    for at, seq, event in events_of(folder / "broker.jsonl", order.trials):
        first = first or at
        if seq <= high:
            tally.duplicates += 1
            continue
        tally.missing += seq - high - 1
        high = seq
        if seq == order.trials:
            last = at
        if event and event["type"].endswith("count.v1"):
            times.append(event["data"]["ts"]["agent"])
    seconds = last - first
    times = [each for each in times if instant(each) <= instant(times[0]) + seconds]  # made while the backlog drained
    live, rate, now = len(times) / seconds, order.trials / seconds, jitter(times)
    tally.figures = {"events": order.trials, "rate_per_s": round(rate), "live_per_s": round(live)}
    tally.figures |= {"rss_start_mib": round(rss[1] / MIB, 1), "rss_max_mib": round(max(rss) / MIB, 1)}
    tally.figures |= {"jitter_p99_ms": round(now * 1e3, 1), "jitter_p99_quiet_ms": round(quiet * 1e3, 1)}
    if rate < _TIMES * live:
        tally.failures.append(f"it drains at {rate:.0f}/s, live {live:.0f}/s")
    if max(rss) - rss[1] > _ROOM:
        tally.failures.append(f"memory grew from {rss[1] / MIB:.0f} to {max(rss) / MIB:.0f} MiB")
    if now > max(_JITTER * quiet, quiet + 0.001):
        tally.failures.append(f"the jitter of polls is {now * 1e3:.1f} ms (p99), {quiet * 1e3:.1f} ms without a backlog")


def events_of(ledger: Path, above: int) -> Iterator[tuple[float, int, dict[str, Any] | None]]:
    """Yield (when, number, the event itself where the number is ``above``) of the unit's stream, without keeping anything."""
    with ledger.open("rb") as lines:
        for line in lines:
            if (found := _SEQUENCE.search(line)) is not None:
                seq = int(found[1])
                entry = json.loads(line) if seq > above else None
                at = entry["at"] if entry else float(line[6 : line.index(b",")])
                yield at, seq, json.loads(entry["payload"]) if entry else None


def instant(text: str) -> float:
    """Return the seconds of an ISO 8601 instant."""
    return datetime.fromisoformat(text).timestamp()


def jitter(times: list[str]) -> float:
    """Return by how much the time between two polls differs from what it should be (s, p99)."""
    seconds = sorted({instant(each) for each in times})[_STARTING:]
    return quantiles([abs(after - before - _POLL) for before, after in pairwise(seconds)], n=100)[98]
