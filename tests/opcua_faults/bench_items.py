"""How a driver fares with very many items on a server with limits: ``python tests/opcua_faults/bench_items.py [--items 50000] [--limits 100,1,0,none]``.

The server runs in a process of its own. One node in a hundred does not exist. Every value tells which node it is of, so a
value at a wrong tag is seen. Prints one line for each limit; the exit code is 1 when anything was wrong or took 60 s.
"""

from __future__ import annotations

import argparse
import asyncio
import multiprocessing
import sys
import time
from multiprocessing.connection import Connection
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parents[2])]

import structlog
from odd_faults import LIMITS
from odd_plant import WallClock, config
from odd_server import OddServer

from edge_agent.drivers.opcua.driver import connect
from edge_agent.model.errors import DisconnectedError
from edge_agent.model.reading import Batch, TagStatus
from edge_agent.ports import Driver

INT64 = 8
LONGEST = 60.0
INVALID = 100
"""Every so many nodes one does not exist."""


def serve(pipe: Connection, items: int, limit: int | None) -> None:
    """Be the server; on a word change every value by the number of items, and at the end tell what was asked."""

    async def run() -> None:
        server = OddServer()
        if limit is not None:
            server.faults.limits = dict.fromkeys(LIMITS, limit)
            server.faults.takes = dict.fromkeys(LIMITS.values(), limit) if limit else {}
        for number in range(items):
            if number % INVALID:
                server.value(f"n{number}", INT64, number)
        await server.start()
        pipe.send(server.port)
        while await asyncio.to_thread(pipe.recv) == "change":
            for number in range(items):
                if number % INVALID:
                    server.value(f"n{number}", INT64, number + items)
        pipe.send((dict(server.requests), server.writes))
        await server.stop()

    asyncio.run(run())


class Seen:
    """What came of every tag."""

    def __init__(self, items: int) -> None:
        self.items = items
        self.good: dict[int, int] = {}
        self.wrong = 0
        self.named: set[str] = set()

    def take(self, batches: list[Batch]) -> None:
        """Compare values with their tags."""
        for batch in batches:
            self.named |= {notice.name for notice in batch.after if isinstance(notice, TagStatus) and not notice.ok}
            for tag, value, quality in zip(batch.tags, batch.values, batch.quality, strict=True):
                if quality == 0 and isinstance(value, int):
                    self.wrong += value % self.items != tag
                    self.good[tag] = value

    def all_are(self, times: int) -> bool:
        """Whether every tag that exists has its value of that round."""
        expected = self.items - len(range(0, self.items, INVALID))
        return len(self.good) == expected and all(value == tag + times * self.items for tag, value in self.good.items())


async def play(items: int, limit: int | None, pipe: Connection) -> str:
    """Connect, wait until every item is there, change everything once; return the figures, with ``WRONG`` in it if need be."""
    tags = {f"t{number}": {"node": f"s=n{number}"} for number in range(items)}
    configuration = config(pipe.recv(), tags, sampling="1s", publishing="500ms")
    seen = Seen(items)
    began, worked = time.monotonic(), time.process_time()
    async with connect([configuration], WallClock(), {}) as driver:
        device = driver._devices["plc"]
        while any(item.state == "resolving" for item in device.items) or not seen.all_are(0):
            await collect(driver, seen)
        ready, busy = time.monotonic() - began, time.process_time() - worked
        pipe.send("change")
        changed = time.monotonic()
        while not seen.all_are(1):
            await collect(driver, seen)
        arrived = time.monotonic() - changed
    pipe.send("end")
    requests, writes = pipe.recv()
    bad = {f"t{number}" for number in range(0, items, INVALID)}
    wrong = seen.wrong or seen.named != bad or writes or ready > LONGEST
    return (
        f"limit {'absent' if limit is None else limit}: {len(seen.good)} good of {items}, {seen.wrong} at a wrong tag, "
        f"{len(seen.named & bad)} of {len(bad)} bad ones named, set-up {ready:.1f} s ({busy:.1f} s of them at work), every value changed and there in {arrived:.1f} s, "
        f"{requests['Read']} reads, {requests['CreateMonitoredItems']} creates, {writes} writes{'  WRONG' if wrong else ''}"
    )


async def collect(driver: Driver, seen: Seen) -> None:
    """Take what is there; look again soon where nothing comes."""
    try:
        async with asyncio.timeout(0.5):
            seen.take(list(await driver.read()))
    except TimeoutError:
        return


def main() -> int:
    """Play every limit."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--items", type=int, default=50_000)
    parser.add_argument("--limits", default="100,1,0,none")
    chosen = parser.parse_args()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(40))
    failed = 0
    for word in chosen.limits.split(","):
        limit = None if word == "none" else int(word)
        here, there = multiprocessing.Pipe()
        process = multiprocessing.get_context("spawn").Process(target=serve, args=(there, chosen.items, limit))
        process.start()
        try:
            line = asyncio.run(play(chosen.items, limit, here))
        except DisconnectedError as error:
            line = f"limit {word}: WRONG: {error}"
        finally:
            process.join(5) if not failed else None
            process.terminate()
        print(line, flush=True)
        failed += "WRONG" in line
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
