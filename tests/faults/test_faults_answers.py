"""Acknowledgements that go wrong and messages that are refused: each fault once, with the real agent and the checker's verdict.

Each test ends by `Bench.finish`: the counters stand, everything arrives, the agent stops in order, and the ledgers balance.
"""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from fault_acts import DOWN, refused, set_aside
from fault_bench import bench

pytestmark = [pytest.mark.faults, pytest.mark.timeout(90)]


@pytest.mark.parametrize(
    "fault", ["drop_ack,every=40", "ack_twice", "ack_wrong_id,every=40", "ack_reordered:5", "garbage:3,times=2", "slow:150"]
)
async def test_f34_acknowledgements_that_go_wrong(tmp_path: Path, fault: str) -> None:
    """Lost, doubled, for another message, out of order, no MQTT at all, late: nothing is skipped."""
    async with bench(tmp_path) as made:
        await made.fault(f"fault {fault}")
        await asyncio.sleep(DOWN)
        await made.fault("clear")
        await made.fresh()
        await made.finish()


@pytest.mark.parametrize("code", [0x80, 0x83, 0x97])
async def test_f35_a_refusal_for_now(tmp_path: Path, code: int) -> None:
    """Every 25th message is refused for a while: all of them arrive all the same, in order."""
    async with bench(tmp_path) as made:
        await made.fault(f"fault reason_code:{code},every=25")
        await asyncio.sleep(DOWN)
        await made.fault("clear")
        await made.fresh()
        assert any(each.code == code for each in made.events(taken=False))
        verdict = await made.finish()
        assert sum(each.declared_lost for each in verdict.streams) == 0


@pytest.mark.parametrize("code", [0x90, 0x99])
async def test_f35_a_refusal_for_good(tmp_path: Path, code: int) -> None:
    """One count is refused each time it comes (3.4.2.1; 0x95 is no code of a PUBACK): it becomes a declared loss with its totals, and what is behind it goes on."""
    async with bench(tmp_path) as made:
        made.reasons.add("rejected")
        await made.fault(f'fault reason_code:{code},holding="counter":"c0"')
        bad = await refused(made, code)
        await made.fault(f'fault reason_code:{code},holding="raw":"{bad.data["raw"]}"')
        await set_aside(made)
        await made.fresh()
        verdict = await made.finish()
        assert sum(each.declared_lost for each in verdict.streams) == 1
        assert sum(each.declared_lost for each in verdict.sources) == bad.data["delta"]


@pytest.mark.parametrize("times", [1, 3])
async def test_f35_a_refusal_that_no_puback_may_carry(tmp_path: Path, times: int) -> None:
    """0x95 in a PUBACK, as some brokers send it: the message is known; it is tried again, and set aside alone after three of them."""
    async with bench(tmp_path) as made:
        made.reasons.add("rejected")
        await made.fault('fault reason_code:0x95,times=1,holding="counter":"c0"')
        bad = await refused(made, 0x95)
        if times > 1:
            await made.fault(f'fault reason_code:0x95,holding="raw":"{bad.data["raw"]}"')
            await set_aside(made)
        await made.fresh()
        verdict = await made.finish()
        assert sum(each.declared_lost for each in verdict.streams) == (times > 1)
