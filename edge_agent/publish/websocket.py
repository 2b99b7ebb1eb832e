"""MQTT in WebSocket frames (RFC 6455; MQTT 5, 6.0), as a socket that an MQTT client can use.

The MQTT library has a transport of its own, which drops a packet when the socket is full in the middle of a frame, answers a ping
without the mask that 5.1 asks for, and masks byte by byte; so the frames are made here.
"""

from __future__ import annotations

import base64
import hashlib
import os
import socket
import ssl
import struct

from edge_agent.publish.http import Head, exchange, words

_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"  # 1.3
_CONTINUATION, _BINARY, _CLOSE, _PING, _PONG = 0, 2, 8, 9, 10
_LARGEST_CONTROL = 125  # 5.5
_CHUNK = 65_536


class WebSocketError(Exception):
    """The peer broke RFC 6455."""


class HandshakeError(OSError):
    """The peer does not change to WebSocket; the text says why."""


def upgrade_request(host: str, path: str, key: str) -> bytes:
    """Return the client's opening handshake (4.1) asking for the subprotocol ``mqtt``; ``host`` with its port."""
    lines = (
        f"GET {path} HTTP/1.1",
        f"Host: {host}",
        "Upgrade: websocket",
        "Connection: Upgrade",
        f"Sec-WebSocket-Key: {key}",
        "Sec-WebSocket-Version: 13",
        "Sec-WebSocket-Protocol: mqtt",
    )
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


def check_upgrade(head: Head, key: str) -> None:
    """Raise HandshakeError unless ``head`` is the right answer to ``key`` (4.1). A missing subprotocol is forgiven, another is not."""
    if head.status != 101:
        raise HandshakeError(f"does not change to WebSocket: {words(head)}; check the path of the address")
    accept = base64.b64encode(hashlib.sha1(key.encode() + _GUID).digest()).decode()  # noqa: S324 - what 1.3 asks for
    if head.fields.get("upgrade", "").lower() != "websocket" or head.fields.get("sec-websocket-accept") != accept:
        raise HandshakeError("does not change to WebSocket: the answer does not belong to our request")
    if head.fields.get("sec-websocket-protocol", "mqtt").lower() != "mqtt":
        raise HandshakeError("speaks WebSocket there, but not MQTT")


def frame(opcode: int, payload: bytes, mask: bytes) -> bytes:
    """Return one final, masked frame (5.2); ``mask`` is four unpredictable bytes."""
    size = len(payload)
    if size <= _LARGEST_CONTROL:
        head = struct.pack("!BB", 0x80 | opcode, 0x80 | size)
    elif size < 65_536:
        head = struct.pack("!BBH", 0x80 | opcode, 0x80 | 126, size)
    else:
        head = struct.pack("!BBQ", 0x80 | opcode, 0x80 | 127, size)
    return head + mask + masked(payload, mask)


def masked(payload: bytes, mask: bytes) -> bytes:
    """Return ``payload`` with the mask over it (5.3), all bytes at once."""
    size = len(payload)
    stripe = (mask * (size // 4 + 1))[:size]
    return (int.from_bytes(payload, "little") ^ int.from_bytes(stripe, "little")).to_bytes(size, "little")


class Unframer:
    """Takes bytes from the server in and gives the MQTT bytes out, frame borders anywhere. Pure."""

    def __init__(self) -> None:
        self.answers: list[tuple[int, bytes]] = []
        self.closed = False
        self._rest = bytearray()
        self._opcode = -1
        self._left = 0

    def feed(self, data: bytes) -> bytes:
        """Return the MQTT bytes in ``data``; control frames leave what must be answered in ``answers``.

        Raises WebSocketError for what a server may not send (5.1, 5.2, 5.5); a frame need not be whole.
        """
        self._rest += data
        out = bytearray()
        while not self.closed:
            if self._left:
                part = self._rest[: self._left]
                del self._rest[: len(part)]
                self._left -= len(part)
                out += part
                if self._left:
                    break
            elif not self._head():
                break
        return bytes(out)

    def _head(self) -> bool:
        """Take the next frame's head, and a control frame whole; False when more bytes are needed."""
        rest = self._rest
        if len(rest) < 2:
            return False
        opcode, size, start = rest[0] & 15, rest[1] & 127, 2
        if rest[0] & 0x70 or rest[1] & 0x80:
            raise WebSocketError("a frame with reserved bits or a mask")
        if size > _LARGEST_CONTROL:
            start = 4 if size == 126 else 10
            if len(rest) < start:
                return False
            size = int.from_bytes(rest[2:start], "big")
        if opcode in {_CONTINUATION, _BINARY}:
            del rest[:start]
            self._left = size
            return True
        if opcode not in {_CLOSE, _PING, _PONG} or size > _LARGEST_CONTROL or not rest[0] & 0x80:
            raise WebSocketError(f"a frame that MQTT does not use (opcode {opcode})")
        if len(rest) < start + size:
            return False
        self._control(opcode, bytes(rest[start : start + size]))
        del rest[: start + size]
        return True

    def _control(self, opcode: int, payload: bytes) -> None:
        if opcode == _PING:
            self.answers = [(_PONG, payload)]  # 5.5.3: only the latest need be answered
        elif opcode == _CLOSE:
            self.answers = [(_CLOSE, payload[:2])]
            self.closed = True


class WebSocket:
    """The part of a socket that an MQTT client uses, over ``raw`` after the handshake. Not blocking, once told so."""

    def __init__(self, raw: socket.socket) -> None:
        self.raw = raw
        self._unframer = Unframer()
        self._inbox = b""
        self._outbox = b""

    def recv(self, size: int) -> bytes:
        """Return up to ``size`` MQTT bytes, b"" at the end. Raises BlockingIOError while none is there, WebSocketError."""
        while not self._inbox:
            if self._unframer.closed or not (data := self.raw.recv(_CHUNK)):
                return b""
            self._inbox = self._unframer.feed(data)
            self._answer()
        out, self._inbox = self._inbox[:size], self._inbox[size:]
        return out

    def send(self, data: bytes) -> int:
        """Take all of ``data`` as one frame. Raises BlockingIOError, taking nothing, while the frame before is not out."""
        self.flush()
        if self._outbox:
            raise BlockingIOError
        self._outbox = frame(_BINARY, bytes(data), os.urandom(4))
        self.flush()
        return len(data)

    def flush(self) -> None:
        """Write what waits, as far as the socket takes it. Raises OSError when the connection is gone."""
        while self._outbox:
            try:
                sent = self.raw.send(self._outbox)
            except (BlockingIOError, ssl.SSLWantWriteError, ssl.SSLWantReadError):
                return
            self._outbox = self._outbox[sent:]

    def unsent(self) -> bool:
        """Whether a frame waits for the socket."""
        return bool(self._outbox)

    def pending(self) -> int:
        """Return how many bytes are here of which the kernel knows nothing any more."""
        return len(self._inbox) + (self.raw.pending() if isinstance(self.raw, ssl.SSLSocket) else 0)

    def fileno(self) -> int:
        """Return the descriptor to wait on."""
        return self.raw.fileno()

    def setblocking(self, flag: bool) -> None:
        """Change the mode of the socket below."""
        self.raw.setblocking(flag)

    def close(self) -> None:
        """Close the socket below; MQTT has said goodbye already."""
        self.raw.close()

    def _answer(self) -> None:
        for opcode, payload in self._unframer.answers:
            self._outbox += frame(opcode, payload, os.urandom(4))
        self._unframer.answers = []
        self.flush()


def upgraded(sock: socket.socket, host: str, path: str, deadline: float) -> WebSocket:
    """Change to WebSocket on ``sock``. Raises HandshakeError, or OSError as `exchange` does."""
    key = base64.b64encode(os.urandom(16)).decode()
    check_upgrade(exchange(sock, upgrade_request(host, path, key), deadline), key)
    return WebSocket(sock)
