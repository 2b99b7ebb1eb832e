"""SIGKILL of a process that appends, at random moments, again and again: what it had promised must be there each time it starts again.

    python tests/buffer/kill_bench.py --kills 400 [--seed 1] [--json FILE] [--bug NAME] [--workers 2] [--orderly]

Prints one line of JSON with ``trials``, ``lost``, ``holes``, ``corrupt``, ``refusals``, ``promised`` (events accepted), ``seconds``, ``seed``, ``bug`` and
``findings`` (the first ten in words); exit code 0 when nothing was found, 1 otherwise. One interpreter imports everything once; each
round is a fork of it. ``--bug``: ack_before_commit, seq_in_ram, state_outside are found here; what only a power cut or a bad
disk shows (synchronous_off, synchronous_normal, no_crc) is found by power_bench.py. Each life goes on from what is there, so that a finding is
counted in the life that made it and in no later one. ``--orderly`` ends each life in order instead: what is found then is no matter of kills.
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


async def work(directory: Path, acks: int) -> None:
    """Say where the streams stand and go on from there until SIGTERM: append, promise what was accepted on ``acks``, deliver."""
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    async with open_buffer(config(directory)) as buffer:
        heads = {unit: head for unit, (_, head, _) in (await buffer.heads()).items()}
        for unit in UNITS:
            states, _ = await buffer.states(unit)
            told = (heads.get(unit, 0), int(states.get("n", b"0")), int(buffer.fresh))
            os.write(acks, f"found {unit} {told[0]} {told[1]} {told[2]}\n".encode())
        tasks = [asyncio.create_task(unit_for_ever(buffer, unit, heads.get(unit, 0), acks)) for unit in UNITS]
        tasks.append(asyncio.create_task(deliver_for_ever(buffer)))
        await asyncio.wait([asyncio.create_task(stop.wait()), *tasks], return_when=asyncio.FIRST_COMPLETED)
        for task in tasks:
            task.cancel()


async def unit_for_ever(buffer: SqliteBuffer, unit: str, made: int, acks: int) -> None:
    """One unit that has made so many: a burst of events and the state that counts them in each append."""
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


def one_life(directory: Path, seconds: float, end: signal.Signals) -> list[str]:
    """Let a child work, end it ``seconds`` after its first promise, and return what it said."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reading)
        try:
            asyncio.run(work(directory, writing))
        finally:
            os._exit(1)
    os.close(writing)
    said = b""
    while b"made" not in said and (part := os.read(reading, 1 << 16)):
        said += part
    time.sleep(seconds if b"made" in said else 0)
    os.kill(child, end)
    while part := os.read(reading, 1 << 16):
        said += part
    os.waitpid(child, 0)
    os.close(reading)
    return said.decode().splitlines()


def compare(said: list[str], promised: dict[str, int], tally: Tally, life: int) -> None:
    """Compare what a life found with what was promised before it, and note what there is for the next one to find."""
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
        promised[unit] = int(head)
    for line in said:
        what, unit, made, *_ = line.split()
        if what == "made":
            promised[unit] = max(promised[unit], int(made))


async def examine(directory: Path, promised: dict[str, int], tally: Tally) -> None:
    """Count what the last life lost, numbers that are missing and records that are not what was appended."""
    async with open_buffer(BufferConfig(path=directory, min_free=0, max_bytes="16MiB", max_batch=10_000)) as buffer:
        for unit, (kept, head, _) in (await buffer.heads()).items():
            if head < promised[unit]:
                tally.finding("lost", f"at the end: {unit} promised {promised[unit]}, found {head}")
            await buffer.resend("mqtt", unit, buffer.epoch, 1, head)
            records = [record for record in await buffer.peek("mqtt", None, 1_000_000, "E") if record.key.stream == unit]
            if [record.key.seq for record in records] != list(range(kept, head + 1)):
                tally.finding("holes", f"{unit} {kept} to {head}: {len(records)} records")
            if any(record.entry != event(unit, record.key.seq) for record in records):
                tally.finding("corrupt", f"{unit}: a record that was not appended so")


def lives(kills: int, seed: int, end: signal.Signals) -> Tally:
    """End one store's process ``kills`` times, start it again each time, and look through the store at the end."""
    tally, rng = Tally(), random.Random(seed)
    promised = dict.fromkeys(UNITS, 0)
    directory = Path(tempfile.mkdtemp(prefix="kill-bench-", dir=scratch()))
    try:
        for life in range(kills):
            compare(one_life(directory, rng.uniform(0, 0.06), end), promised, tally, life)
            tally.trials += 1
        asyncio.run(examine(directory, promised, tally))
    finally:
        shutil.rmtree(directory)
    tally.figures["promised"] = sum(promised.values())
    return tally


def main() -> int:
    """Share the kills out to some stores; a store lives through 50 of them."""
    arguments = parser("kill_bench.py", "SIGKILL of a process that appends.")
    arguments.add_argument("--kills", type=int, default=400)
    arguments.add_argument("--orderly", action="store_true", help="SIGTERM instead of SIGKILL")
    options = arguments.parse_args()
    end = signal.SIGTERM if options.orderly else signal.SIGKILL
    kills = [min(50, options.kills - done) for done in range(0, options.kills, 50)]
    parts = [(count, options.seed * 1_000_003 + number, end) for number, count in enumerate(kills)]
    return run("buffer_kill", options, parts, lives)


if __name__ == "__main__":
    sys.exit(main())
