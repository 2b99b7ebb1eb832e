"""Who a device says that it is: Read Device Identification, function 43 with MEI type 14 (V1.1b3, 6.21), over Modbus TCP (pure).

The answer has no length that the request tells, so it is judged by its own parts: each object must end where the next begins, and the
last with the frame.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable

from edge_agent.drivers.modbus.frames import InvalidReplyError, Request

FUNCTION = 0x2B
MEI = 0x0E
_HEADER = struct.Struct(">HHHBB")
_EXCEPTION = 0x80
_LONGEST = 254
_BODY = 6
"""Bytes before the first object: MEI type, category, conformity, more follows, next object, number of objects."""


def category(objects: Iterable[int]) -> int:
    """Return the category that holds ``objects``: 1 basic (0 to 2), 2 regular (to 0x7F), 3 extended. Devices that offer one offer those below."""
    highest = max(objects)
    return 1 if highest <= 2 else 2 if highest < 0x80 else 3


def sent(frame: bytes) -> Request:
    """Return what an outgoing request asks for; its size is not known."""
    return Request(int.from_bytes(frame[:2], "big"), frame[6], FUNCTION, -1)


def complete(data: bytes, request: Request) -> bool:
    """Whether ``data`` is the whole answer; False = not yet. Raises InvalidReplyError as soon as it cannot become that any more."""
    if len(data) < _HEADER.size:
        return False
    header: tuple[int, int, int, int, int] = _HEADER.unpack_from(data)
    transaction, protocol, length, unit, function = header
    if (transaction, protocol, unit) != (request.transaction, 0, request.unit) or function & ~_EXCEPTION != FUNCTION:
        raise InvalidReplyError(f"it begins with {data[:8].hex(' ')}, which is no answer to a request for the identification")
    right = length == 3 if function & _EXCEPTION else 2 + _BODY <= length <= _LONGEST
    if not right or len(data) > 6 + length:
        raise InvalidReplyError(f"length {length} with {len(data)} bytes")
    return len(data) == 6 + length


def objects(body: bytes) -> tuple[dict[int, str], int | None]:
    """Return the objects by number in what follows the function code, and the number to go on with (None: that was all)."""
    if len(body) < _BODY or body[0] != MEI:
        raise InvalidReplyError(f"an identification that begins with {body[:_BODY].hex(' ')}")
    more, following, count = body[3:6]
    found: dict[int, str] = {}
    at = _BODY
    for _ in range(count):
        end = at + 2 + body[at + 1] if at + 2 <= len(body) else len(body) + 1
        if end > len(body):
            raise InvalidReplyError("an identification object that ends behind the answer")
        found[body[at]] = body[at + 2 : end].decode("utf-8", "replace").rstrip("\0 ")
        at = end
    if at != len(body):
        raise InvalidReplyError(f"{len(body) - at} more bytes than the identification has")
    return found, following if more == 0xFF else None
