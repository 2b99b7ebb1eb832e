"""Connections without end: ``python tests/opcua_faults/bench_reconnects.py [--cycles 1000] [--tags 100]``.

Every other connection is cut by the server, every other is closed by the agent. The server runs in a process of its own. Prints how
many sessions and subscriptions it has afterwards and how much memory the driver's process gained after the first tenth; the
exit code is 1 when a session is left or more than 10 MB were gained.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import multiprocessing
import resource
import sys
import time
from multiprocessing.connection import Connection
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parents[2])]

import structlog
from odd_plant import WallClock, config
from odd_server import OddServer

from edge_agent.drivers.opcua.driver import connect
from edge_agent.model.errors import DisconnectedError

MOST_MB = 10.0


def serve(pipe: Connection, tags: int) -> None:
    """Be the server; cut on a word, and say on another what there is."""

    async def run() -> None:
        server = OddServer()
        for number in range(tags):
            server.value(f"n{number}", 8, number)
        await server.start()
        pipe.send(server.port)
        while (word := await asyncio.to_thread(pipe.recv)) != "end":
            if word == "cut":
                server.cut()
            pipe.send((len(server.sessions), len(server.subscriptions), len(server.connections), server.writes))
        await server.stop()

    asyncio.run(run())


def resident() -> float:
    """Return the megabytes of this process in memory."""
    gc.collect()
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize() / 2**20


async def play(cycles: int, tags: int, pipe: Connection) -> int:
    """Connect again and again; return 1 when something is left or grows."""
    configuration = config(pipe.recv(), {f"t{number}": {"node": f"s=n{number}"} for number in range(tags)})
    before, began, most = 0.0, time.monotonic(), 0
    for cycle in range(cycles):
        if cycle == cycles // 10:
            before = resident()
        async with connect([configuration], WallClock(), {}) as driver:
            await driver.read()
            device = driver._devices["plc"]
            while any(item.state != "active" for item in device.items):  # noqa: ASYNC110 - items have no event
                await asyncio.sleep(0.001)
            if cycle % 2:
                pipe.send("cut")
                sessions, *_ = pipe.recv()
                most = max(most, sessions)
                try:
                    while True:
                        await driver.read()
                except DisconnectedError:
                    pass
    async with connect([configuration], WallClock(), {}) as driver:
        await driver.read()
    gained = resident() - before
    pipe.send("count")
    sessions, subscriptions, _, writes = pipe.recv()
    pipe.send("end")
    wrong = sessions or subscriptions or writes or gained > MOST_MB
    print(
        f"reconnects: {cycles} cycles of {tags} tags in {time.monotonic() - began:.0f} s, {sessions} sessions and {subscriptions} "
        f"subscriptions left (at most {most} at once), {gained:.1f} MB gained, {writes} writes{'  WRONG' if wrong else ''}"
    )
    return 1 if wrong else 0


def main() -> int:
    """Play."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cycles", type=int, default=1000)
    parser.add_argument("--tags", type=int, default=100)
    chosen = parser.parse_args()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(40))
    here, there = multiprocessing.Pipe()
    process = multiprocessing.get_context("spawn").Process(target=serve, args=(there, chosen.tags))
    process.start()
    try:
        return asyncio.run(play(chosen.cycles, chosen.tags, here))
    finally:
        process.terminate()
        process.join()


if __name__ == "__main__":
    sys.exit(main())
