"""Stages with a whole agent: killed again and again, single faults by chance, and all of them at once."""

from __future__ import annotations

import asyncio
import contextlib
import random
import shutil
import time
import traceback
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from typing import Any

from catalog import AGENT, BROKER, DEVICE, DISK, FLIPS, NETWORK, Fault, failpoints
from fault_bench import RECOVERY, Bench, bench
from order import Order
from tally import Tally

LIVENESS = 10.0
"""Machine seconds in which new data have to arrive after the last of several faults has ended."""
PATIENT = {"keepalive": "5s", "ack_timeout": "3s", "connect_timeout": "2s"}
"""Of the agent in the chaos. A dead connection takes 3 s to be noticed, a wait at most 4 s, a new one its part of a second: 8 of the 10 s. With a second
for an acknowledgement, a disk that syncs for as long for somebody else looks like a dead broker, and each loss makes the next wait longer."""
_AT_ONCE = 5
_EVERY = 3.0
"""Machine seconds between two faults of the chaos."""
_ROUND = 30.0
"""Machine seconds of chaos after which everything heals and data have to flow."""
_PART = 540.0
"""Machine seconds of chaos after which the ledgers are judged and a new store begins: a judge keeps everything in memory."""


@contextlib.asynccontextmanager
async def trial(order: Order, tally: Tally, **options: Any) -> AsyncIterator[Bench]:
    """Run a bench whose findings go into ``tally``; whatever fails is a failure of the stage and not of the program that runs it."""
    made = None
    try:
        async with bench(order.folder, seed=order.seed, **options) as made:
            made.tally = tally
            yield made
            await made.finish()
    except (AssertionError, OSError, TimeoutError) as error:
        if made is None:
            raise
        if not tally.failures:
            traceback.print_exc()
            tally.failures.append(f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else 'see the folder'}")


async def agent_kills(order: Order) -> Tally:
    """SIGKILL an agent under load, while it starts as well; the ledgers balance over the whole run."""
    tally, rng = Tally("agent-kills", order.seed), random.Random(order.seed)
    async with trial(order, tally) as made:
        for number in range(1, order.trials + 1):
            if rng.random() < 0.75:
                await made.fresh(LIVENESS, count=1)
                await asyncio.sleep(rng.uniform(0, 0.8))
            else:
                await asyncio.sleep(rng.uniform(0, 1.2))  # it dies while it starts
            await made.kill_agent()
            tally.injected += 1
            await made.start_agent()
            if number % max(1, order.trials // 6) == 0:
                order.say(f"{number} of {order.trials} kills, {len(made.events())} events, slowest return {tally.recovery:.1f} s")
        await made.fresh(LIVENESS)
    return tally


async def random_faults(order: Order) -> Tally:
    """One fault of the broker or the network after the other, which one, when and how long by chance; data flow soon after each."""
    return await one_by_one(order, (*BROKER, *NETWORK))


async def disk_faults(order: Order) -> Tally:
    """A disk that is full, fails or is slow, and heals, again and again; collection goes on, and nothing is lost."""
    return await one_by_one(order, DISK, environment=failpoints(order.folder))


async def one_by_one(order: Order, faults: Sequence[Fault], **options: Any) -> Tally:
    """One fault of the list after the other."""
    tally = Tally(order.stage, order.seed)
    async with trial(order, tally, **options) as made:
        for number in range(order.first, order.first + order.trials):
            rng = random.Random(f"{order.seed}/{number}")
            fault = rng.choice(faults)
            await asyncio.sleep(rng.uniform(0, 1))
            await fault.begin(made, rng)
            tally.injected += 1
            await asyncio.sleep(rng.uniform(0.2, 2.5))
            await fault.end(made, rng)
            try:
                took = await made.fresh(RECOVERY + fault.slow)
            except AssertionError:
                tally.failures.append(f"{fault.name} (number {number}): no new data within {RECOVERY + fault.slow:.0f} s")
                raise
            order.say(f"{number}: {fault.name}, back after {took:.1f} s")
    return tally


async def chaos(order: Order) -> Tally:
    """Up to five faults at once on broker, network, device and agent for minutes; every half minute everything heals and data flow."""
    tally = Tally("chaos", order.seed)
    end, number = time.monotonic() + order.minutes * 60, order.first
    while time.monotonic() < end and not tally.violations:
        part = replace(order, folder=order.folder / f"part{number}")
        part.folder.mkdir()
        number = await chaotic(part, tally, min(end, time.monotonic() + _PART), number)
        if not tally.violations:
            shutil.rmtree(part.folder)
    return tally


async def chaotic(order: Order, tally: Tally, end: float, number: int) -> int:
    """One life of everything, balanced at its end; return the number of the next round."""
    async with trial(order, tally, tls=True, far=True, environment=failpoints(order.folder), **PATIENT) as made:
        made.reasons |= {"comm_loss", "agent_down"}
        while (left := end - time.monotonic()) > 1:
            rng = random.Random(f"{order.seed}/{number}")
            names = await storm(made, rng, min(_ROUND, left))
            tally.injected += len(names)
            took = await made.fresh(LIVENESS)
            order.say(f"round {number}: {len(names)} faults, back after {took:.1f} s ({', '.join(sorted(set(names)))})")
            number += 1
    return number


async def storm(made: Bench, rng: random.Random, seconds: float) -> list[str]:
    """Begin a fault every few seconds, each for as long as chance says; return what was done when all have ended."""
    faults = (*BROKER, *NETWORK, FLIPS, *DEVICE, *DISK, *AGENT, *AGENT)
    running: dict[str, asyncio.Task[None]] = {}
    done: list[str] = []

    async def inject(fault: Fault, lasting: float) -> None:
        since = time.time()
        if await fault.begin(made, rng):
            done.append(fault.name)
            await asyncio.sleep(lasting)
            await fault.end(made, rng)
            if fault.hits == "device":
                made.caused("comm_loss", since)

    begin = time.monotonic()
    while (now := time.monotonic()) - begin < seconds:
        running = {name: task for name, task in running.items() if not task.done()}
        free = [fault for fault in faults if fault.touches not in running]
        if len(running) < _AT_ONCE:
            fault = rng.choice(free)
            running[fault.touches] = asyncio.create_task(inject(fault, rng.uniform(0.5, 8)))
        await asyncio.sleep(min(_EVERY, max(0.0, begin + seconds - now)))
    await asyncio.gather(*running.values())
    return done
