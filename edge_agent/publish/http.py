"""The two HTTP/1.1 exchanges that can stand before MQTT: a tunnel through a proxy, and the change to WebSocket. RFC 9110, 9112."""

from __future__ import annotations

import base64
import re
import socket
import time

import msgspec

_LONGEST = 16_384
"""Bytes of an answer's head; nobody needs more to say yes."""

_STATUS = re.compile(rb"^HTTP/1\.[01] (\d{3})(?: ([^\r\n]*))?$")


class HttpError(OSError):
    """The answer is no HTTP, or does not end."""


class Head(msgspec.Struct, frozen=True):
    """Status line and header fields of an answer; names in lower case, repeated fields joined by commas."""

    status: int
    reason: str
    fields: dict[str, str]


def parse_head(raw: bytes) -> Head:
    """Return the head of an answer, its final empty line included or not; raises HttpError for anything that is no HTTP/1."""
    first, *rest = raw.rstrip(b"\r\n").split(b"\n")
    match = _STATUS.match(first.rstrip(b"\r"))
    if match is None:
        raise HttpError("does not speak HTTP there")
    fields: dict[str, str] = {}
    for line in rest:
        name, colon, value = line.rstrip(b"\r").partition(b":")
        if not colon or not name or name != name.strip():
            raise HttpError("answers with a broken HTTP header")
        key, text = name.decode("latin-1").lower(), value.strip().decode("latin-1")
        fields[key] = f"{fields[key]}, {text}" if key in fields else text
    return Head(int(match[1]), (match[2] or b"").decode("latin-1"), fields)


def exchange(sock: socket.socket, request: bytes, deadline: float) -> Head:
    """Send ``request`` and return the answer's head, reading not a byte more. ``deadline`` in s of ``time.monotonic``.

    Raises HttpError, or OSError as the socket does (TimeoutError after the deadline).
    """
    sock.settimeout(left(deadline))
    sock.sendall(request)
    head = bytearray()
    while not head.endswith((b"\r\n\r\n", b"\n\n")):
        sock.settimeout(left(deadline))  # per byte: a peer that drips cannot hold us longer than the whole time
        byte = sock.recv(1)
        if not byte:
            raise HttpError("hung up instead of answering")
        head += byte
        if len(head) > _LONGEST:
            raise HttpError("answers without end")
        if len(head) == 5 and head != b"HTTP/":
            raise HttpError("does not speak HTTP there")
    return parse_head(bytes(head))


def left(deadline: float) -> float:
    """Return how many seconds are left until ``deadline``; raises TimeoutError when none is."""
    if (seconds := deadline - time.monotonic()) <= 0:
        raise TimeoutError
    return seconds


def connect_request(target: str, credentials: tuple[str, str] | None) -> bytes:
    """Return a CONNECT to ``target`` (host:port), with Basic credentials when given (RFC 7617). RFC 9110, 9.3.6."""
    lines = [f"CONNECT {target} HTTP/1.1", f"Host: {target}"]
    if credentials is not None:
        lines.append(f"Proxy-Authorization: Basic {base64.b64encode(':'.join(credentials).encode()).decode()}")
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


def words(head: Head) -> str:
    """Return the status as a person reads it: ``407 Proxy Authentication Required``."""
    reason = "".join(character for character in head.reason if character.isprintable())[:80]
    return f"{head.status} {reason}".rstrip()
