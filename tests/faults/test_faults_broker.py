"""Brokers that go away, do not answer or refuse the agent: each fault once, with the real agent and the checker's verdict.

Each test ends by `Bench.finish`: the counters stand, everything arrives, the agent stops in order, and the ledgers balance.
"""

from __future__ import annotations

import asyncio
import signal
from pathlib import Path

import pytest
from fault_acts import DOWN, detected, restart
from fault_bench import RECOVERY, WINDOW, bench

pytestmark = [pytest.mark.faults, pytest.mark.timeout(90)]


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
async def test_f30_a_broker_that_was_away(tmp_path: Path, number: int) -> None:
    """Killed or stopped, and back after a while: what was made meanwhile arrives in order within seconds."""
    async with bench(tmp_path) as made:
        await made.broker.end(number)
        await asyncio.sleep(DOWN)
        await made.start_broker()
        await made.fresh()
        await made.finish()


async def test_f31_a_broker_that_never_answers_connect(tmp_path: Path) -> None:
    """The try ends after connect_timeout, is named as what it is, and the tries keep their distance."""
    async with bench(tmp_path) as made:
        await made.fault("fault no_connack")
        await made.fault("drop")
        tries = len(made.connects())
        await detected(made, "CONNECT")
        await asyncio.sleep(DOWN)
        assert len(made.connects()) - tries <= 4
        await made.fault("clear")
        await made.fresh()
        await made.finish()


@pytest.mark.waits(13)
async def test_f32_a_broker_that_never_acknowledges(tmp_path: Path) -> None:
    """The watchdog ends each such connection; none carries more than the window; memory does not grow."""
    async with bench(tmp_path) as made:
        before, begun = made.rss(), len(made.ledger())
        await made.fault("fault never_ack")
        assert await detected(made, "not acknowledged") < 1.0 + 1.5
        await asyncio.sleep(2 * DOWN)
        links = [entry["link"] for entry in made.ledger()[begun:] if entry["what"] == "publish"]
        assert max(links.count(link) for link in set(links[1:]) - {links[0]}) <= WINDOW
        await made.fault("clear")
        await made.fresh()
        assert made.rss() - before < 8 * 2**20
        await made.finish()


@pytest.mark.waits(12)
@pytest.mark.parametrize("code", [0x86, 0x9D])
async def test_f36_credentials_that_are_refused_are_not_hammered(tmp_path: Path, code: int) -> None:
    """Where only a person can help the agent tries once in 30 s; it says why; a restart finds everything in the buffer."""
    async with bench(tmp_path) as made:
        await made.fault(f"fault connack:{code}")
        tries = len(made.connects())
        await made.fault("drop")
        await detected(made, f"0x{code:02X}")
        await asyncio.sleep(2 * DOWN)
        assert len(made.connects()) - tries == 1
        await made.fault("clear")
        await restart(made)
        await made.finish()


@pytest.mark.parametrize("code", [0x89, 0x97])
async def test_f36_a_busy_broker_is_tried_again_soon(tmp_path: Path, code: int) -> None:
    """Busy, unavailable, over quota: the agent knocks again by itself, a few times in as many seconds."""
    async with bench(tmp_path) as made:
        await made.fault(f"fault connack:{code}")
        tries = len(made.connects())
        await made.fault("drop")
        await asyncio.sleep(DOWN)
        assert 2 <= len(made.connects()) - tries <= 7
        await made.fault("clear")
        await made.fresh()
        await made.finish()


@pytest.mark.waits(35)
async def test_f36_the_agent_is_back_by_itself_when_a_person_has_helped(tmp_path: Path) -> None:
    """The slow back-off ends: the next try comes within 30 s and everything arrives."""
    async with bench(tmp_path) as made:
        await made.fault("fault connack:0x87")
        await made.fault("drop")
        await detected(made, "0x87")
        await made.fault("clear")
        await made.fresh(30 + RECOVERY, healed=False)  # the slow back-off is meant
        await made.finish()


async def test_f37_a_session_that_is_taken_over(tmp_path: Path) -> None:
    """Another client with the same id: the agent says so and backs off instead of taking the session back at once."""
    async with bench(tmp_path) as made:
        tries = len(made.connects())
        await made.fault("fault take_over:50")
        await made.fault("drop")
        await detected(made, "0x8E", "client_id")
        await asyncio.sleep(2 * DOWN)
        assert len(made.connects()) - tries <= 2
        await made.fault("clear")
        await restart(made)
        await made.finish()
