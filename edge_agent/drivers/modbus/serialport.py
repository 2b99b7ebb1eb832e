"""The wire over a serial port of this machine, by pymodbus and pyserial."""

from __future__ import annotations

import asyncio
import errno
from collections.abc import Callable
from typing import Any, Final

from pymodbus.client import AsyncModbusSerialClient

from edge_agent.drivers.modbus.field import FUNCTION
from edge_agent.drivers.modbus.frames import data_bytes
from edge_agent.drivers.modbus.framing import Framing
from edge_agent.drivers.modbus.library import FRAMER, LibraryWire
from edge_agent.drivers.modbus.plan import Block
from edge_agent.drivers.modbus.serialline import SerialLine
from edge_agent.drivers.modbus.wire import Reply
from edge_agent.model.errors import DisconnectedError

try:
    from termios import error as TermiosError  # noqa: N812 - it is a class
except ImportError:  # not on Windows
    TermiosError = OSError  # type: ignore[assignment,misc]

_PARITY: Final = {"even": "E", "odd": "O", "none": "N"}
_ADDRESSED: Final = {"rtu": (8, 5), "ascii": (17, 11)}
"""Characters of a request, and of an answer besides its data."""


class SerialWire(LibraryWire):
    """One open port. `close` leaves it open and deaf, for `resume`: opening it anew can reset adapters; `shut` gives it back."""

    _gone = "is gone; was the adapter unplugged?"

    def __init__(self, port: str, line: SerialLine, framing: Framing, now: Callable[[], int], on_lost: Callable[[], None]) -> None:
        """Not yet open; see `library.LibraryWire`."""
        client = AsyncModbusSerialClient(
            port, framer=FRAMER[framing.name], baudrate=line.baud, bytesize=line.data_bits, parity=_PARITY[line.parity],
            stopbits=line.stop_bits, reconnect_delay=0, retries=0,
        )  # fmt: skip
        super().__init__(port, client, framing, now, on_lost)
        self._line = line

    async def open(self) -> None:
        """Open the port for this process alone; raises DisconnectedError that says why not."""
        context = self._client.ctx
        try:
            context.transport, _ = await context.call_create()
        except (OSError, ValueError, TermiosError) as error:
            raise DisconnectedError(_why(self._where, error, self._line)) from error
        await asyncio.sleep(0)  # pymodbus listens from the next turn of the loop on

    def resume(self, on_lost: Callable[[], None]) -> None:
        """Be a wire again after `close`, as soon as it was drained."""
        self._on_lost = on_lost

    async def read(self, unit: int, block: Block, timeout: float) -> Reply:
        """Ask once, after the silence that separates frames; ``timeout`` is the device's, the bytes' own time comes on top."""
        await asyncio.sleep(max(0.0, self._heard + self._line.silence - self._loop.time()))
        return await super().read(unit, block, timeout)

    async def close(self) -> None:
        """Use nothing that arrives any more, until `resume` and `drain`."""
        self._draining = True

    async def shut(self) -> None:
        """Close the port."""
        await super().close()

    def _on_the_way(self, block: Block) -> float:
        request, answer = _ADDRESSED[self._framing.name]
        size = data_bytes(FUNCTION[block.area], block.count)
        return self._line.lasts(request + answer + (2 * size if self._framing.name == "ascii" else size))


def _why(where: str, error: Exception, line: SerialLine) -> str:
    """Return in words for people why the port cannot be used, and what to look at."""
    code: Any = getattr(error, "errno", None) or (error.args[0] if error.args else None)
    if code == errno.ENOENT:
        return f"{where} does not exist; is the adapter plugged in? ls /dev/serial/by-id shows the serial ports"
    if code in {errno.EACCES, errno.EPERM}:
        return f"{where} may not be opened by this user; add it to the group dialout, as a service also DeviceAllow={where} rw"
    if code in {errno.EAGAIN, errno.EWOULDBLOCK, errno.EBUSY} or "exclusively lock" in str(error):
        return f"{where} is in use; is another program, or another edge-agent, reading the line?"
    if code in {errno.EINVAL, errno.ENOTTY} or isinstance(error, ValueError) or "configure port" in str(error):
        return f"{where} cannot do {line.baud} baud, {line.data_bits} data bits, parity {line.parity}, {line.stop_bits} stop bits; is it a serial port?"
    return f"{where} cannot be opened ({error}); look at the adapter"
