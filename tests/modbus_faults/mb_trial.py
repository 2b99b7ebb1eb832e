"""One trial: a healthy device, one that does one thing wrong, a healed one; and what must hold of it."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Coroutine, Iterable, Sequence
from random import Random
from typing import Any

from mb_plant import FRAMING, POLL, TIMEOUT, Plant
from mb_tally import TALLY

from simulators.modbus_device import ANOTHER
from simulators.modbus_ledger import Entry, Ledger
from simulators.modbus_misdeeds import MISDEEDS

NS = 1_000_000_000
RECOVERY = 5.0
"""Machine seconds from the end of a fault to new values of every register."""

PROBE = 15.0
"""Machine seconds more where others share the connection: a unit that wasted their time is asked again the later (drivers.modbus.breaker)."""

ASK_AGAIN = 60.0
"""Plant seconds until a refused block is whole again (exceptions 1 to 3): each try of a part comes after 30, and may be the last refused one."""

_SPEED = 20.0
_AT_ONCE = 12
_LASTS = 0.25


def possible(transport: str) -> list[str]:
    """Return the misdeeds that can be done over a transport."""
    socket = not transport.endswith("line")
    return [each.name for each in MISDEEDS.values() if FRAMING[transport] in each.framings and (socket or not each.sockets_only)]


async def trials(transport: str, faults: Sequence[str], seeds: Iterable[int]) -> None:
    """Play each fault with each seed, some at a time; raises what the first one says that failed, when all are over."""
    await all_of(trial(transport, fault, seed) for fault, seed in itertools.product(faults, seeds))


async def all_of(plays: Iterable[Coroutine[Any, Any, None]]) -> None:
    """Play trials, some at a time; raises what the first one says that failed, when all are over."""
    room = asyncio.Semaphore(_AT_ONCE)

    async def in_turn(play: Coroutine[Any, Any, None]) -> None:
        async with room:
            await play

    failed = [error for error in await asyncio.gather(*map(in_turn, plays), return_exceptions=True) if error is not None]
    if failed:
        raise failed[0]


async def trial(transport: str, fault: str, seed: int) -> None:
    """Play one, on two units behind one endpoint when the seed is odd; raises AssertionError, with the seed in it, when anything does not hold."""
    random = Random(f"{transport} {fault} {seed}")
    rare = fault in {"exception 1", "exception 2", "exception 3"}
    speed = _SPEED if rare else 1.0
    plant = Plant(transport, random.getrandbits(32), speed=speed, units=1 + seed % 2)
    within = RECOVERY + PROBE * (seed % 2) + (ASK_AGAIN / speed if rare else 0)
    device = plant.device
    try:
        async with asyncio.timeout(100), plant.running():
            await plant.fresh(0, within)
            device.rate = random.choice((0.15, 0.5, 1.0))
            device.fault = fault
            await plant.until(lambda: device.ledger.misdeeds, within)
            await asyncio.sleep(_LASTS * random.uniform(0.5, 1.5))
            device.heal()
            healed = plant.clock.now()
            recovery = await plant.fresh(healed, within)
            await plant.fresh(plant.clock.now(), within)  # the last hole is told with the next answer
        verdict(plant, recovery)
    except (AssertionError, TimeoutError) as error:
        raise AssertionError(f"{transport}, {fault}, seed {seed}: {error!r}") from error


def verdict(plant: Plant, recovery: float) -> None:
    """Check what holds of every trial: nothing invented (the judge did), all losses declared, few connections, no write, no failure of our own."""
    ledger = plant.device.ledger
    longest = round((3 * POLL + 12 * TIMEOUT + 0.1) * NS * plant.clock.speed)
    lost = sum(judge.losses(longest) for judge in plant.judges.values())
    if not plant.transport.endswith("line"):
        left_alone(ledger)
    assert ledger.writes == 0
    assert not [text for text in plant.losses if "driver failed" in text], plant.losses
    # Tries are paced (agent.link): 0.1, 0.2, 0.4, 0.5, 0.5 s ..., each at least half of it.
    assert len(plant.losses) <= 4 + 6 * plant.seconds, f"{len(plant.losses)} losses in {plant.seconds:.1f} s"
    used = set().union(*(judge.used for judge in plant.judges.values()))
    wasted = sum(id(entry) not in used for entry in ledger.entries if entry.function in {3, 4} or entry.fault)
    reasons = ledger.misdeeds + wasted + len(plant.losses)
    assert ledger.connections <= 2 + reasons, f"{ledger.connections} connections for {reasons} reasons"
    TALLY.played(ledger, sum(judge.values for judge in plant.judges.values()), lost, recovery)


def left_alone(ledger: Ledger) -> None:
    """Check that a connection on which an answer stayed out, or was none, was never used again."""
    spoilt: dict[int, Entry] = {}
    for entry in ledger.entries:
        assert entry.link not in spoilt, f"{entry} was asked on the connection of {spoilt[entry.link]}"
        if not entry.right and entry.fault != ANOTHER and not entry.fault.startswith("exception"):
            spoilt[entry.link] = entry
