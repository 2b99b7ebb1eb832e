"""Bugs that the ledgers must show: each is put into a copy of the program, which then runs the whole story below.

The story has everything in it that one of these bugs could hide behind: refusals, a lost window, kills, restarts. Without a bug it balances.
The bugs that the ordinary tests notice stand in ``tests/seeded``; these are caught by the independent checker alone.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import shutil
from pathlib import Path
from typing import NamedTuple

import stages_buffer
from fault_bench import Bench, bench, until

from simulators.check import Verdict

ROOT = Path(__file__).resolve().parents[2]


class Mutant(NamedTuple):
    """``right`` stands once in ``source`` and becomes ``wrong``; ``shows`` = one of these words is in what the checker finds."""

    name: str
    source: str
    right: str
    wrong: str
    shows: tuple[str, ...]


class Planted(NamedTuple):
    """A bug that one of the buffer's benches puts in by itself (``tests/buffer/seeded_bugs.py``) and has to find."""

    name: str
    bench: str
    bug: str
    arguments: tuple[str, ...]
    shows: tuple[str, ...] = ("lost", "holes", "corrupt", "refusals")


MUTANTS = (
    Planted("a promise is given before the commit", "kill_bench.py", "ack_before_commit", ("--kills", "8")),
    Mutant(
        "a record is deleted before its PUBACK",
        "edge_agent/agent/forward.py",
        "] = (record, time.monotonic())\n",
        "] = (record, time.monotonic())\n        self.done.append(record.key)\n",
        ("undeclared_missing",),
    ),
    Mutant(
        "a refused record is dropped without a loss record",
        "edge_agent/agent/forward.py",
        "self.rejected.append((record.key, str(error)))",
        "self.done.append(record.key)",
        ("undeclared_missing",),
    ),
    Mutant(
        "numbers are kept in memory only",
        "edge_agent/buffer/streams.py",
        "heads[name] = StreamHead(identity, head)",
        "heads[name] = StreamHead(identity, 0)",
        ("corrupted", "undeclared_missing", "invented", "without an injected cause"),
    ),
    Mutant(
        "the name of an event is made without its epoch",
        "edge_agent/model/stream.py",
        "return f\"{key.epoch}-{key.stream.replace('/', '.')}-{key.seq:012d}\"",
        "return f\"{key.stream.replace('/', '.')}-{key.seq:012d}\"",
        ("corrupted",),
    ),
    Mutant(
        "a declared gap has no bounds",
        "edge_agent/buffer/delivery.py",
        "    loss.first = place.first\n",
        "    loss.first = 1\n",
        ("declared_too_wide",),
    ),
    Mutant(
        "a refusal for now counts as delivered",
        "edge_agent/publish/reasons.py",
        "    if code < 0x80:\n",
        "    if code <= 0x80:\n",
        ("undeclared_missing",),
    ),
    Mutant(
        "counters begin anew at a restart",
        "edge_agent/agent/unit.py",
        "self._state, dropped = self._fold.start(states)",
        "self._state, dropped = self._fold.start({})",
        ("undeclared_missing",),
    ),
    Mutant(
        "the newest is sent first",
        "edge_agent/agent/lanes.py",
        "record = lane.ahead.popleft()",
        "record = lane.ahead.pop()",
        ("out_of_order", "undeclared_missing"),
    ),
    Mutant(
        "the value of one register is taken for another's",
        "edge_agent/drivers/modbus/decode.py",
        "for slot, field in zip(slots, block.fields, strict=True)",
        "for slot, field in zip(reversed(slots), block.fields, strict=True)",
        ("invented",),
    ),
    Mutant(
        "a gap is declared an hour wide",
        "edge_agent/events/gap.py",
        'away = Outage("agent_down", None, notice.since)',
        'away = Outage("agent_down", None, notice.since - 3_600_000_000_000)',
        ("far longer",),
    ),
    Planted("commits are synced when it suits", "power_bench.py", "synchronous_normal", ("--images", "200")),
    Planted("commits are never synced", "power_bench.py", "synchronous_off", ("--images", "200")),
    Planted("rows have no checksum", "power_bench.py", "no_crc", ("--images", "200", "--rotten", "200")),
    Planted("the store forgets its numbers", "kill_bench.py", "seq_in_ram", ("--kills", "8")),
    Planted("events and state are two transactions", "power_bench.py", "state_outside", ("--images", "200")),
    Mutant(
        "the state has a commit of its own",
        "edge_agent/agent/unit.py",
        "                return await self._buffer.append(entries, checkpoint)\n",
        "                await self._buffer.append(entries, None)\n"
        "                await asyncio.sleep(0.5)  # a slow card: the kill finds the moment between the two\n"
        "                return await self._buffer.append([], checkpoint)\n",
        ("counted_twice", "undeclared_missing"),
    ),
)
"""The first six are what a run of minutes has time for."""


def copy_with(mutant: Mutant | None, folder: Path) -> Path:
    """Copy the program with the bug in it; fails when the place of the bug is not there exactly once."""
    root = folder / "program"
    for name in ("edge_agent", "simulators"):
        shutil.copytree(ROOT / name, root / name, ignore=shutil.ignore_patterns("__pycache__"))
    if mutant is not None:
        source = root / mutant.source
        text = source.read_text(encoding="utf-8")
        assert text.count(mutant.right) == 1, f"{mutant.source} holds the place of '{mutant.name}' {text.count(mutant.right)} times"
        source.write_text(text.replace(mutant.right, mutant.wrong), encoding="utf-8")
    return root


def finding(bug: Mutant | Planted | None, folder: Path, seed: int) -> str:
    """Run what has to notice the bug and return all it says against the program; empty when it is content."""
    if isinstance(bug, Planted):
        return "; ".join(stages_buffer.bench(bug.bench, seed, "--bug", bug.bug, *bug.arguments)["findings"])
    folder.mkdir(parents=True)
    return "; ".join(asyncio.run(story(folder, copy_with(bug, folder), seed)).problems)


async def story(folder: Path, root: Path, seed: int) -> Verdict:
    """Play the story with the program in ``root`` and let the checker judge; a program that stands still is judged by what it did."""
    rng = random.Random(seed)
    async with bench(folder, seed=seed, root=root) as made:
        made.reasons |= {"rejected", "agent_down"}
        for act in (refused_for_now, refused_for_good, lost_on_the_way, killed, killed, killed, lost_on_the_way):
            with contextlib.suppress(AssertionError):
                await act(made, rng)
        with contextlib.suppress(AssertionError):
            await made.fresh(5, healed=False)
        made.generator.stop_counting()
        with contextlib.suppress(AssertionError):
            await until(lambda: made.generator.final, 3)
        await asyncio.sleep(0.5)
        await made.agent.end()
        return made.judge()


async def refused_for_now(made: Bench, _: random.Random) -> None:
    """Every tenth message is refused with a code that asks for patience."""
    await made.fault("fault reason_code:0x80,every=10")
    await asyncio.sleep(1)
    await made.fault("clear")
    await made.fresh(5, healed=False)


async def refused_for_good(made: Bench, _: random.Random) -> None:
    """One message is called invalid each time it comes."""
    await made.fault('fault reason_code:0x99,holding="counter":"c0"')
    await until(lambda: any(each.code == 0x99 for each in made.events(taken=False)), 3)
    bad = next(each for each in made.events(taken=False) if each.code == 0x99)
    await made.fault(f'fault reason_code:0x99,holding="raw":"{bad.data["raw"]}"')
    try:
        await until(lambda: any(each.data.get("reason") == "rejected" for each in made.events()), 2)
    finally:
        await made.fault("clear")


async def lost_on_the_way(made: Bench, rng: random.Random) -> None:
    """Messages leave the agent, reach nobody, and the connection is gone."""
    made.link.up.set("freeze", "1")
    await asyncio.sleep(rng.uniform(0.3, 0.7))
    made.link.reset()
    made.link.up.set("freeze", "0")
    await made.fresh(5, healed=False)


async def killed(made: Bench, rng: random.Random) -> None:
    """SIGKILL while records are on their way."""
    await asyncio.sleep(rng.uniform(0.1, 0.4))
    await made.kill_agent()
    await made.start_agent()
    await made.fresh(5, healed=False)
