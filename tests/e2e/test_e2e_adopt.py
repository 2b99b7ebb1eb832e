"""A gateway is lost in the middle of an order, and a blank one adopts its streams: the order is right to the part, says the MOM side."""

from __future__ import annotations

import asyncio
import shutil
import signal
import sys
from pathlib import Path
from typing import Any

import pytest

from edge_agent.cli.demo.play import Play
from edge_agent.cli.demo.process import Process
from edge_agent.cli.demo.scenario import checked
from edge_agent.cli.demo.stage import Stage

ROOT = Path(__file__).resolve().parents[2]
SCENARIO = ROOT / "tests" / "e2e" / "scenarios" / "swap.yaml"
pytestmark = pytest.mark.e2e

OF_THE_SWAP = {"declared gaps that no fault explains", "faults that no gap covers", "things told twice under two numbers"}
"""What only the scenario's own faults are judged by: the loss of the store is this test's act, `store_rolled_back` (asserted by name) declares it,
and what the lost gateway had told since its last checkpoint is told anew in the new epoch (docs/how-to/replace-a-gateway.md)."""


async def replaced(stage: Stage) -> str:
    """Kill the agent, throw its store away, adopt on a blank one and start it; return what `adopt` said."""
    agent = stage.processes["agent"]
    await agent.end(signal.SIGKILL)
    shutil.rmtree(stage.folder / "buffer")
    command = [sys.executable, "-m", "edge_agent", "adopt", "-c", str(stage.config), "--yes"]
    process = await asyncio.create_subprocess_exec(
        *command, cwd=ROOT, env=stage.environment, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    out, _ = await asyncio.wait_for(process.communicate(), 30)
    assert process.returncode == 0, out.decode()
    await agent.start()
    return out.decode()


async def played(folder: Path) -> tuple[dict[str, Any], str]:
    """Play the scenario with the loss at t=12; return the report of the MOM side."""
    port = 0
    broker = Process(
        "broker",
        ["-m", "simulators.broker", "--port", str(port), "--ledger", str(folder / "broker.jsonl")],
        folder,
        {"PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1"},
    )
    await broker.start()
    try:
        address = (await broker.ready()).rpartition("/")[2]
        stage = Stage(ROOT, folder, SCENARIO, checked(ROOT, SCENARIO), 2.0, faults=True, broker=address)
        try:
            await stage.open()
            play = Play(stage, asyncio.Event())
            watching = asyncio.create_task(play._watch(lambda: None))
            await play._baseline()
            stage.begin()
            await play._until(12)
            said = await replaced(stage)
            assert stage.plant_time() < 49, "the swap has to lie inside the order"
            await play._until(stage.length)
            await asyncio.sleep(0.5)
            watching.cancel()
            return await play.finish(), said
        finally:
            await stage.close()
    finally:
        await broker.end(signal.SIGTERM)


@pytest.mark.timeout(90)
def test_an_order_is_right_to_the_part_although_its_gateway_was_lost(tmp_path: Path) -> None:
    """The counts of the order equal the truth; the swap is a declared gap, and nothing conflicts or is missing."""
    report, said = asyncio.run(played(tmp_path))
    assert "filler" in said
    assert "SO-90" in said
    rows = {row["what"]: row for row in report["rows"]}
    for what in (
        "order SO-90 total/scrap/good",
        "counter total: counted",
        "energy in all (10 Wh)",
        "counts booked to several contexts",
    ):
        assert rows[what]["ok"], rows[what]
    assert (report["lost"], report["conflicts"]) == (0, [])
    assert {gap["reason"] for gap in report["gaps"]} >= {"store_rolled_back", "agent_down"}
    assert {row["what"] for row in report["rows"] if not row["ok"]} <= OF_THE_SWAP
    swaps = [gap["interval"] for gap in report["gaps"] if gap["reason"] in {"store_rolled_back", "agent_down"}]
    lost = "2027-06-15T11:00:12"
    assert all(begin <= lost <= end for begin, end in swaps), "a gap of the swap holds the moment of the loss"
    assert rows["declared gaps that no fault explains"]["received"] == str(len(swaps)), "and there is no other gap without a cause"
