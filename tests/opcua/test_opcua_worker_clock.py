"""Workers in the time of the demo: its clock stands still until somebody starts it."""

from __future__ import annotations

import asyncio
import json
import time
from pathlib import Path

import pytest
from opcua_plant import Plc, config, free_port

from edge_agent.agent.clock import CLOCK_FILE
from edge_agent.agent.worker.process import Worker
from edge_agent.model.instant import NS, parse
from edge_agent.ports import DeviceWiring, Identity

EPOCH = "2026-10-25T04:50:00Z"


async def test_workers_see_the_start_of_the_plants_clock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a worker received by subscription, where no poll waits for the clock, is told in the plant's time once that runs."""
    file = tmp_path / "clock.json"

    def write(started: int | None) -> None:
        beside = file.with_suffix(".new")
        beside.write_text(json.dumps({"epoch": EPOCH, "speed": 1000, "started": started}))
        beside.replace(file)

    write(None)
    monkeypatch.setenv(CLOCK_FILE, str(file))
    plc, worker = Plc(free_port()), Worker("1")
    await plc.start()
    await plc.add("Count", 0)
    running = asyncio.create_task(worker.run())
    try:
        device = config(plc.port, {"count": {"node": "s=Count"}})
        async with asyncio.timeout(60), worker.connect([device], {"plc": DeviceWiring()}, Identity(tmp_path, "gw1")) as driver:
            before = [batch.received for batch in await driver.read()]
            assert set(before) == {parse(EPOCH)}
            write(time.monotonic_ns())
            told, value = before[-1], 0
            while told < parse(EPOCH) + 60 * NS:  # 60 ms of the machine's time
                value += 1
                await plc.write("Count", value)
                told = (await driver.read())[-1].received
    finally:
        running.cancel()
        await asyncio.wait([running])
        await plc.stop()
    assert worker.starts == 1
