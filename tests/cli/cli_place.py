"""A gateway on disk for the command line: configuration, a store with records, and on request an agent that answers on its socket."""

from __future__ import annotations

import asyncio
import json
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from edge_agent.agent.desk import BufferDesk
from edge_agent.agent.envelope import configured, keep
from edge_agent.buffer.sqlite import SqliteBuffer, open_buffer
from edge_agent.cli import main
from edge_agent.config.load import load
from edge_agent.model.stream import Entry, RecordKey
from edge_agent.status.app import application
from edge_agent.status.report import DeliveryReport, Status
from edge_agent.status.server import serving

OUT = "mqtt"
CONFIG = {
    "version": 1,
    "agent": "gw1",
    "site": ["acme", "plant1"],
    "mqtt": {"broker": "mqtt://127.0.0.1:1", "allow_insecure": True},
    "devices": [
        {
            "version": 1,
            "device": "plc1",
            "driver": "modbus",
            "host": "127.0.0.1",
            "unit_id": 1,
            "poll": "500ms",
            "tags": {"count": {"register": "holding", "address": 0, "type": "uint16"}},
        }
    ],
    "units": [
        {
            "version": 1,
            "unit": "filler",
            "path": ["acme", "plant1", "line1"],
            "counters": {"total": {"tag": "plc1.count", "role": "total", "wraps": "uint16", "max_rate": "100/s"}},
        }
    ],
}


def count(number: int, stream: str = "filler", kind: str = "E") -> Entry:
    """The numbered event, one second apart from 2026-10-25T04:00:00Z."""
    time = (1_792_900_800 + number) * 10**9
    body = json.dumps({"late": False, "counter": "total", "delta": 1, "total": number}).encode()
    return Entry(stream, kind, "edgeagent.production.count.v1", time, time, body)


class Gateway:
    """One gateway: ``config`` and ``store`` are what a user names on the command line."""

    def __init__(self, folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
        """Write the configuration; the store is empty."""
        self.config = folder / "agent.yaml"
        self.store = folder / "buffer"
        self.config.write_text(json.dumps(CONFIG | {"buffer": {"path": str(self.store), "min_free": 0}}))
        self.health = "ok"
        self._capsys = capsys
        self._monkeypatch = monkeypatch

    def run(self, *arguments: object) -> tuple[int, str, str]:
        """Run the command line; return exit code, standard output and error."""
        self._monkeypatch.setattr(sys, "argv", ["edge-agent", *map(str, arguments)])
        self._capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            main()
        out, err = self._capsys.readouterr()
        assert "Traceback" not in out + err
        code = ended.value.code
        return (0 if code is None else int(code)), out, err

    def fill(self, *, events: int = 6, delivered: int = 2, refused: int = 0, envelope: bool = True) -> str:
        """Have an agent leave records behind, the first ones delivered and then some refused; return the epoch."""

        async def work() -> str:
            config = load(self.config)
            async with open_buffer(config.agent.buffer) as buffer:
                if envelope:
                    await keep(buffer, configured(config), 0)
                await buffer.append([count(n) for n in range(1, events + 1)], None)
                await buffer.append([count(1, "filler/telemetry", "T")], None)
                keys = [RecordKey("filler", buffer.epoch, n) for n in range(1, events + 1)]
                await buffer.settle(
                    OUT, keys[:delivered], [(key, "Packet too large") for key in keys[delivered : delivered + refused]]
                )
                while await buffer.dead_letter_count() < refused:
                    await buffer.arrived()
                return buffer.epoch

        return asyncio.run(work())

    @contextmanager
    def agent(self) -> Iterator[None]:
        """Have an agent run that answers on its socket."""
        ready, stop = threading.Event(), threading.Event()

        async def work() -> None:
            config = load(self.config)
            async with open_buffer(config.agent.buffer) as buffer:
                envelope = await keep(buffer, configured(config), 0)
                desk = BufferDesk(buffer, OUT, self.store, envelope)
                async with serving(application(lambda: self._status(desk, buffer), desk, verbs=True), self.store / "gw1.sock"):
                    ready.set()
                    await asyncio.to_thread(stop.wait)

        thread = threading.Thread(target=lambda: asyncio.run(work()))
        thread.start()
        try:
            assert ready.wait(10)
            yield
        finally:
            stop.set()
            thread.join()

    async def _status(self, desk: BufferDesk, buffer: SqliteBuffer) -> Status:
        problems = [] if self.health == "ok" else ["device plc1: \x1b[31mno route to host"]
        now = "2026-10-25T04:01:00.000000Z"
        delivery = DeliveryReport(1234, 1, 0.5, 1.25, 3.5)
        return Status(
            self.health, problems, "gw1", "0.1.0", "s", 7, now, now, "c", {}, {"filler": "ok"}, [], delivery, await desk.buffer()
        )  # type: ignore[arg-type]
