"""A whole agent that is killed, or stopped, while a line goes on counting: every part once, and nothing lost while the server keeps everything."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import sys
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from odd_plant import INT64
from odd_server import URI, OddServer

pytestmark = pytest.mark.timeout(60)


class Line:
    """An agent process, the server it reads from, and what is in its store."""

    def __init__(self, folder: Path, server: OddServer, unit: dict[str, Any], device: dict[str, Any]) -> None:
        self.folder, self.server = folder, server
        self.counted = 0
        self._process: asyncio.subprocess.Process | None = None
        tags = {"total": {"node": "s=count", "type": "int64"}, "state": {"node": "s=state", "type": "int64"}}
        config = {
            "version": 1, "agent": "gw1", "site": ["acme", "plant1"],
            "mqtt": {"broker": "mqtt://127.0.0.1:1", "allow_insecure": True},
            "buffer": {"path": str(folder / "buffer"), "min_free": 0},
            "devices": [{
                "version": 1, "device": "plc", "driver": "opcua", "url": f"opc.tcp://127.0.0.1:{server.port}", "allow_insecure": True,
                "namespace": URI, "sampling": "20ms", "publishing": "50ms", "tags": tags,
            } | device],
            "units": [{
                "version": 1, "unit": "filler", "path": ["acme", "plant1", "line1"],
                "counters": {"total": {"tag": "plc.total", "role": "total", "wraps": "never", "max_rate": "2000/s"}},
            } | unit],
        }  # fmt: skip
        (folder / "agent.yaml").write_text(json.dumps(config))

    async def start(self) -> None:
        """Start the agent; returns when it publishes for its subscription: taken over, or made anew with its items (the server's state first)."""
        before = self.server.requests.copy()
        log = (self.folder / "agent.log").open("ab")
        self._process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "edge_agent", "run", "-c", str(self.folder / "agent.yaml"), stdout=log, stderr=log
        )
        log.close()
        async with asyncio.timeout(20):
            while not self._publishes(self.server.requests - before):
                assert self._process.returncode is None, (self.folder / "agent.log").read_text()
                await asyncio.sleep(0.05)

    @staticmethod
    def _publishes(asked: Counter[str]) -> bool:
        """Whether that is enough. More Publish requests would be a matter of keep-alives, seconds apart: nothing is counted meanwhile."""
        return asked["Publish"] >= 4 and (asked["TransferSubscriptions"] > 0 or asked["CreateMonitoredItems"] >= 2)

    async def end(self, how: signal.Signals = signal.SIGTERM) -> None:
        """Kill or stop the agent."""
        assert self._process is not None
        os.kill(self._process.pid, how)
        async with asyncio.timeout(20):
            await self._process.wait()
        self._process = None

    async def count(self, parts: int, pause: float = 0.01) -> None:
        """Let the line make parts."""
        for _ in range(parts):
            self.counted += 1
            self.server.value("count", INT64, self.counted)
            await asyncio.sleep(pause)

    async def events(self) -> list[dict[str, Any]]:
        """Return the events in the store of an agent that does not run."""
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "edge_agent", "buffer", "export", "--store", str(self.folder / "buffer"),
            "--stream", "filler", stdout=asyncio.subprocess.PIPE,
        )  # fmt: skip
        out, _ = await process.communicate()
        return [json.loads(line) for line in out.splitlines()]

    async def reap(self) -> None:
        """Leave no agent behind, however the test ended."""
        if self._process is not None and self._process.returncode is None:
            await self.end(signal.SIGKILL)


@contextlib.asynccontextmanager
async def line(folder: Path, unit: dict[str, Any] | None = None, device: dict[str, Any] | None = None) -> AsyncIterator[Line]:
    """Run a server, and whatever the test starts."""
    server = OddServer()
    await server.start()
    server.value("count", INT64, 0)
    server.value("state", INT64, 1)
    made = Line(folder, server, unit or {}, device or {})
    try:
        yield made
    finally:
        await made.reap()
        for subscription in list(server.subscriptions.values()):
            subscription.delete()
        await server.stop()
        assert server.writes == 0


def of(events: list[dict[str, Any]], kind: str) -> list[dict[str, Any]]:
    """Return the data of the events of a kind."""
    return [event["data"] | {"at": event["time"]} for event in events if event["type"].endswith(f"{kind}.v1")]


def deltas(events: list[dict[str, Any]]) -> int:
    """Return how many parts were counted."""
    return sum(count["delta"] for count in of(events, "production.count"))


def nothing_lost(events: list[dict[str, Any]]) -> bool:
    """Whether the agent's absence was told, and that nothing is missing of it."""
    gaps = of(events, "collection.gap")
    return bool(gaps) and {(gap["reason"], gap["lost"]) for gap in gaps} == {("agent_down", "none")}


async def test_kills_while_the_line_counts(tmp_path: Path) -> None:
    """Killed three times in the middle of counting: every part is counted once, at its own time, and nothing is missing."""
    async with line(tmp_path) as made:
        await made.start()
        for _ in range(3):
            await made.count(60)
            await made.end(signal.SIGKILL)
            await made.count(60)
            await made.start()
        await made.count(20)
        await asyncio.sleep(1.5)
        await made.end()
        events = await made.events()
    assert deltas(events) == made.counted
    assert nothing_lost(events), of(events, "collection.gap")
    counts = of(events, "production.count")
    assert any(count.get("derivation") == "historical" for count in counts)
    assert not any(count.get("derivation") == "recovered" for count in counts)


async def test_a_stop_while_the_line_counts(tmp_path: Path) -> None:
    """Stopped and started, with telemetry: nothing is missing of it either."""
    telemetry = {"telemetry": {"tags": ["plc.total"], "publish": "1s"}}
    async with line(tmp_path, telemetry) as made:
        await made.start()
        await made.count(60)
        await made.end()
        await made.count(60)
        await made.start()
        await made.count(20)
        await asyncio.sleep(1.5)
        await made.end()
        events = await made.events()
    assert deltas(events) == made.counted
    assert nothing_lost(events), of(events, "collection.gap")


async def test_a_restart_of_the_server_is_a_gap(tmp_path: Path) -> None:
    """What the server forgot with its restart is declared, and the counter makes up for it."""
    async with line(tmp_path) as made:
        await made.start()
        await made.count(30)
        await made.end()
        await made.server.stop()
        for subscription in list(made.server.subscriptions.values()):
            subscription.delete()
        await made.count(30)
        await made.server.start()
        await made.start()
        await made.count(20)
        await asyncio.sleep(1.5)
        await made.end()
        events = await made.events()
    assert made.server.requests["TransferSubscriptions"] == 0
    assert of(events, "collection.gap")


async def test_an_overflow_while_the_agent_was_away_is_a_gap(tmp_path: Path) -> None:
    """Longer away than the server's queue is long: the tag is declared lost for that time, and the counter makes up for it."""
    async with line(tmp_path) as made:
        made.server.faults.most_queue = 10
        await made.start()
        await made.count(30)
        await made.end(signal.SIGKILL)
        await made.count(100, pause=0.005)
        await made.start()
        await made.count(20)
        await asyncio.sleep(1.5)
        await made.end()
        events = await made.events()
    assert deltas(events) == made.counted
    (gap,) = [gap for gap in of(events, "collection.gap") if gap["lost"] != "none"]
    assert gap["reason"] == "queue_overflow"
    assert gap["tags"] == ["plc.total"]
