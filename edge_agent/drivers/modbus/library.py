"""The wire by pymodbus: with `tcp` and `serialport`, which open it, the only file that knows the library.

pymodbus gives framing and the transport; its retries, its reconnecting and its leniency are switched off. Every received byte is judged by
`framing` before pymodbus decodes it, every frame to be sent by `guard`. Private names of pymodbus are used (the version is pinned):
``ctx.transport``, because ``connect`` hides why it failed and knows no name of the server's certificate, and ``ctx.response_future``, because
a lost connection leaves it waiting.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Any

from pymodbus.client.base import ModbusBaseClient
from pymodbus.exceptions import ConnectionException, ModbusIOException
from pymodbus.framer import FramerType
from pymodbus.pdu import ExceptionResponse, ModbusPDU

from edge_agent.drivers.modbus import frames, guard, identification
from edge_agent.drivers.modbus.field import FUNCTION
from edge_agent.drivers.modbus.frames import InvalidReplyError
from edge_agent.drivers.modbus.framing import Framing
from edge_agent.drivers.modbus.plan import Block
from edge_agent.drivers.modbus.wire import RefusedError, Reply, SilentError
from edge_agent.model.errors import DisconnectedError

# What pymodbus says about a failed request stands in our errors; once for each poll of a dead device it would bury the log.
logging.getLogger("pymodbus.logging").setLevel(logging.CRITICAL)


class _RawReply(ModbusPDU):
    """An answer that keeps its data bytes: unpacked once per block later, not register by register here."""

    rtu_byte_count_pos = 2

    def decode(self, data: bytes) -> None:
        """Keep what follows the byte count; `Framing.complete` has checked it."""
        self.raw = bytes(data[1:])


_REPLIES = tuple(type(f"_RawReply{code}", (_RawReply,), {"function_code": code}) for code in sorted(guard.READING))


class _Identification(ModbusPDU):
    """An answer that says who the device is, undecoded."""

    function_code = identification.FUNCTION

    def decode(self, data: bytes) -> None:
        """Keep what follows the function code."""
        self.raw = bytes(data)


FRAMER = {"tcp": FramerType.SOCKET, "rtu": FramerType.RTU, "ascii": FramerType.ASCII}


class LibraryWire:
    """One connection (see `wire.Wire`), whatever it runs over; ``heard_after`` is the machine seconds from the last request to what came last."""

    _gone = "is gone"

    def __init__(
        self, where: str, client: ModbusBaseClient, framing: Framing, now: Callable[[], int], on_lost: Callable[[], None]
    ) -> None:
        """Not yet connected; ``now`` gives plant time, ``on_lost`` is called when the peer goes away."""
        self.lost: str | None = None
        self.heard_after = 0.0
        self._way = 0.0
        self._where = where
        self._framing = framing
        self._now = now
        self._on_lost = on_lost
        self._loop = asyncio.get_running_loop()
        self._request: frames.Request | None = None
        self._invalid: InvalidReplyError | None = None
        self._arrived = 0
        self._sent = self._heard = self._loop.time()
        self._draining = self._closing = self._identifying = False
        self._client = client
        context = client.ctx
        context.trace_packet, context.trace_pdu, context.trace_connect = self._on_packet, self._on_pdu, self._on_connect
        for reply in (*_REPLIES, _Identification):
            client.register(reply)

    @property
    def latency(self) -> float:
        """See `wire.Wire.latency`."""
        return max(0.0, self.heard_after - self._way)

    async def drain(self, quiet: float, limit: float) -> bool:
        """Drop what arrives until nothing came for ``quiet`` machine seconds; returns whether anything did.

        Raises DisconnectedError when the connection is lost, or when it does not become silent within ``limit`` seconds.
        """
        self._draining, self._invalid = True, None
        began = self._loop.time()
        self._heard = min(self._heard, began)
        silent_since = began
        try:
            while (left := silent_since + quiet - self._loop.time()) > 0:
                if self.lost is not None:
                    raise DisconnectedError(self.lost)
                if silent_since - began > limit:
                    raise DisconnectedError(
                        f"{self._where} is not silent for {quiet:g} s although nothing is asked; is another master there?"
                    )
                await asyncio.sleep(left)
                silent_since = max(began, self._heard)
        finally:
            self._draining = False
            self._client.ctx.recv_buffer = b""
        return self._heard > began

    async def read(self, unit: int, block: Block, timeout: float) -> Reply:
        """Ask once; see `wire.Wire.read`."""
        self._way = self._on_the_way(block)
        self._client.ctx.comm_params.timeout_connect = timeout + self._way  # pymodbus's name for the time that an answer may take
        asked = self._now()
        reply = await self._answer(lambda: self._call(unit, block))
        if not isinstance(reply, _RawReply) or reply.function_code != FUNCTION[block.area]:
            raise InvalidReplyError(f"a {type(reply).__name__} instead of an answer to function {FUNCTION[block.area]}")
        return Reply(reply.raw, self._arrived, asked)

    async def identify(self, unit: int, category: int, first: int, timeout: float) -> bytes:
        """Ask who the unit is; see `wire.Wire.identify`."""
        self._client.ctx.comm_params.timeout_connect = timeout
        self._identifying = True
        try:
            ask = self._client.read_device_information
            reply = await self._answer(lambda: ask(read_code=category, object_id=first, device_id=unit))
        finally:
            self._identifying = False
        if not isinstance(reply, _Identification):
            raise InvalidReplyError(f"a {type(reply).__name__} instead of an identification")
        return reply.raw

    async def _answer(self, call: Callable[[], Awaitable[ModbusPDU]]) -> ModbusPDU:
        """Make one request; raises what `wire.Wire.read` raises."""
        if self._invalid is not None:
            raise self._invalid
        if self.lost is not None:
            raise DisconnectedError(self.lost)
        try:
            reply = await _cancellable(call())
        except ModbusIOException as error:
            raise SilentError(str(error)) from error
        except ConnectionException as error:
            raise DisconnectedError(self.lost or f"{self._where}: the connection is closed") from error
        finally:
            self._request = None
        if isinstance(reply, ExceptionResponse):
            raise RefusedError(reply.exception_code, self._arrived)
        return reply

    def _on_the_way(self, block: Block) -> float:  # noqa: ARG002 - a serial port asks for it
        """Return the seconds that the bytes of a request and its answer need on the line."""
        return 0.0

    async def _call(self, unit: int, block: Block) -> ModbusPDU:
        match block.area:
            case "coil":
                return await self._client.read_coils(block.address, count=block.count, device_id=unit)
            case "discrete":
                return await self._client.read_discrete_inputs(block.address, count=block.count, device_id=unit)
            case "holding":
                return await self._client.read_holding_registers(block.address, count=block.count, device_id=unit)
            case "input":
                return await self._client.read_input_registers(block.address, count=block.count, device_id=unit)

    async def close(self) -> None:
        """Close the socket at once and forget what may still arrive."""
        self._closing = True
        transport: Any = self._client.ctx.transport
        self._client.close()
        if transport is not None:
            transport.abort()  # close alone waits for a peer that takes nothing any more
        await asyncio.sleep(0)  # the loop closes the socket in its next turn

    def _on_pdu(self, sending: bool, pdu: ModbusPDU) -> ModbusPDU:
        if sending:
            guard.check_function(pdu.function_code, identify=self._identifying)
        return pdu

    def _on_packet(self, sending: bool, data: bytes) -> bytes:
        """Let nothing out that writes, and nothing in that is not the answer. What is held back here pymodbus keeps and shows again."""
        if sending:
            guard.check_frame(data, self._framing.name, identify=self._identifying)
            self._request = identification.sent(data) if self._identifying else self._framing.sent(data)
            self._sent = self._loop.time()
            return data
        self._heard = self._loop.time()
        self.heard_after = self._heard - self._sent
        if self._draining or self._invalid is not None or self._closing:
            return b""
        try:
            whole = self._framing.complete(data, self._request)
        except InvalidReplyError as error:
            self._invalid = error
            self._fail(error)
            return b""
        if not whole:
            return b""
        self._arrived = self._now()
        self._request = None
        return data

    def _on_connect(self, connected: bool) -> None:
        if connected or self._closing:
            return
        self.lost = f"{self._where} {self._gone}"
        self._fail(ConnectionException(self.lost))
        self._on_lost()

    def _fail(self, error: Exception) -> None:
        if self._request is not None and not self._client.ctx.response_future.done():
            self._client.ctx.response_future.set_exception(error)


async def _cancellable(call: Awaitable[ModbusPDU]) -> ModbusPDU:
    """Await a pymodbus call without losing a cancellation.

    pymodbus waits with `asyncio.wait_for`, which before Python 3.12 returns the result, and forgets the cancellation, when both come in the
    same turn of the loop (python/cpython#86296); polling would go on after the connection was left.
    """
    task = asyncio.current_task()
    before = 0 if task is None else task.cancelling()
    reply = await call
    if task is not None and task.cancelling() > before:
        raise asyncio.CancelledError
    return reply
