"""Ports that are closed or taken (F54): the driver comes back when there is room, and knocks with measure until then."""

from __future__ import annotations

import asyncio

from mb_plant import Plant
from mb_tally import TALLY
from mb_trial import RECOVERY, verdict


async def test_a_port_that_refuses_for_a_while() -> None:
    """Closed and open again: every hole is declared, values are back in time."""
    plant = Plant("tcp", 1)
    async with plant.running():
        await plant.fresh(0, RECOVERY)
        await plant.port.shut()
        await plant.until(lambda: len(plant.losses) > 1)
        await plant.port.open()
        recovery = await plant.fresh(plant.clock.now(), RECOVERY)
    verdict(plant, recovery)


async def test_the_one_connection_is_another_masters() -> None:
    """A device with one place for a client, taken: few tries while it is, and values as soon as it is free."""
    plant = Plant("tcp", 2)
    await plant.port.open()
    _, taken = await asyncio.open_connection("127.0.0.1", plant.port.port)
    await asyncio.sleep(0.05)
    plant.port.most = 1
    began = plant.port.accepted
    async with plant.running():
        await plant.until(lambda: len(plant.losses) > 3)
        assert plant.port.accepted - began <= 2 + 2 * len(plant.losses)
        taken.close()
        recovery = await plant.fresh(plant.clock.now(), RECOVERY)
    (judge,) = plant.judges.values()
    TALLY.played(plant.device.ledger, judge.values, 0, recovery)
