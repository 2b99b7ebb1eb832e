"""Reconnecting in one place: new objects only, one line in the log per turn, back-off that starts anew when a connection held."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager

import pytest
from agent_bench import others, until
from structlog.testing import capture_logs

from edge_agent.agent import link as link_module
from edge_agent.agent.link import Link, keep_open, rest
from edge_agent.model.errors import DisconnectedError

AWAY, HUNG, REFUSED, CUT, LIMP, STAY = "away", "hung", "refused", "cut", "limp", "stay"


class BadPasswordError(DisconnectedError):
    """The other side answered and refused."""

    slow = True


class Peer:
    """The other side: ``script`` says of each try whether it is away, cuts the connection, or stays; then it stays."""

    def __init__(self, *script: str) -> None:
        self.script = itertools.chain(script, itertools.repeat(STAY))
        self.tries = 0
        self.opened: list[object] = []
        self.closed = 0
        self.losses: list[str] = []
        self.waits: list[float] = []
        self.restarts = 0

    @asynccontextmanager
    async def open(self) -> AsyncIterator[tuple[object, str]]:
        """Answer one try."""
        self.tries += 1
        fate = next(self.script)
        if fate == REFUSED:
            raise BadPasswordError("bad password")
        if fate == HUNG:
            await asyncio.sleep(0.02)
        if fate in {AWAY, HUNG}:
            raise DisconnectedError(f"no answer {self.tries}")
        self.opened.append(connection := object())
        try:
            yield connection, fate
        finally:
            self.closed += 1

    async def use(self, connection: tuple[object, str]) -> None:
        """Use it until it is cut, or for ever."""
        if connection[1] == LIMP:
            await asyncio.sleep(0.02)
        if connection[1] in {CUT, LIMP}:
            raise DisconnectedError("reset by peer")
        await asyncio.Event().wait()

    async def lost(self, error: DisconnectedError) -> None:
        """Note a failed try."""
        self.losses.append(str(error))

    def delays(self) -> Iterator[float]:
        """Count who waits how long, without waiting."""
        self.restarts += 1
        for number in itertools.count(1):
            self.waits.append(number)
            yield 0.0


@asynccontextmanager
async def kept(peer: Peer) -> AsyncIterator[Link]:
    """Keep a link to ``peer`` open."""
    link = Link("plc1", "device")
    task = asyncio.create_task(keep_open(link, peer.open, peer.use, peer.lost, peer.delays))
    try:
        yield link
    finally:
        task.cancel()
        await asyncio.wait([task])


def turns_of(logs: list[dict[str, object]]) -> list[tuple[object, object]]:
    """Return what was logged above debug level."""
    return [(line["event"], line["log_level"]) for line in logs if line["log_level"] != "debug"]


async def test_down_and_up_are_logged_once_each_not_per_try():
    """Fifty tries in vain, a loss and fifty more are four lines; the retries are there at debug level only."""
    peer = Peer(*[AWAY] * 50, CUT, *[AWAY] * 49, STAY)
    with capture_logs() as logs:
        async with kept(peer) as link:
            await until(lambda: len(peer.opened) == 2)
            assert link.up is True
    assert turns_of(logs) == [("link.down", "warning"), ("link.up", "info"), ("link.down", "warning"), ("link.up", "info")]
    assert [line["tries"] for line in logs if line["event"] == "link.up"] == [51, 51]
    assert [line["reason"] for line in logs if line["event"] == "link.down"] == ["no answer 1", "reset by peer"]
    assert all(line["link"] == "plc1" and line["kind"] == "device" for line in logs)


async def test_a_peer_that_is_there_is_one_line():
    """The first try succeeds: link.up, nothing else."""
    peer = Peer()
    with capture_logs() as logs:
        async with kept(peer):
            await until(lambda: peer.opened)
    assert [(line["event"], line["tries"]) for line in logs] == [("link.up", 1)]


async def test_every_failed_try_is_told_and_every_connection_is_new():
    """``lost`` hears of each try, and no connection object is used twice or left open."""
    peer = Peer(AWAY, CUT, CUT, AWAY)
    async with kept(peer) as link:
        await until(lambda: len(peer.opened) == 3)
        assert peer.losses == ["no answer 1", "reset by peer", "reset by peer", "no answer 4"]
        assert (link.error, link.tries) == ("", 0)
        assert peer.closed == 2
    assert len(set(map(id, peer.opened))) == 3
    assert peer.closed == 3


async def test_a_peer_that_accepts_and_hangs_up_is_met_with_growing_delays(monkeypatch):
    """A connection that did not hold goes on with the back-off: a broker that hangs up at once is not hammered."""
    monkeypatch.setattr(link_module, "_STEADY", float("inf"))
    peer = Peer(AWAY, CUT, AWAY, CUT)
    async with kept(peer):
        await until(lambda: peer.tries == 5)
    assert (peer.waits, peer.restarts) == ([1, 2, 3, 4], 1)


async def test_delays_start_anew_after_a_connection_that_held(monkeypatch):
    """After a connection that held, the first wait is the shortest again."""
    monkeypatch.setattr(link_module, "_STEADY", -1.0)
    peer = Peer(AWAY, AWAY, CUT, AWAY, CUT)
    async with kept(peer):
        await until(lambda: peer.tries == 6)
    assert (peer.waits, peer.restarts) == ([1, 2, 1, 2, 1], 3)


@pytest.mark.parametrize(
    ("wait", "spent", "left"),
    [(4.0, 0.0, 4.0), (4.0, 1.0, 3.0), (4.0, 3.95, 0.1), (4.0, 30.0, 0.1), (0.05, 1.0, 0.05), (0.0, 1.0, 0.0)],
    ids=["at_once", "part", "nearly_all", "longer", "short", "none"],
)
def test_a_try_that_hung_has_waited_already(wait, spent, left):
    """A broker that came back while a CONNECT waited in vain is met within the longest delay, not after both."""
    assert rest(wait, spent) == pytest.approx(left)


async def test_what_a_try_took_is_taken_off_the_next_wait(monkeypatch):
    """Whether it hung or became a connection that did not hold: each try counts its own time, and none that of another."""
    took: list[float] = []
    monkeypatch.setattr(link_module, "rest", lambda wait, spent: took.append(spent) or 0.0)
    clock = asyncio.get_running_loop().time
    began = clock()
    peer = Peer(HUNG, AWAY, LIMP)
    async with kept(peer):
        await until(lambda: peer.tries == 4)
    assert (len(took), min(took[0], took[2]) >= 0.0199) == (3, True), "a timer of the loop may come its resolution early"
    assert sum(took) <= clock() - began


async def test_a_refusal_that_only_a_person_can_mend_is_met_slowly(monkeypatch):
    """Wrong credentials are not hammered with: such tries wait their own time, and the back-off of other losses is not used up."""
    monkeypatch.setattr(link_module, "_SLOW", 0.0)
    peer = Peer(REFUSED, REFUSED, AWAY, REFUSED)
    async with kept(peer) as link:
        await until(lambda: peer.opened)
        assert link.up is True
    assert (peer.tries, peer.waits) == (5, [1])
    assert peer.losses == ["bad password", "bad password", "no answer 3", "bad password"]


async def test_a_use_that_returns_ends_the_link():
    """When the user of a connection is done, it is closed and nothing is opened again."""
    peer = Peer()

    async def use(_: object) -> None:
        return

    await asyncio.wait_for(keep_open(Link("plc1", "device"), peer.open, use, peer.lost, peer.delays), 5)
    assert (peer.tries, peer.closed, peer.losses) == (1, 1, [])


async def test_a_bug_is_no_lost_connection():
    """Any other error comes through: retrying would hide it."""
    peer = Peer()

    async def use(_: object) -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await asyncio.wait_for(keep_open(Link("plc1", "device"), peer.open, use, peer.lost, peer.delays), 5)
    assert (peer.closed, peer.losses) == (1, [])


async def test_cancelling_closes_the_connection():
    """A cancelled link leaves neither a connection nor a task."""
    peer = Peer(CUT)
    async with kept(peer):
        await until(lambda: len(peer.opened) == 2)
    assert peer.closed == 2
    assert not others()


@asynccontextmanager
async def _ending(*errors: DisconnectedError) -> AsyncIterator[tuple[list[float], list[dict[str, object]], Peer]]:
    """Use connections that end with ``errors``, one after the other; note how long was waited before each next one."""
    peer = Peer()
    left = list(errors)
    times: list[float] = []
    clock = asyncio.get_running_loop().time

    async def use(_: object) -> None:
        times.append(clock())
        if left:
            raise left.pop(0)
        await asyncio.Event().wait()

    with capture_logs() as logs:
        task = asyncio.create_task(keep_open(Link("broker", "mqtt"), peer.open, use, peer.lost, peer.delays))
        await until(lambda: len(times) == len(errors) + 1)
        yield times, logs, peer
        task.cancel()
        await asyncio.wait([task])


async def test_a_planned_end_is_no_loss():
    """A connection that was given up for a better one is opened again at once; nobody hears of a loss."""
    planned = DisconnectedError("certificates were replaced")
    planned.planned, planned.retry_after = True, 0.0
    async with _ending(planned) as (_, logs, peer):
        assert [(line["event"], line["log_level"]) for line in logs] == [("link.up", "info"), ("link.renewed", "info")]
        assert (peer.losses, peer.waits) == ([], [])


async def test_an_error_that_knows_better_says_how_long_to_wait():
    """A pause in the error takes the place of the ordinary back-off."""
    taken = DisconnectedError("session taken over")
    taken.retry_after = 0.15
    async with _ending(taken) as (times, _, peer):
        assert times[1] - times[0] >= 0.15
        assert peer.waits == []
