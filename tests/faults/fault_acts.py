"""What the cases about brokers and networks do again and again."""

from __future__ import annotations

import time

from fault_bench import DETECTION, RECOVERY, Bench, until

from simulators.check_records import Arrival
from simulators.ledger import read_ledger

DOWN = 2.5
"""Machine seconds that a fault lasts."""


async def detected(made: Bench, *words: str) -> float:
    """Wait until the agent's log says that the link is down with these words; returns how long that took."""
    begin = time.monotonic()
    seen = len(made.downs())
    await until(lambda: any(all(word in reason for word in words) for reason in made.downs()[seen:]), DETECTION)
    return time.monotonic() - begin


async def restart(made: Bench) -> None:
    """End the agent in order, start it again and wait for fresh data."""
    made.reasons.add("agent_down")
    assert await made.agent.end() == 0
    await made.agent.start()
    await made.fresh(15)


async def refused(made: Bench, code: int) -> Arrival:
    """Wait until the broker has refused a message with ``code``, and return it."""
    await until(lambda: any(each.code == code for each in made.events(taken=False)), RECOVERY)
    return next(each for each in made.events(taken=False) if each.code == code)


async def set_aside(made: Bench, within: float = RECOVERY) -> None:
    """Wait until the agent has declared a refused record lost."""
    await until(lambda: any(each.data.get("reason") == "rejected" for each in made.events()), within)


async def one_bad_count(made: Bench, fault: str) -> None:
    """Let the broker do ``fault`` for one count that is to come, and return when the device has shown it; a value that a late poll missed never comes."""
    while True:
        bad = max(made.generator.told.values()) + 20
        await made.fault(f'fault {fault},holding="raw":"{bad}"')
        await until(lambda bad=bad: max(made.generator.told.values()) >= bad, RECOVERY)
        reads = (entry["value"] for entry in read_ledger(made.folder / "generator.jsonl") if entry["what"] == "read")
        if any(bad in values.values() for values in reads):
            return
