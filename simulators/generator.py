"""A device whose values say which change they are: ``python -m simulators.generator --port P --ledger FILE [--counters 4] [--rate 20]``.

Modbus TCP, unit 1: counter ``c0`` in holding registers 0-1, ``c1`` in 2-3, ... (uint32, high word first). Each counts ``rate`` a second, from a base of
its own, so that a stale or foreign value is recognised. Before an answer is sent the values in it are in the ledger:
``{"t": 1.25, "what": "read", "value": {"c0": 1000025, "c1": 2000025}}``. SIGUSR1 stops the counting: what was produced is final then.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import math
import signal
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from simulators.clock import Clock
from simulators.command import count, port, ready, refusals, until_signal, words
from simulators.ledger import Ledger
from simulators.listening import stop_listening
from simulators.modbus_server import HOLDING, ModbusServer
from simulators.vocabulary import SECOND

_APART = 1_000_000
_MOST = 62
"""Counters of two registers that one read of Modbus may ask for (MODBUS Application Protocol V1.1b3, 6.3: 125 registers)."""


class Generator:
    """Counters that count until they are stopped."""

    def __init__(self, names: Sequence[str], rate: float, ledger: Ledger) -> None:
        self.clock = Clock(datetime.now(UTC), 1.0, time.monotonic_ns())
        self.names = tuple(names)
        self.port = 0
        self._rate = rate
        self._ledger = ledger
        self._stopped: int | None = None
        self.told: dict[str, int] = {}
        self._device = ModbusServer(1, {HOLDING: self._registers}, self.clock, ledger)
        self._server: asyncio.Server | None = None

    def stop_counting(self) -> None:
        """Let the values stand from now on."""
        if self._stopped is None:
            self._stopped = self.clock.t()

    @property
    def final(self) -> bool:
        """Whether the last values were read: then everything that will ever be produced is in the ledger."""
        return self._stopped is not None and self.told == self._values(self.clock.t())

    def _values(self, t: int) -> dict[str, int]:
        counted = int((t if self._stopped is None else self._stopped) * self._rate / SECOND)
        return {name: (index + 1) * _APART + counted for index, name in enumerate(self.names)}

    def _registers(self, t: int) -> list[int]:
        values = self._values(t)
        if values != self.told:
            self.told = values
            self._ledger.write(t, "read", values)
        return [word for value in values.values() for word in divmod(value, 2**16)]

    async def listen(self, host: str, port: int) -> None:
        """Accept connections; ``port`` becomes the real one."""
        self._server = await asyncio.start_server(self._device.handle, host, port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def close(self) -> None:
        """End all connections."""
        if self._server is not None:
            await stop_listening(self._server)
        await self._device.close()


async def serve(options: argparse.Namespace) -> None:
    """Run the device until cancelled."""
    with Ledger(options.ledger) as ledger:
        generator = Generator([f"c{index}" for index in range(options.counters)], options.rate, ledger)
        await generator.listen(options.host, options.port)
        asyncio.get_running_loop().add_signal_handler(signal.SIGUSR1, generator.stop_counting)
        ready(f"tcp://{options.host}:{generator.port}")
        try:
            await asyncio.Event().wait()
        finally:
            await generator.close()


def _rate(text: str) -> float:
    try:
        rate = float(text)
    except ValueError:
        rate = math.nan
    if not 0 <= rate < math.inf:
        raise ValueError(f"{text!r} is no rate; give changes a second, 0 or more")
    return rate


def main() -> None:
    """Run the device from the command line."""
    parser = argparse.ArgumentParser(prog="python -m simulators.generator", description="A Modbus device that counts its changes.")
    parser.add_argument("--port", type=port, required=True, help="0 takes a free one; the ready line names it")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--ledger", type=Path, metavar="FILE")
    parser.add_argument("--counters", type=count(1, _MOST), default=4)
    parser.add_argument("--rate", type=words(_rate), default=20.0, help="changes a second of each counter")
    options = parser.parse_args()
    with contextlib.suppress(KeyboardInterrupt), refusals(parser, options):
        asyncio.run(until_signal(serve(options)))


if __name__ == "__main__":
    main()
