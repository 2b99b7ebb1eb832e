"""What happens to processes: an agent that gets no time, one that is stopped for long, and a second one on the same data."""

from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path

import pytest
from fault_bench import Process, bench

pytestmark = [pytest.mark.faults, pytest.mark.timeout(90)]


async def test_f05_an_agent_that_gets_no_time(tmp_path: Path) -> None:
    """Held for a quarter of a second again and again, as on a busy machine: answers are read late, and no part is called too fast for it."""
    async with bench(tmp_path) as made:
        for _ in range(12):
            os.kill(made.agent.pid, signal.SIGSTOP)
            await asyncio.sleep(0.25)
            os.kill(made.agent.pid, signal.SIGCONT)
            await asyncio.sleep(0.13)
        await made.fresh()
        verdict = await made.finish()
        assert not any(each.type.endswith("discontinuity.v1") and each.data["kind"] == "implausible" for each in made.events())
        assert sum(each.declared_lost for each in verdict.sources) == 0


async def test_f03_an_agent_that_was_suspended(tmp_path: Path) -> None:
    """Held for longer than any timeout: its peers have given it up; it notices, connects anew, and every part is counted."""
    async with bench(tmp_path) as made:
        made.reasons |= {"comm_loss", "agent_down", "clock"}
        os.kill(made.agent.pid, signal.SIGSTOP)
        await asyncio.sleep(6)
        os.kill(made.agent.pid, signal.SIGCONT)
        await made.fresh()
        await made.finish()


async def test_f06_a_second_agent_on_the_same_data(tmp_path: Path) -> None:
    """It ends with 78 and a sentence for a person; the first one never notices."""
    async with bench(tmp_path) as made:
        second = Process("edge_agent", tmp_path / "second.log", "run", "-c", str(tmp_path / "agent.yaml"))
        await second.start()
        assert await second.ended() == 78
        assert "another" in (tmp_path / "second.log").read_text()
        await made.fresh(healed=False)
        await made.finish()


async def test_f50_answers_that_are_late_and_then_not(tmp_path: Path) -> None:
    """The line to the device is slow and fast by turns: what comes right behind a late answer is counted as what it is."""
    async with bench(tmp_path, far=True) as made:
        assert made.device is not None
        for _ in range(8):
            made.device.down.set("delay", "0.2")
            await asyncio.sleep(0.7)
            made.device.down.set("delay", "0")
            await asyncio.sleep(0.3)
        await made.fresh()
        await made.finish()
        assert not any(each.type.endswith("discontinuity.v1") and each.data["kind"] == "implausible" for each in made.events())
