"""How the devices of one endpoint are reached: makes their wire, and makes it anew after a failure."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from edge_agent.drivers.modbus.careful import CarefulWire, drained
from edge_agent.drivers.modbus.config import ModbusConfig
from edge_agent.drivers.modbus.framing import framing_of
from edge_agent.drivers.modbus.library import LibraryWire
from edge_agent.drivers.modbus.serialport import SerialWire
from edge_agent.drivers.modbus.steps import Steps
from edge_agent.drivers.modbus.tcp import TcpWire
from edge_agent.drivers.modbus.wire import Wire
from edge_agent.model.instant import NS
from edge_agent.model.tls import tls_context

_CONNECT = 3.0
"""Machine seconds for a TCP connect where the devices' own timeouts are shorter: a handshake may meet a lost packet (first resend after 1 s)."""


class Dial:
    """One endpoint, of which one wire at a time is open. A serial port stays open from wire to wire, until `close`."""

    def __init__(self, configs: Sequence[ModbusConfig], now: Callable[[], int]) -> None:
        """``configs`` have equal links; ``now`` gives plant time."""
        self._config, self._now = configs[0], now
        timeout = max(config.timeout / NS for config in configs)
        self._timeout = max(_CONNECT, timeout)
        self._settle = max(config.connect_pause for config in configs) / NS
        self._framing = framing_of(self._config)
        self._steps = Steps(timeout)
        self._port: SerialWire | None = None

    async def open(self, on_lost: Callable[[], None]) -> Wire:
        """Make one try; ``on_lost`` is called when the peer goes away. Raises DisconnectedError, in words."""
        wire: LibraryWire | None = None
        try:
            if self._config.serial is not None:
                wire = await self._serial(self._config.serial, on_lost)
            else:
                wire = self._network(str(self._config.host), on_lost)
                await wire.open(self._timeout)
                await asyncio.sleep(self._settle)
            if self._framing.numbered:
                return wire
            await drained(wire, self._steps)
            return CarefulWire(wire, self._steps)
        except BaseException:  # also a cancellation: whoever asked for the wire is told, and no socket stays behind
            if wire is not None:
                await wire.close()
            raise

    def _network(self, host: str, on_lost: Callable[[], None]) -> TcpWire:
        config, tls = self._config, self._config.tls
        return TcpWire(
            host, config.tcp_port, self._now, on_lost, framing=self._framing, source=config.source_address,
            context=None if tls is None else tls_context(tls), server_name=None if tls is None else tls.server_name,
        )  # fmt: skip

    async def _serial(self, name: str, on_lost: Callable[[], None]) -> SerialWire:
        if self._port is not None and self._port.lost is None:
            self._port.resume(on_lost)
            return self._port
        await self.close()
        port = SerialWire(name, self._config.line, self._framing, self._now, on_lost)
        await port.open()
        self._port = port
        await asyncio.sleep(self._settle)
        return port

    async def close(self) -> None:
        """Give a serial port back, if there is one; a connection is closed by its wire."""
        port, self._port = self._port, None
        if port is not None:
            await port.shut()
