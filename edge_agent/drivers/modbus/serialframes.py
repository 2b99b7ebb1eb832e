"""Is this the answer to that request? The whole check of an RTU or ASCII reply, before anybody decodes it (pure).

Modbus over Serial Line V1.02, 2.5.1 (RTU) and 2.5.2 (ASCII). These frames have no transaction number: an answer is believed when unit, function,
byte count, length and checksum are those of the one outstanding request, and `careful` sees to it that no late one can pass for it.
"""

from __future__ import annotations

import struct
from binascii import unhexlify

from edge_agent.drivers.modbus.checksum import crc, lrc
from edge_agent.drivers.modbus.frames import InvalidReplyError, Request, data_bytes

_EXCEPTION = 0x80
_EXCEPTION_LENGTH = 3


def rtu_sent(frame: bytes) -> Request:
    """Return what an outgoing RTU read request asks for."""
    return _asked(frame[:-2])


def ascii_sent(frame: bytes) -> Request:
    """Return what an outgoing ASCII read request asks for."""
    return _asked(unhexlify(frame[1:-4]))


def _asked(body: bytes) -> Request:
    unit, function, _, count = struct.unpack(">BBHH", body)
    return Request(0, unit, function, data_bytes(function, count))


def rtu_complete(data: bytes, request: Request | None) -> bool:
    """Whether ``data``, all that was received since the request, is its whole answer; False = not yet.

    Raises InvalidReplyError as soon as it cannot become that any more.
    """
    length = _length(data, data, request)
    if length is None or not _whole(data, length + 2):
        return False
    if crc(data[:-2]) != data[-2:]:
        raise InvalidReplyError(
            f"CRC {data[-2:].hex(' ')} instead of {crc(data[:-2]).hex(' ')}; look at wiring, termination and baud rate"
        )
    return True


def ascii_complete(data: bytes, request: Request | None) -> bool:
    """Like `rtu_complete`, in ASCII."""
    if data[:1] != b":":
        raise InvalidReplyError(f"it begins with {data[:8].hex(' ')} instead of a colon")
    head = data[1:7]
    length = _length(_bytes(head[: len(head) & ~1]), data, request)  # half a byte says nothing yet
    if length is None or not _whole(data, 2 * length + 5):  # colon, two characters for each byte and the LRC, CR, LF
        return False
    body = _bytes(data[1:-2])
    if data[-2:] != b"\r\n":
        raise InvalidReplyError(f"it ends with {data[-2:].hex(' ')} instead of 0d 0a")
    if lrc(body[:-1]) != body[-1]:
        raise InvalidReplyError(f"LRC {body[-1]:02x} instead of {lrc(body[:-1]):02x}; look at wiring, termination and baud rate")
    return True


def _bytes(digits: bytes) -> bytes:
    try:
        return unhexlify(digits)
    except ValueError:
        raise InvalidReplyError(f"{digits[:20]!r} is not hexadecimal") from None


def _length(head: bytes, data: bytes, request: Request | None) -> int | None:
    """Return how many bytes from the unit to the last datum the answer has that begins with ``head``; None when too little of it is there."""
    if request is None:
        raise InvalidReplyError(f"{len(data)} bytes came without a request")
    if head:
        _same("unit", head[0], request.unit)
    if len(head) < 2:
        return None
    _same("function code", head[1] & ~_EXCEPTION, request.function)
    if head[1] & _EXCEPTION:
        return _EXCEPTION_LENGTH
    if len(head) < 3:
        return None
    _same("byte count", head[2], request.size)
    return 3 + request.size


def _whole(data: bytes, length: int) -> bool:
    if len(data) > length:
        raise InvalidReplyError(f"{len(data) - length} more bytes than the answer has")
    return len(data) == length


def _same(what: str, got: int, wanted: int) -> None:
    if got != wanted:
        raise InvalidReplyError(f"{what} {got} instead of {wanted}")
