"""SIGKILL of a process that appends, at random moments, again and again: what it had promised must be there each time it starts again.

    python tests/buffer/kill_bench.py --kills 400 [--seed 1] [--json FILE] [--bug NAME] [--workers 2]

Prints one line of JSON with ``trials``, ``lost``, ``holes``, ``corrupt``, ``refusals``, ``promised`` (events accepted), ``seconds``, ``seed``, ``bug`` and
``findings`` (the first ten in words); exit code 0 when nothing was found, 1 otherwise. One interpreter imports everything once; each
round is a fork of it. ``--bug``: ack_before_commit, seq_in_ram, state_outside are found here; what only a power cut or a bad
disk shows (synchronous_off, synchronous_normal, no_crc) is found by power_bench.py.
"""

from __future__ import annotations

import asyncio
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from pathlib import Path

from bench_tally import Tally, parser, run, scratch

from edge_agent.buffer.config import BufferConfig
from edge_agent.buffer.sqlite import SqliteBuffer, open_buffer
from edge_agent.model.stream import Checkpoint, Custody, Entry, RecordKey

UNITS = ("a", "b", "c")


def event(unit: str, number: int) -> Entry:
    """The numbered event of a unit."""
    return Entry(unit, "E", "edgeagent.x.v1", number, number, b'{"n":%d}' % number + b" " * (number % 400))


def config(directory: Path) -> BufferConfig:
    """Short commits, so that a kill meets every moment of one; small, so that the store also purges and evicts."""
    return BufferConfig(path=directory, min_free=0, commit_interval="2ms", max_bytes="16MiB")


async def work_for_ever(directory: Path, acks: int) -> None:
    """Say where the streams stand, go on from the stored states: append, promise what was accepted on ``acks``, deliver."""
    async with open_buffer(config(directory)) as buffer:
        heads = await buffer.heads()
        for unit in UNITS:
            states, _ = await buffer.states(unit)
            told = (heads.get(unit, (1, 0, 0))[1], int(states.get("n", b"0")), int(buffer.fresh))
            os.write(acks, f"found {unit} {told[0]} {told[1]} {told[2]}\n".encode())
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
            os.write(acks, f"made {unit} {made}\n".encode())


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


def one_life(directory: Path, seconds: float) -> list[str]:
    """Let a child work, kill it ``seconds`` after its first promise, and return what it said."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reading)
        try:
            asyncio.run(work_for_ever(directory, writing))
        finally:
            os._exit(1)
    os.close(writing)
    said = b""
    while b"made" not in said and (part := os.read(reading, 1 << 16)):
        said += part
    time.sleep(seconds if b"made" in said else 0)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    while part := os.read(reading, 1 << 16):
        said += part
    os.close(reading)
    return said.decode().splitlines()


def compare(said: list[str], promised: dict[str, int], tally: Tally, life: int) -> None:
    """Compare what a life found with what was promised before it, and note what it promised itself."""
    found = [line.split()[1:] for line in said if line.startswith("found")]
    if len(found) != len(UNITS):
        tally.finding("refusals", f"life {life}: the store did not open")
    for unit, head, state, fresh in found:
        if fresh == "1" and life:
            tally.finding("refusals", f"life {life}: the store was given up for a new one")
        elif int(head) < promised[unit]:
            tally.finding("lost", f"life {life}: {unit} promised {promised[unit]}, found {head}")
        elif head != state:
            tally.finding("corrupt", f"life {life}: {unit} has {head} events and the state of {state}")
    for line in said:
        what, unit, made, *_ = line.split()
        if what == "made":
            promised[unit] = max(promised[unit], int(made))


async def examine(directory: Path, tally: Tally) -> None:
    """Count numbers that are missing and records that are not what was appended."""
    async with open_buffer(BufferConfig(path=directory, min_free=0, max_bytes="16MiB", max_batch=10_000)) as buffer:
        for unit, (kept, head, _) in (await buffer.heads()).items():
            await buffer.resend("mqtt", unit, buffer.epoch, 1, head)
            records = [record for record in await buffer.peek("mqtt", None, 1_000_000, "E") if record.key.stream == unit]
            if [record.key.seq for record in records] != list(range(kept, head + 1)):
                tally.finding("holes", f"{unit} {kept} to {head}: {len(records)} records")
            if any(record.entry != event(unit, record.key.seq) for record in records):
                tally.finding("corrupt", f"{unit}: a record that was not appended so")


def lives(kills: int, seed: int) -> Tally:
    """Kill one store's process ``kills`` times, start it again each time, and look through the store at the end."""
    tally, rng = Tally(), random.Random(seed)
    promised = dict.fromkeys(UNITS, 0)
    directory = Path(tempfile.mkdtemp(prefix="kill-bench-", dir=scratch()))
    try:
        for life in range(kills):
            compare(one_life(directory, rng.uniform(0, 0.06)), promised, tally, life)
            tally.trials += 1
        asyncio.run(examine(directory, tally))
    finally:
        shutil.rmtree(directory)
    tally.figures["promised"] = sum(promised.values())
    return tally


def main() -> int:
    """Share the kills out to some stores; a store lives through 50 of them."""
    arguments = parser("kill_bench.py", "SIGKILL of a process that appends.")
    arguments.add_argument("--kills", type=int, default=400)
    options = arguments.parse_args()
    kills = [min(50, options.kills - done) for done in range(0, options.kills, 50)]
    parts = [(count, options.seed * 1_000_003 + number) for number, count in enumerate(kills)]
    return run("buffer_kill", options, parts, lives)


if __name__ == "__main__":
    sys.exit(main())
