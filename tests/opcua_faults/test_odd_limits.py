"""F65: servers with limits, named, unnamed, wrong and absurd. Every good item arrives; what is not subscribed is polled, and that is said."""

from __future__ import annotations

import pytest
from odd_faults import (
    BAD_NOT_SUPPORTED,
    BAD_OUT_OF_MEMORY,
    BAD_SERVICE_UNSUPPORTED,
    BAD_TOO_MANY_MONITORED_ITEMS,
    BAD_TOO_MANY_SUBSCRIPTIONS,
    LIMITS,
    Faults,
)
from odd_plant import Plant

from edge_agent.drivers.opcua.pace import Pace
from edge_agent.model.reading import Gap, Polled, TagStatus
from edge_agent.ports import DeviceWiring, Trigger


@pytest.mark.parametrize(
    ("named", "takes"),
    [(100, 100), (7, 7), (1, 1), (0, 50), (None, 50), (1000, 10), (1000, 1), (4_294_967_295, 0)],
)
async def test_f65_operation_limits_are_honoured(named: int | None, takes: int) -> None:
    """Whatever a server says of its limits, requests become as small as it needs, and every value stands at its own tag."""
    missing = {f"gone{number}": {"node": f"s=gone{number}"} for number in range(3)}
    paths = {f"path{number:02}": {"path": f"Objects/c{number:02}"} for number in range(20)}
    plant = Plant(60, extra=missing | paths)
    if named is not None:
        plant.server.faults.limits = dict.fromkeys(LIMITS, named)
    if takes:
        plant.server.faults.takes = dict.fromkeys(LIMITS.values(), takes)
    wiring = DeviceWiring((Trigger("group", "c00", tuple(f"c{number:02}" for number in range(30))),))
    async with plant.running(wiring=wiring):
        await plant.all_back()
        await plant.until(lambda: all(plant.lost(name) for name in missing))
    plant.judge(overtaken=wiring.triggers[0].tags)
    for name in paths:
        assert set(plant.values(name)) <= set(plant.produced[name.replace("path", "c")])
    assert plant.sessions == 1, plant.losses
    if named == takes:
        assert max(plant.server.largest["Read"], plant.server.largest["CreateMonitoredItems"]) <= takes or takes < 30


@pytest.mark.parametrize("alone", ["refused", "cut"])
async def test_f65_a_server_that_takes_one_request_at_a_time(alone: str) -> None:
    """Where small requests side by side are refused, or end the connection, they come one after another; no item is created twice."""
    plant = Plant(60)
    plant.server.faults.limits = dict.fromkeys(LIMITS, 7)
    plant.server.faults.alone, plant.server.faults.delay = alone, 0.01
    async with plant.running():
        await plant.all_back()
        await plant.subscribed()
        (subscription,) = plant.server.subscriptions.values()
        assert len(subscription.items) == 60 + 1
    plant.judge()
    assert plant.sessions == (1 if alone == "refused" else 2), plant.losses


async def test_f65_what_the_server_does_not_monitor_is_polled() -> None:
    """A server that takes 30 items has the rest polled: all values are of now, and one notice names the polled tags."""
    plant = Plant(50)
    plant.server.faults.most_items = 31
    async with plant.running():
        await plant.subscribed()
        await plant.all_back()
        plant.ticking = False
        await plant.until(lambda: all(plant.values(name)[-1] % 100_000 == plant.count for name in plant.counters))
    alien = [row for row in plant.rows if row.value not in plant.produced[row.tag]]
    assert not alien
    polled = next(notice for notice in plant.of(Polled) if notice.count)
    assert polled.count == 20
    assert polled.names == tuple(f"c{number}" for number in range(30, 50))
    assert "BadTooManyMonitoredItems" in polled.detail
    assert not plant.of(TagStatus)
    assert plant.server.requests["RegisterNodes"] == 1
    assert plant.sessions == 1


@pytest.mark.parametrize(
    ("service", "code"),
    [
        ("CreateSubscription", BAD_TOO_MANY_SUBSCRIPTIONS),
        ("CreateSubscription", BAD_SERVICE_UNSUPPORTED),
        ("CreateSubscription", BAD_NOT_SUPPORTED),
        ("CreateMonitoredItems", BAD_TOO_MANY_MONITORED_ITEMS),
        ("CreateMonitoredItems", BAD_OUT_OF_MEMORY),
    ],
)
@pytest.mark.parametrize("registers", [True, False])
async def test_f65_a_server_that_cannot_subscribe_is_polled(service: str, code: int, registers: bool) -> None:
    """Without subscriptions or items every tag is polled in batches, trigger groups fire, lost nodes are found again."""
    plant = Plant(30, extra={"late": {"node": "s=late"}})
    plant.server.faults.refuse = {service: code} | ({} if registers else {"RegisterNodes": BAD_SERVICE_UNSUPPORTED})
    plant.server.faults.limits = dict.fromkeys(LIMITS, 20)
    plant.server.faults.takes = dict.fromkeys(LIMITS.values(), 20)
    async with plant.running(wiring=DeviceWiring((Trigger("group", "c00", ("c01", "c02")),))):
        await plant.until(lambda: plant.lost("late"))
        await plant.all_back()
        plant.server.value("late", 8, 5)
        await plant.until(lambda: 5 in plant.values("late"))
        plant.server.value("late", 8, 6)
        await plant.until(lambda: 6 in plant.values("late"))
        plant.ticking = False
        await plant.until(lambda: all(plant.values(name)[-1] % 100_000 == plant.count for name in plant.counters))
    assert [notice.count for notice in plant.of(Polled)] == [30, 31]
    assert plant.sessions == 1, plant.losses
    assert plant.server.writes == 0


AGAIN = Pace(retry_first=0.1, retry_most=0.2, teardown=0.3, resubscribe=0.3)


@pytest.mark.parametrize("service", ["CreateSubscription", "CreateMonitoredItems", "items"])
async def test_f65_what_is_polled_is_subscribed_when_the_server_has_room_again(service: str) -> None:
    """A refusal of the set-up is not for ever: asked again now and then, the server samples all tags, in order, and that is told."""
    plant = Plant(50, pace=AGAIN)
    if service == "items":
        plant.server.faults.most_items = 31
    else:
        plant.server.faults.refuse = {service: BAD_TOO_MANY_SUBSCRIPTIONS}
    async with plant.running():
        await plant.until(lambda: plant.of(Polled) and plant.of(Polled)[-1].count == (20 if service == "items" else 50))
        await plant.all_back()
        asked = plant.server.requests["CreateMonitoredItems"] + plant.server.requests["CreateSubscription"]
        await plant.until(
            lambda: plant.server.requests["CreateMonitoredItems"] + plant.server.requests["CreateSubscription"] > asked + 1
        )
        assert plant.of(Polled)[-1].count
        plant.server.faults.refuse, plant.server.faults.most_items = {}, 45
        await plant.until(lambda: 0 < plant.of(Polled)[-1].count < 20)
        plant.server.faults.most_items = 1000
        await plant.until(lambda: plant.of(Polled)[-1].count == 0)
        reads = plant.server.requests["Read"]
        await plant.all_back()
        (subscription,) = plant.server.subscriptions.values()
        assert len(subscription.items) == 50 + 1
        assert plant.server.requests["Read"] <= reads + 1
    for name in plant.counters:
        values = plant.values(name)
        assert values == sorted(values, key=plant.produced[name].index)
    assert plant.sessions == 1, plant.losses


async def test_f65_the_deadband_of_a_polled_tag_holds() -> None:
    """What a server without subscriptions does not filter is filtered here: a polled tag tells moves beyond its deadband only."""
    plant = Plant(5, extra={"level": {"node": "s=level", "scale": 0.1, "deadband": 1.0}})
    plant.server.faults.refuse = {"CreateSubscription": BAD_TOO_MANY_SUBSCRIPTIONS}
    async with plant.running():
        plant.server.value("level", 8, 100)
        await plant.settled()
        await plant.settled()
        told = len(plant.values("level"))
        for raw in (105, 110, 111, 120, 122, 110, 111):
            plant.server.value("level", 8, raw)
            await plant.settled()
            await plant.settled()
    assert plant.values("level")[told - 1 :] == pytest.approx([10.0, 11.1, 12.2, 11.0])


async def test_f65_polled_tags_come_back_after_a_restart() -> None:
    """A polled server that restarts is polled again, with names registered anew."""
    plant = Plant(30)
    plant.server.faults.refuse = {"CreateSubscription": BAD_TOO_MANY_SUBSCRIPTIONS}
    async with plant.running():
        await plant.until(lambda: plant.of(Polled))
        await plant.server.stop()
        plant.server.registered.clear()
        await plant.server.start()
        assert await plant.all_back() <= 5.0
    assert plant.sessions == 2


async def test_f65_the_state_of_a_polled_server_counts() -> None:
    """Values of a polled server that says it has failed are bad."""
    plant = Plant(5)
    plant.server.faults.refuse = {"CreateSubscription": BAD_TOO_MANY_SUBSCRIPTIONS}
    async with plant.running():
        await plant.until(lambda: plant.of(Polled))
        plant.server.faults.state = 1
        await plant.until(lambda: plant.rows[-1].quality == 2)
        plant.server.faults.state = 0
        await plant.all_back()


async def test_f65_few_publish_requests_are_enough() -> None:
    """A server that lets one PublishRequest wait gets one; nothing is lost."""
    plant = Plant()
    plant.server.faults.most_publish = 1
    async with plant.running():
        await plant.subscribed()
        await plant.all_back()
    plant.judge()
    assert plant.sessions == 1, plant.losses
    assert not plant.of(Gap)


async def test_f65_too_many_sessions_end_when_one_is_free() -> None:
    """A server without a free session is asked again until it has one; data flow at most 5 s after."""
    plant = Plant()
    plant.server.faults.most_sessions = 0
    async with plant.running():
        await plant.until(lambda: len(plant.losses) > 2)
        plant.server.faults.most_sessions = 1
        assert await plant.all_back() <= 5.0
    plant.judge()
    assert "BadTooManySessions" in plant.losses[0]


async def test_f65_a_value_too_large_to_send_is_bad_alone() -> None:
    """Where a server refuses to send one value for its size, that tag is bad and says so; the others arrive."""
    plant = Plant(extra={"huge": {"node": "s=huge"}})
    async with plant.running():
        plant.server.refuse_reading("huge")
        await plant.all_back()
        await plant.until(lambda: plant.lost("huge"))
    plant.judge()
    assert plant.sessions == 1, plant.losses


def test_a_server_is_well_behaved_until_told_otherwise() -> None:
    """The faults of a new server are none."""
    assert Faults() == Faults(limits={}, takes={}, refuse={}, delay=0.0, late=False, drop=0, twice=0, silent=False, state=0)
