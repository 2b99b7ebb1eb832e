"""The three ways in which Modbus frames stand on the wire, written from the standards for the misbehaving device.

MBAP: MODBUS Messaging on TCP/IP V1.0b, 3.1. RTU and ASCII: MODBUS over Serial Line V1.02, 2.5.1 and 2.5.2. Each takes requests out of what
has arrived and wraps answers; what is wrong on purpose is asked for by name.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Protocol

_MBAP = struct.Struct(">HHHB")
_LONGEST_PDU = 253
_RTU_LENGTH = {1: 8, 2: 8, 3: 8, 4: 8, 5: 8, 6: 8, 7: 4, 22: 10, 43: 7}
_RTU_COUNTED = {15: 6, 16: 6, 23: 10}
"""Position of the byte count of requests that have one."""


class NoModbusError(Exception):
    """What arrived is no request; the connection has to be closed."""


@dataclass(frozen=True)
class Request:
    """One request as it arrived: ``at`` is the clock of the device's ledger (ns)."""

    unit: int
    pdu: bytes
    transaction: int = 0
    at: int = 0

    @property
    def function(self) -> int:
        """The function code."""
        return self.pdu[0]


class Framing(Protocol):
    """One way to stand on the wire."""

    name: str

    def take(self, buffer: bytearray) -> Request | None:
        """Take the oldest whole request out of ``buffer``; None when there is none yet. Raises NoModbusError."""
        ...

    def wrap(self, unit: int, pdu: bytes, transaction: int = 0, /, *, damaged: bool = False) -> bytes:
        """Return the frame; ``damaged``: with a wrong check (MBAP has none: a foreign protocol id)."""
        ...


class Mbap:
    """Modbus TCP."""

    name = "mbap"

    def take(self, buffer: bytearray) -> Request | None:
        """See `Framing`."""
        if len(buffer) < _MBAP.size:
            return None
        transaction, protocol, length, unit = _MBAP.unpack_from(buffer)
        if protocol != 0 or not 2 <= length <= _LONGEST_PDU + 1:
            raise NoModbusError(f"protocol {protocol}, length {length}")
        end = 6 + length
        if len(buffer) < end:
            return None
        pdu = bytes(buffer[7:end])
        del buffer[:end]
        return Request(unit, pdu, transaction)

    def wrap(self, unit: int, pdu: bytes, transaction: int = 0, /, *, damaged: bool = False) -> bytes:
        """See `Framing`."""
        return header(transaction, unit, len(pdu) + 1, protocol=0x1234 if damaged else 0) + pdu


class Rtu:
    """Serial line, binary; also inside TCP, as simple converters do it."""

    name = "rtu"

    def take(self, buffer: bytearray) -> Request | None:
        """See `Framing`. Noise is skipped byte by byte: a request is what has a right checksum."""
        while len(buffer) >= 4:
            end = _rtu_length(buffer)
            if len(buffer) < end:
                return None
            frame = bytes(buffer[:end])
            if crc(frame[:-2]) == frame[-2:]:
                del buffer[:end]
                return Request(frame[0], frame[1:-2])
            del buffer[0]
        return None

    def wrap(self, unit: int, pdu: bytes, _transaction: int = 0, /, *, damaged: bool = False) -> bytes:
        """See `Framing`."""
        body = bytes([unit]) + pdu
        check = crc(body)
        return body + (bytes([check[0] ^ 0x40, check[1]]) if damaged else check)


class Ascii:
    """Serial line, in characters."""

    name = "ascii"

    def take(self, buffer: bytearray) -> Request | None:
        """See `Framing`. What is before a colon is noise, a line with a wrong checksum too."""
        while (end := buffer.find(b"\r\n")) >= 0:
            line = bytes(buffer[:end])
            del buffer[: end + 2]
            try:
                body = bytes.fromhex(line[line.rindex(b":") + 1 :].decode("ascii"))
            except ValueError:
                continue
            if len(body) >= 3 and lrc(body[:-1]) == body[-1]:
                return Request(body[0], body[1:-1])
        return None

    def wrap(self, unit: int, pdu: bytes, _transaction: int = 0, /, *, damaged: bool = False) -> bytes:
        """See `Framing`."""
        body = bytes([unit]) + pdu
        check = lrc(body) ^ 0x04 if damaged else lrc(body)
        return b":" + (body + bytes([check])).hex().upper().encode() + b"\r\n"


FRAMINGS: dict[str, Framing] = {framing.name: framing for framing in (Mbap(), Rtu(), Ascii())}


def header(transaction: int, unit: int, length: int, *, protocol: int = 0) -> bytes:
    """Return an MBAP header that says what it is told to say."""
    return _MBAP.pack(transaction, protocol, length, unit)


def crc(body: bytes) -> bytes:
    """Return the CRC-16 of an RTU frame, low byte first (V1.02, 6.2.2)."""
    register = 0xFFFF
    for byte in body:
        register ^= byte
        for _ in range(8):
            register = register >> 1 ^ (0xA001 if register & 1 else 0)
    return struct.pack("<H", register)


def lrc(body: bytes) -> int:
    """Return the LRC of an ASCII frame (V1.02, 6.2.1)."""
    return -sum(body) & 0xFF


def _rtu_length(buffer: bytearray) -> int:
    function = buffer[1]
    if function in _RTU_COUNTED:
        at = _RTU_COUNTED[function]
        return at + 3 + buffer[at] if len(buffer) > at else at + 3
    return _RTU_LENGTH.get(function, len(buffer))
