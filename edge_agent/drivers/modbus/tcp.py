"""The wire over TCP: the only file that knows pymodbus.

pymodbus gives framing and the transport; its retries, its reconnecting and its leniency are switched off. Every received byte is judged by
`frames` before pymodbus decodes it, every frame to be sent by `guard`. Private names of pymodbus are used (the version is pinned):
``ctx.call_create``, because ``connect`` hides why it failed, and ``ctx.response_future``, because a lost connection leaves it waiting.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import socket
from collections.abc import Awaitable, Callable
from typing import Any

from pymodbus.client import AsyncModbusTcpClient
from pymodbus.exceptions import ConnectionException, ModbusIOException
from pymodbus.pdu import ExceptionResponse, ModbusPDU

from edge_agent.drivers.modbus import frames, guard
from edge_agent.drivers.modbus.field import FUNCTION
from edge_agent.drivers.modbus.frames import InvalidReplyError
from edge_agent.drivers.modbus.plan import Block
from edge_agent.drivers.modbus.wire import RefusedError, Reply, SilentError
from edge_agent.model.errors import DisconnectedError

# What pymodbus says about a failed request stands in our errors; once for each poll of a dead device it would bury the log.
logging.getLogger("pymodbus.logging").setLevel(logging.CRITICAL)


class _RawReply(ModbusPDU):
    """An answer that keeps its data bytes: unpacked once per block later, not register by register here."""

    def decode(self, data: bytes) -> None:
        """Keep what follows the byte count; `frames.complete` has checked it."""
        self.raw = bytes(data[1:])


_REPLIES = tuple(type(f"_RawReply{code}", (_RawReply,), {"function_code": code}) for code in sorted(guard.READING))


class TcpWire:
    """One TCP connection to one endpoint (see `wire.Wire`)."""

    def __init__(self, host: str, port: int, now: Callable[[], int], on_lost: Callable[[], None]) -> None:
        """Not yet connected; ``now`` gives plant time, ``on_lost`` is called when the peer goes away."""
        self.lost: str | None = None
        self._where = f"{host}:{port}"
        self._now = now
        self._on_lost = on_lost
        self._request: frames.Request | None = None
        self._invalid: InvalidReplyError | None = None
        self._arrived = 0
        self._closing = False
        self._client = AsyncModbusTcpClient(
            host, port=port, reconnect_delay=0, retries=0,
            trace_packet=self._on_packet, trace_pdu=self._on_pdu, trace_connect=self._on_connect,
        )  # fmt: skip
        for reply in _REPLIES:
            self._client.register(reply)

    async def open(self, timeout: float) -> None:
        """Connect within ``timeout`` machine seconds; raises DisconnectedError that says why not."""
        context = self._client.ctx
        try:
            async with asyncio.timeout(timeout):
                context.transport, _ = await context.call_create()
        except (TimeoutError, OSError) as error:
            raise DisconnectedError(_why(self._where, error, timeout)) from error

    async def read(self, unit: int, block: Block, timeout: float) -> Reply:
        """Ask once; see `wire.Wire.read`."""
        if self._invalid is not None:
            raise self._invalid
        if self.lost is not None:
            raise DisconnectedError(self.lost)
        self._client.ctx.comm_params.timeout_connect = timeout  # pymodbus's name for the time that an answer may take
        asked = self._now()
        try:
            reply = await _cancellable(self._call(unit, block))
        except ModbusIOException as error:
            raise SilentError(str(error)) from error
        except ConnectionException as error:
            raise DisconnectedError(self.lost or f"{self._where}: the connection is closed") from error
        finally:
            self._request = None
        if isinstance(reply, ExceptionResponse):
            raise RefusedError(reply.exception_code, self._arrived)
        if not isinstance(reply, _RawReply) or reply.function_code != FUNCTION[block.area]:
            raise InvalidReplyError(f"a {type(reply).__name__} instead of an answer to function {FUNCTION[block.area]}")
        return Reply(reply.raw, self._arrived, asked)

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
            guard.check_function(pdu.function_code)
        return pdu

    def _on_packet(self, sending: bool, data: bytes) -> bytes:
        """Let nothing out that writes, and nothing in that is not the answer. What is held back here pymodbus keeps and shows again."""
        if sending:
            guard.check_frame(data)
            self._request = frames.sent(data)
            return data
        if self._invalid is not None or self._closing:
            return b""
        try:
            whole = frames.complete(data, self._request)
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
        self.lost = f"{self._where} closed the connection; many devices allow only a few connections, is another master connected?"
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


def _why(where: str, error: OSError | TimeoutError, timeout: float) -> str:
    """Return in words for people why no connection came up, and what to look at."""
    if isinstance(error, socket.gaierror):
        return f"{where}: the name is not known; write the IP address, or look at the gateway's DNS"
    if isinstance(error, TimeoutError):
        return f"{where} does not answer within {timeout:g} s; is the device on, the address right, a firewall between?"
    if f"[Errno {errno.ECONNREFUSED}]" in str(
        error
    ):  # also inside asyncio's "Multiple exceptions", for a name with several addresses
        return f"{where} refuses the connection; is Modbus TCP switched on there, is the port right, is another master connected?"
    return f"{where} cannot be reached ({error.strerror or error}); look at cable, address and route"
