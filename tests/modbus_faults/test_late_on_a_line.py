"""The hardest of all: late answers on a line where answers carry no number, asked again without a pause (F51)."""

from __future__ import annotations

import asyncio

from mb_plant import Plant
from mb_tally import TALLY


async def played(seed: int) -> None:
    """Let a tenth of the answers come late for a while; the judge compares every value."""
    plant = Plant("rtu-line", seed, poll="10ms")
    plant.device.latency = 0.008  # longer than the silence between two frames
    async with plant.running():
        await plant.until(lambda: all(judge.fresh(0) for judge in plant.judges.values()), 20)
        plant.device.rate, plant.device.fault = 0.1, "late"
        await asyncio.sleep(1.5)
        plant.device.heal()
        recovery = await plant.fresh(plant.clock.now(), 10)
    TALLY.played(plant.device.ledger, sum(judge.values for judge in plant.judges.values()), 0, recovery)


async def test_late_answers_on_a_line_never_change_places() -> None:
    """Whatever comes after the timeout is heard and dropped, and no value stands under its neighbour's name."""
    failed = [error for error in await asyncio.gather(*map(played, range(8)), return_exceptions=True) if error is not None]
    if failed:
        raise failed[0]
