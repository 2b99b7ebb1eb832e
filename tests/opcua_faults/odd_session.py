"""Connections and sessions of the odd server: framing, the secure channel without security, PublishRequests that wait (OPC 10000-6, 6 and 7)."""

from __future__ import annotations

import asyncio
import struct
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

from odd_wire import Cursor, octets, text, u32

if TYPE_CHECKING:
    from odd_server import OddServer

CHUNK = 65_535
NO_SECURITY = "http://opcfoundation.org/UA/SecurityPolicy#None"


class Publish(NamedTuple):
    """A PublishRequest that waits for something to say."""

    handle: int
    results: tuple[int, ...]
    answer: Callable[[bytes], None]


class Session:
    """A session; it outlives its connection until nobody came back for the timeout."""

    def __init__(self, token: int, timeout: float, now: float) -> None:
        self.token = token
        self.timeout = timeout
        self.heard = now
        self.waiting: deque[Publish] = deque()


class Connection(asyncio.Protocol):
    """One TCP connection with its channel."""

    def __init__(self, server: OddServer) -> None:
        self._server = server
        self._transport: asyncio.Transport | None = None
        self._pending = bytearray()
        self._parts = b""
        self._sequence = 0
        self._most = 0
        self.channel = 0
        self.token = 1
        self.session: Session | None = None
        self.busy = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport  # type: ignore[assignment]  # a TCP transport
        self._server.connections.add(self)

    def connection_lost(self, _: Exception | None) -> None:
        self._transport = None
        self._server.connections.discard(self)
        if self.session is not None:
            self.session.waiting.clear()

    def data_received(self, data: bytes) -> None:
        self._pending += data
        while len(self._pending) >= 8:
            (size,) = struct.unpack_from("<I", self._pending, 4)
            if len(self._pending) < size:
                return
            chunk = bytes(self._pending[:size])
            del self._pending[:size]
            self._chunk(chunk)

    def _chunk(self, chunk: bytes) -> None:
        kind = chunk[:3]
        if kind == b"HEL":
            self._hello(chunk)
        elif kind == b"OPN":
            cursor = Cursor(chunk, 12)
            cursor.octets(), cursor.octets(), cursor.octets(), cursor.u32()
            request = cursor.u32()
            self._later(lambda: self._server.open_channel(self, cursor, request))
        elif kind == b"CLO":
            self.abort()
        else:
            self._parts += chunk[24:]
            if chunk[3:4] == b"F":
                (request,) = struct.unpack_from("<I", chunk, 20)
                body, self._parts = self._parts, b""
                self._server.request(self, request, body)

    def _hello(self, chunk: bytes) -> None:
        self._most = struct.unpack_from("<5I", chunk, 8)[3]
        answer = struct.pack("<4s6I", b"ACKF", 28, 0, CHUNK, CHUNK, 0, 0)
        self._later(lambda: self._write(answer))

    def _later(self, do: Callable[[], object]) -> None:
        """Do it after the delay that the server suffers from; with equal delays in the order of arrival."""
        if self._server.faults.delay:
            asyncio.get_running_loop().call_later(self._server.faults.delay, do)
        else:
            do()

    def answerer(self, request: int) -> Callable[[bytes], None]:
        """Return what sends the response of a request."""
        return lambda body: self._later(lambda: self.send(request, body))

    def in_turn(self, request: int) -> Callable[[bytes], None]:
        """Return what sends the response of a request with operations, of which some servers take one at a time."""
        self.busy += 1

        def send(body: bytes) -> None:
            self.busy -= 1
            self.send(request, body)

        return lambda body: self._later(lambda: send(body))

    @property
    def fits(self) -> int:
        """The largest response that the client takes, 0 for any."""
        return self._most

    def opened(self, request: int, body: bytes) -> None:
        """Send the response of an OpenSecureChannelRequest."""
        self._sequence += 1
        head = u32(self.channel) + text(NO_SECURITY) + octets(None) + octets(None) + u32(self._sequence, request)
        self._write(b"OPNF" + u32(8 + len(head) + len(body)) + head + body)

    def send(self, request: int, body: bytes) -> None:
        """Send a response, in as many chunks as it needs."""
        room = CHUNK - 24
        out = bytearray()
        for at in range(0, len(body), room):
            part = body[at : at + room]
            self._sequence += 1
            last = at + room >= len(body)
            out += b"MSGF" if last else b"MSGC"
            out += u32(24 + len(part), self.channel, self.token, self._sequence, request) + part
        self._write(bytes(out))

    def refuse(self, code: int) -> None:
        """Send an error message and close, as a server does that knows the channel no more."""
        reason = octets(None)
        self._write(b"ERRF" + u32(12 + len(reason), code) + reason)
        if self._transport is not None:
            self._transport.close()

    def _write(self, data: bytes) -> None:
        if self._transport is not None:
            self._transport.write(data)

    def abort(self) -> None:
        """Cut the connection."""
        if self._transport is not None:
            self._transport.abort()
