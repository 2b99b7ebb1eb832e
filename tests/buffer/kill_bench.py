"""Run as a program: kills a process that appends, again and again, and tells what the store holds at the end.

One interpreter imports everything once; each round is a fork of it, which dies by SIGKILL at a random moment. Prints one JSON object.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import signal
import sys
import time
from pathlib import Path

from edge_agent.buffer.config import BufferConfig
from edge_agent.buffer.sqlite import SqliteBuffer, open_buffer
from edge_agent.model.stream import Checkpoint, Custody, Entry, RecordKey

UNITS = ("a", "b", "c")


def event(unit: str, number: int) -> Entry:
    """The numbered event of a unit."""
    return Entry(unit, "E", "edgeagent.x.v1", number, number, b'{"n":%d}' % number + b" " * (number % 400))


async def work_for_ever(directory: Path, acks: int) -> None:
    """Go on from the stored states: append, promise what was accepted on ``acks``, deliver."""
    async with open_buffer(BufferConfig(path=directory, min_free=0, commit_interval="2ms", max_bytes="16MiB")) as buffer:
        await asyncio.gather(*(unit_for_ever(buffer, unit, acks) for unit in UNITS), deliver_for_ever(buffer))


async def unit_for_ever(buffer: SqliteBuffer, unit: str, acks: int) -> None:
    """One unit: a burst of events and the state that counts them in each append."""
    states, _ = await buffer.states(unit)
    made = int(states.get("n", b"0"))
    rng = random.Random(made)
    while True:
        size = rng.randint(1, 8)
        events = [event(unit, made + i + 1) for i in range(size)]
        made += size
        if await buffer.append(events, Checkpoint(unit, {"n": str(made).encode()}, made)) is Custody.DURABLE:
            os.write(acks, f"{unit} {made}\n".encode())


async def deliver_for_ever(buffer: SqliteBuffer) -> None:
    """A receiver that takes everything at once."""
    after: RecordKey | None = None
    while True:
        records = await buffer.peek("mqtt", after, 20, "E")
        if not records:
            await buffer.arrived()
            continue
        after = records[-1].key
        await buffer.settle("mqtt", [record.key for record in records], [])


def one_round(directory: Path, seconds: float) -> dict[str, int]:
    """Let a child work, kill it ``seconds`` after its first promise, and return what it had promised."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reading)
        asyncio.run(work_for_ever(directory, writing))
        os._exit(1)
    os.close(writing)
    first = os.read(reading, 1 << 16)
    time.sleep(seconds)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    text = [first]
    while part := os.read(reading, 1 << 16):
        text.append(part)
    os.close(reading)
    promised: dict[str, int] = {}
    for line in b"".join(text).decode().splitlines():
        unit, made = line.split()
        promised[unit] = int(made)
    return promised


async def examine(directory: Path) -> dict[str, dict[str, int | bool]]:
    """Return per unit the head, the state, and whether every record is there with its own bytes."""
    found: dict[str, dict[str, int | bool]] = {}
    async with open_buffer(BufferConfig(path=directory, min_free=0, max_bytes="16MiB", max_batch=10_000)) as buffer:
        for unit, (kept, head, _) in (await buffer.heads()).items():
            await buffer.resend("mqtt", unit, buffer.epoch, 1, head)
            records = [record for record in await buffer.peek("mqtt", None, 1_000_000, "E") if record.key.stream == unit]
            whole = [record.key.seq for record in records] == list(range(kept, head + 1))
            own = all(record.entry == event(unit, record.key.seq) for record in records)
            states, _ = await buffer.states(unit)
            found[unit] = {"head": head, "state": int(states["n"]), "whole": whole and own, "fresh": buffer.fresh}
    return found


def main() -> None:
    """Arguments: directory, rounds, seed."""
    directory, rounds, rng = Path(sys.argv[1]), int(sys.argv[2]), random.Random(int(sys.argv[3]))
    promised: dict[str, int] = {}
    for _ in range(rounds):
        promised |= one_round(directory, rng.uniform(0, 0.06))
    sys.stdout.write(json.dumps({"promised": promised, "found": asyncio.run(examine(directory))}) + "\n")


if __name__ == "__main__":
    main()
