"""Is this the answer to that request? The whole check of a Modbus TCP reply, before anybody decodes it (pure).

A reply is believed when transaction, protocol, length, unit, function and byte count are exactly those of the one outstanding
request (MBAP header: Modbus Messaging on TCP/IP V1.0b, 3.1.3; PDU: V1.1b3, 6 and 7). Fields are judged as soon as their bytes are there, so that
a hopeless frame does not have to run into the timeout. Why so strict: clients that let something pass here store the value of one
register under another (pymodbus #2844: transaction id 0 passes for any request).
"""

from __future__ import annotations

import struct
from typing import NamedTuple

_HEADER = struct.Struct(">HHHBB")
_EXCEPTION = 0x80
_EXCEPTION_LENGTH = 3


class InvalidReplyError(Exception):
    """What came is no answer to the request; nothing after it on this connection can be trusted."""


class Request(NamedTuple):
    """The outstanding read request; ``size`` is the number of data bytes that its answer has."""

    transaction: int
    unit: int
    function: int
    size: int


def data_bytes(function: int, count: int) -> int:
    """Return the data bytes that answer a read of ``count`` addresses: bits in whole bytes, registers two bytes each."""
    return (count + 7) // 8 if function in {1, 2} else 2 * count


def sent(frame: bytes) -> Request:
    """Return what an outgoing read request asks for."""
    transaction, _, _, unit, function, _, count = struct.unpack(">HHHBBHH", frame)
    return Request(transaction, unit, function, data_bytes(function, count))


def complete(data: bytes, request: Request | None) -> bool:
    """Whether ``data``, all that was received since the request, is its whole answer; False = not yet.

    Raises InvalidReplyError as soon as it cannot become that any more.
    """
    if request is None:
        raise InvalidReplyError(f"{len(data)} bytes came without a request")
    if len(data) < _HEADER.size:
        _prefix(data, request)
        return False
    header: tuple[int, int, int, int, int] = _HEADER.unpack_from(data)
    transaction, protocol, length, unit, function = header
    _same("transaction", transaction, request.transaction)
    _same("protocol", protocol, 0)
    _same("unit", unit, request.unit)
    _same("function code", function & ~_EXCEPTION, request.function)
    _same("length", length, _EXCEPTION_LENGTH if function & _EXCEPTION else 3 + request.size)
    if not function & _EXCEPTION and len(data) > _HEADER.size:
        _same("byte count", data[_HEADER.size], request.size)
    if len(data) > 6 + length:
        raise InvalidReplyError(f"{len(data) - 6 - length} more bytes than the answer has")
    return len(data) == 6 + length


def _prefix(data: bytes, request: Request) -> None:
    """Judge a header that is still incomplete: there are two right ones, of an answer and of an exception."""
    right = [struct.pack(">HHHB", request.transaction, 0, length, request.unit) for length in (3 + request.size, _EXCEPTION_LENGTH)]
    if not any(header.startswith(data) for header in right):
        raise InvalidReplyError(f"it begins with {data.hex(' ')} instead of {right[0][: len(data)].hex(' ')}")


def _same(what: str, got: int, wanted: int) -> None:
    if got != wanted:
        raise InvalidReplyError(f"{what} {got} instead of {wanted}")
