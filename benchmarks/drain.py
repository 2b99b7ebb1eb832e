"""A backlog that drains: a store filled with events by the buffer itself, then an agent whose broker takes them as fast as they come."""

from __future__ import annotations

import asyncio
import contextlib
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.counting import AGAIN
from benchmarks.stage import Agent, Asked, Broker
from benchmarks.workload import Workload, modbus
from edge_agent.buffer.sqlite import open_buffer
from edge_agent.config.load import load
from edge_agent.events.encode import encode
from edge_agent.model.event import ProductionEvent
from edge_agent.model.stream import Checkpoint, Entry

_CHUNK = 5000
WORK = Workload("f", "drain", (modbus(10, 1, changing=0),), extra={"buffer": {"max_bytes": "16GiB"}})


def drain(events: int, within: float = 1200.0) -> dict[str, Any]:
    """Let ``events`` production events drain; returns events a second, CPU of each and how much the agent grew."""
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="edge-bench-")))
        broker = stack.enter_context(Broker(folder))
        counting = stack.enter_context(Asked("benchmarks.counting", "--port", str(broker.port)))
        source = stack.enter_context(Asked(*WORK.loads[0].program))
        config = WORK.write(folder, broker.port, [source.ready])
        asyncio.run(_fill(config, events))
        with Agent(config, folder) as agent:
            before = _wait(counting, events // 10, within, agent)
            rss = agent.rss
            after = _wait(counting, events - events // 10, within, agent)
            grown = agent.rss - rss
        wrong = {what: many for what, many in counting.ask()["wrong"].items() if what != AGAIN}
    many, seconds, cpu = (after[name] - before[name] for name in ("count", "at", "cpu"))
    return {
        "events": many, "rate": many / seconds, "us": cpu / many * 1e6, "grown": grown / 1e6, "wrong": wrong,
    }  # fmt: skip


async def _fill(config: Path, events: int) -> None:
    loaded = load(config)
    async with open_buffer(loaded.agent.buffer) as buffer:
        for start in range(0, events, _CHUNK):
            entries = [_event(number) for number in range(start, min(events, start + _CHUNK))]
            await buffer.append(entries, Checkpoint("line", {}, time.time_ns()))


def _event(number: int) -> Entry:
    now = time.time_ns()
    data = {"counter": "total", "role": "total", "delta": 1, "total": number, "raw": number, "uom": "H87"}
    return encode(ProductionEvent(type="production.count", time=now, data=data), stream="line", recorded=now, cfg="0" * 12)


def _wait(counting: Asked, least: int, within: float, agent: Agent) -> dict[str, Any]:
    deadline = time.monotonic() + within
    while time.monotonic() < deadline:
        count = sum(counting.ask()["events"].values())
        if count >= least:
            return {"count": count, "at": time.monotonic(), "cpu": agent.cpu}
        time.sleep(0.05)
    raise RuntimeError(f"{least} events did not drain within {within:g} s")
