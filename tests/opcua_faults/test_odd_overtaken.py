"""A Read and the subscription beside each other: whichever is told last, a tag never goes back to an older value."""

from __future__ import annotations

import pytest
from odd_plant import TICK, Plant

from edge_agent.model.reading import Gap, TagStatus
from edge_agent.ports import DeviceWiring, Trigger


async def answered(plant: Plant, late: float) -> None:
    """Return when an answer that is ``late`` (s) has come, and some values after it."""
    count = plant.count + round(late / TICK) + 5
    await plant.until(lambda: plant.count > count)
    await plant.all_back()


@pytest.mark.parametrize("late", [0.2, 0.6])
async def test_a_read_after_a_loss_that_notifications_overtake(late: float) -> None:
    """Where the answer of the Read after a loss is late, what came by subscription meanwhile is newer and stays so; no step is lost."""
    plant = Plant()
    plant.server.faults.republish = False
    async with plant.running():
        await plant.subscribed()
        plant.server.faults.slow = {"Read": late}
        asked = plant.server.requests["Read"]
        plant.server.faults.drop = 2
        await plant.until(lambda: plant.of(Gap) and plant.server.requests["Read"] > asked)
        await answered(plant, late)
    plant.judge()
    assert plant.sessions == 1


@pytest.mark.parametrize("service", ["Read", "CreateMonitoredItems"])
async def test_a_tag_that_is_found_again_begins_with_its_oldest_value(service: str) -> None:
    """What a found tag's subscription brings before its set-up is over is not followed by the Read from before it."""
    plant = Plant()
    plant.server.faults.missing = frozenset({"c03"})
    async with plant.running():
        await plant.until(lambda: plant.lost("c03"))
        plant.server.faults.slow = {service: 0.4}
        plant.server.faults.missing = frozenset()
        await plant.until(lambda: not plant.lost("c03"))
        await plant.all_back()
    plant.judge()
    assert [notice.ok for notice in plant.of(TagStatus)] == [False, True]


async def test_a_trigger_group_that_notifications_overtake() -> None:
    """The values of a group are never older than what was told of its tags before it."""
    plant = Plant()
    wiring = DeviceWiring((Trigger("part", "c00", ("c01", "c02")),))
    async with plant.running(wiring=wiring):
        await plant.subscribed()
        plant.server.faults.slow = {"Read": 0.2}
        await answered(plant, 0.6)
    plant.judge(overtaken=("c01", "c02"))
