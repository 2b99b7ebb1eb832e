"""F60 to F64, F72 and F74: what happens to connections, sessions and subscriptions. All items are back within 15 s."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest
from odd_faults import (
    BAD_NO_SUBSCRIPTION,
    BAD_SECURE_CHANNEL_ID_INVALID,
    BAD_SESSION_CLOSED,
    BAD_SESSION_ID_INVALID,
    BAD_SUBSCRIPTION_ID_INVALID,
    BAD_TIMEOUT,
)
from odd_plant import FAST, Plant
from odd_server import URI

from edge_agent.model.reading import Boot, ClockOffset, DeviceUp, Gap, TagStatus

slow = pytest.mark.opcua_faults
RECONNECT = 5.0
STALL = 3.0


async def test_a_well_behaved_server_gives_every_change_once() -> None:
    """Without a fault every value of every counter arrives, in order, in one session, and the session is closed at the end."""
    plant = Plant(pace=FAST)
    async with plant.running():
        await plant.subscribed()
        await plant.subscribed()
    plant.judge()
    assert plant.sessions == 1
    assert not plant.losses
    assert not plant.server.sessions


async def test_f60_a_restart_of_the_server() -> None:
    """Data flow again at most 5 s after the server is back, with evidence of the restart, and nothing false in between."""
    plant = Plant()
    async with plant.running():
        await plant.subscribed()
        await plant.server.stop()
        await plant.until(lambda: plant.losses)
        await asyncio.sleep(1.0)
        await plant.server.start()
        assert await plant.all_back() <= RECONNECT
    plant.judge()
    starts = [boot.started for boot in plant.of(Boot)]
    assert starts[0] < starts[-1]
    assert len(plant.of(DeviceUp)) == 2


async def test_f61_a_restart_with_other_namespace_indexes() -> None:
    """Addresses are resolved by URI again: every item is back at its own node."""
    plant = Plant(extra={"path": {"path": "Objects/byname"}})
    async with plant.running():
        plant.server.value("byname", 8, 1)
        await plant.subscribed()
        await plant.server.stop()
        plant.server.move_namespaces((plant.server.namespaces[0], "urn:odd", "urn:new:1", "urn:new:2", URI))
        await plant.server.start()
        assert await plant.all_back() <= RECONNECT
        plant.server.value("byname", 8, 2)
        await plant.until(lambda: 2 in plant.values("path"))
    plant.judge()


@slow
async def test_f62_a_restart_with_an_address_space_that_loads_late() -> None:
    """For 60 s nodes are unknown, for 20 s their namespace too; they come by thirds. Each is declared once, retried in measure, back 15 s after it is there."""
    plant = Plant(30)
    thirds = [plant.counters[first::3] for first in range(3)]
    namespaces = plant.server.namespaces
    async with plant.running():
        await plant.subscribed()
        await plant.server.stop()
        plant.server.faults.late = True
        plant.server.move_namespaces(namespaces[:1])
        await plant.server.start()
        await plant.until(lambda: all(plant.lost(name) for name in plant.counters))
        assert {notice.detail for notice in plant.of(TagStatus)} == {f"the server has no namespace {URI}"}
        asked = plant.server.requests.copy()
        for number in range(3):
            await asyncio.sleep(20.0)
            plant.server.move_namespaces((*namespaces[:1], *(f"urn:module:{one}" for one in range(3)), URI))
            plant.server.faults.late = False
            plant.server.faults.missing = frozenset(name for third in thirds[number + 1 :] for name in third)
            await plant.until(lambda: not any(plant.lost(name) for name in thirds[number]))  # noqa: B023 - it is called in this turn only
            assert all(plant.lost(name) for name in plant.server.faults.missing)
        await plant.all_back()
        more = plant.server.requests - asked
        assert more["Read"] + more["CreateMonitoredItems"] < 60
    plant.judge()
    for name in plant.counters:
        assert [notice.ok for notice in plant.of(TagStatus) if notice.name == name] == [False, True], name
    assert plant.sessions == 2


def fault(code: int) -> Callable[[Plant], None]:
    """Return what answers a PublishRequest with a fault."""
    return lambda plant: plant.server.fail_publish(code)


def forget_sessions(plant: Plant) -> None:
    """Forget every session without a word."""
    for session in list(plant.server.sessions.values()):
        plant.server.end_session(session)


def close_channels(plant: Plant) -> None:
    """Say that the channel is unknown, and close."""
    for connection in list(plant.server.connections):
        connection.refuse(BAD_SECURE_CHANNEL_ID_INVALID)


def end_subscriptions(plant: Plant) -> None:
    """Let every subscription time out, and say so."""
    for subscription in list(plant.server.subscriptions.values()):
        subscription.end(BAD_TIMEOUT)


def delete_subscriptions(plant: Plant) -> None:
    """Forget every subscription without a word."""
    for subscription in list(plant.server.subscriptions.values()):
        subscription.delete()


@pytest.mark.parametrize(
    "does",
    [
        pytest.param(fault(BAD_SESSION_ID_INVALID), id="f63-session-id-invalid"),
        pytest.param(fault(BAD_SESSION_CLOSED), id="f63-session-closed"),
        pytest.param(close_channels, id="f63-channel-id-invalid"),
        pytest.param(lambda plant: plant.server.cut(), id="f63-connection-cut"),
        pytest.param(forget_sessions, id="f63-session-forgotten", marks=slow),
        pytest.param(fault(BAD_NO_SUBSCRIPTION), id="f64-no-subscription"),
        pytest.param(fault(BAD_SUBSCRIPTION_ID_INVALID), id="f64-subscription-id-invalid"),
        pytest.param(end_subscriptions, id="f64-status-change-timeout"),
        pytest.param(delete_subscriptions, id="f64-subscription-deleted", marks=slow),
    ],
)
async def test_f63_f64_what_the_server_ends_is_begun_anew(does: Callable[[Plant], None]) -> None:
    """However a session or a subscription ends, a new one brings every item back."""
    plant = Plant()
    async with plant.running():
        await plant.subscribed()
        does(plant)
        await plant.until(lambda: plant.losses)
        await plant.all_back()
    plant.judge()
    assert plant.sessions == 2
    assert not plant.server.sessions


@slow
async def test_f64_a_subscription_that_is_silently_dead() -> None:
    """Neither data nor keep-alive for the keep-alive time and 5 s: a new subscription brings every item back within 15 s."""
    plant = Plant()
    async with plant.running():
        await plant.subscribed()
        plant.server.faults.silent = True
        silenced = asyncio.get_running_loop().time()
        await plant.until(lambda: plant.losses)
        plant.server.faults.silent = False
        assert asyncio.get_running_loop().time() - silenced < 11.0
        await plant.all_back()
    plant.judge()


@slow
async def test_f72_a_slow_server_is_not_a_lost_one() -> None:
    """Answers that take 1.5 s or 8 s end no connection; what the server's queues cannot hold for so long is declared."""
    await asyncio.gather(slowed(1.5), slowed(8.0))


async def slowed(delay: float) -> None:
    """Play a server that answers everything that late for 22 s."""
    plant = Plant()
    async with plant.running():
        await plant.subscribed()
        plant.server.faults.delay = delay
        await asyncio.sleep(22.0)
        await plant.all_back(20.0)
        plant.ticking = False
        await asyncio.sleep(delay + 0.5)
        plant.server.faults.delay = 0.0
        await asyncio.sleep(0.5)
    plant.judge()
    assert plant.sessions == 1, plant.losses
    assert {gap.reason for gap in plant.of(Gap)} <= ({"queue_overflow"} if delay > STALL else set())
    assert all(plant.values(name)[-1] == plant.produced[name][-1] for name in plant.counters)


@slow
async def test_f72_a_slow_server_can_be_connected_to() -> None:
    """A server that takes 1.5 s for every answer is connected to at the first try."""
    plant = Plant()
    plant.server.faults.delay = 1.5
    async with plant.running():
        await plant.all_back(30.0)
    plant.judge()
    assert plant.sessions == 1, plant.losses


@slow
async def test_f74_a_token_that_is_not_renewed() -> None:
    """When the server refuses to renew the channel, a new connection brings every item back."""
    plant = Plant()
    plant.server.faults.channel_lifetime = 4000
    plant.server.faults.renew = False
    async with plant.running():
        await plant.subscribed()
        await plant.until(lambda: plant.losses)
        plant.server.faults.renew = True
        await plant.all_back()
        sessions = plant.sessions
        await asyncio.sleep(6.5)
        await plant.subscribed()
        assert plant.sessions == sessions, plant.losses
    plant.judge()


async def test_f74_a_server_whose_clock_is_wrong() -> None:
    """A skewed clock is measured and ends no connection."""
    plant = Plant()
    plant.server.faults.skew = 3600 * 10**9
    async with plant.running():
        await plant.all_back()
    plant.judge()
    (offset,) = plant.of(ClockOffset)
    assert abs(offset.offset - 3600 * 10**9) < 10**9
    assert plant.sessions == 1


async def test_f65_a_link_that_flaps_does_not_use_up_the_sessions() -> None:
    """A server with two sessions keeps those of lost connections: each new connection closes the one before, and is let in at once."""
    plant = Plant()
    plant.server.faults.most_sessions = 2
    async with plant.running():
        await plant.subscribed()
        for _ in range(6):
            plant.server.cut()
            assert await plant.all_back() <= RECONNECT
            assert len(plant.server.sessions) == 1
    plant.judge()
    assert not any("BadTooManySessions" in loss for loss in plant.losses)
    assert not plant.server.sessions
