"""A whole line for commands that talk to a running agent: a Modbus device, a broker, and the agent, each a process or a thread of its own."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from edge_agent.model.errors import EdgeAgentError
from edge_agent.status.client import RemoteDesk

ROOT = Path(__file__).resolve().parents[2]
PASSWORD = "canary-Zw7-broker-password"
"""What must never be seen again in anything that leaves the gateway."""


class Plc:
    """A Modbus TCP device whose register 0 counts the reads; every other register shows its own number."""

    def __init__(self) -> None:
        """Listen in a thread of its own."""
        self.port = 0
        self.count = 0
        self._loop = asyncio.new_event_loop()
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()
        assert self._ready.wait(10)

    def _run(self) -> None:
        async def main() -> None:
            server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
            self.port = server.sockets[0].getsockname()[1]
            self._over = asyncio.Event()
            self._ready.set()
            await self._over.wait()
            server.close()

        self._loop.run_until_complete(main())
        self._loop.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                number, _, _, unit, function, first, count = struct.unpack(">HHHBBHH", await reader.readexactly(12))
                self.count += 1
                values = [self.count % 65_536 if at == 0 else at for at in range(first, first + count)]
                body = struct.pack(f">BBB{count}H", unit, function, 2 * count, *values)
                writer.write(struct.pack(">HHH", number, 0, len(body)) + body)
        except (asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
            pass
        finally:
            writer.close()

    def close(self) -> None:
        """End the thread."""
        self._loop.call_soon_threadsafe(self._over.set)
        self._thread.join(5)


class Live:
    """A line that runs; ``config`` is what commands are given."""

    def __init__(self, folder: Path, plc: Plc, broker: int) -> None:
        """Write the configuration of a line with ``plc``."""
        self.folder, self.config, self.store = folder, folder / "agent.yaml", folder / "buffer"
        self.environment = {**os.environ, "PYTHONUNBUFFERED": "1", "EDGE_AGENT_CANARY": PASSWORD, "COLUMNS": "160"}
        self.environment.pop("RUNTIME_DIRECTORY", None)
        (folder / "password").write_text(PASSWORD)
        (folder / "password").chmod(0o600)
        content: dict[str, Any] = {
            "version": 1,
            "agent": "gw1",
            "site": ["acme", "plant1"],
            "mqtt": {
                "broker": f"mqtt://127.0.0.1:{broker}",
                "allow_insecure": True,
                "username": "gw1",
                "password_file": str(folder / "password"),
            },
            "buffer": {"path": str(self.store), "min_free": 0},
            "devices": [
                {
                    "version": 1, "device": "plc1", "driver": "modbus", "host": "127.0.0.1", "port": plc.port, "unit_id": 1,
                    "poll": "100ms", "tags": {"count": {"register": "holding", "address": 0, "type": "uint16"}},
                }
            ],
            "units": [
                {
                    "version": 1, "unit": "filler", "path": ["acme", "plant1", "line1"],
                    "counters": {"total": {"tag": "plc1.count", "role": "total", "wraps": "uint16", "max_rate": "100/s"}},
                }
            ],
        }  # fmt: skip
        self.config.write_text(json.dumps(content))

    def run(self, *arguments: object, **more: Any) -> subprocess.CompletedProcess[str]:
        """Run a command as a process; a traceback is a failure."""
        command = [sys.executable, "-m", "edge_agent", *map(str, arguments)]
        done = subprocess.run(
            command, cwd=ROOT, env=self.environment, capture_output=True, text=True, timeout=110, check=False, **more
        )
        assert "Traceback" not in done.stdout + done.stderr, done
        return done


@contextmanager
def process(*arguments: object, log: Path, environment: dict[str, str]) -> Iterator[subprocess.Popen[str]]:
    """Run a module until the block ends."""
    with log.open("w") as out:
        child = subprocess.Popen(
            [sys.executable, "-m", *map(str, arguments)], cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=out, text=True
        )
        try:
            yield child
        finally:
            child.send_signal(signal.SIGTERM)
            child.wait(30)
            if child.stdout is not None:
                child.stdout.close()


@contextmanager
def live_line(folder: Path) -> Iterator[Live]:
    """Run device, broker and agent; the agent has delivered something when the block begins."""
    plc = Plc()
    environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
    environment.pop("RUNTIME_DIRECTORY", None)
    ledger = folder / "broker.jsonl"
    try:
        with process(
            "simulators.broker", "--port", 0, "--ledger", ledger, log=folder / "broker.log", environment=environment
        ) as broker:
            assert broker.stdout is not None
            port = int(broker.stdout.readline().strip().rpartition(":")[2])
            line = Live(folder, plc, port)
            with process("edge_agent", "run", "-c", line.config, log=folder / "agent.log", environment=environment):
                _until(lambda: _delivered(line) >= 5, folder / "agent.log")
                yield line
    finally:
        plc.close()


def _delivered(line: Live) -> int:
    try:
        return asyncio.run(RemoteDesk(line.store / "gw1.sock").status()).delivery.sent
    except EdgeAgentError:
        return 0


def _until(there: Any, log: Path) -> None:
    over = time.monotonic() + 90  # a busy machine needs many seconds for the imports alone
    while not there():
        assert time.monotonic() < over, log.read_text()
        time.sleep(0.05)
