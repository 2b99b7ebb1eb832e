"""The read-only guard: no frame leaves whose function code is not one of the four that read.

Two places ask it, both before the socket or the port: the request object on its way to the framer, and the finished bytes, in every framing.
There is no way round it. One more request passes, the question who a device is (function 43 with MEI type 14), and only while a device's
identity is checked by it; no setting opens anything that writes.
"""

from __future__ import annotations

import struct
from binascii import unhexlify
from typing import Final, Literal

from edge_agent.drivers.modbus.checksum import crc, lrc

READING = frozenset({1, 2, 3, 4})
"""Read Coils, Read Discrete Inputs, Read Holding Registers, Read Input Registers (V1.1b3, 6.1 to 6.4)."""

_HEADER: Final = struct.Struct(">HHH")
_PDU: Final = 5
"""Bytes of a read request: function code, address, count."""


_IDENTIFY: Final = frozenset(bytes((0x2B, 0x0E, category)) for category in (1, 2, 3))
"""Read Device Identification, stream access (V1.1b3, 6.21). Function 43 alone is not enough: its MEI type 13 is CANopen, which can write."""


def check_function(code: int, *, identify: bool = False) -> None:
    """Raise PermissionError unless ``code`` only reads; ``identify``: a device is being asked who it is."""
    if code not in READING and not (identify and code == 0x2B):
        raise PermissionError(f"Modbus function code {code} is blocked: this agent only reads (codes 1 to 4)")


def check_frame(frame: bytes, framing: Literal["tcp", "rtu", "ascii"] = "tcp", *, identify: bool = False) -> None:
    """Raise PermissionError unless ``frame`` is exactly one read request in this framing.

    One request in one segment is also what a packet filter that looks at the first header of a segment relies on.
    """
    check_pdu(_UNWRAP[framing](frame), identify=identify)


def check_pdu(pdu: bytes, *, identify: bool = False) -> None:
    """Raise PermissionError unless ``pdu`` is a read request, whole and alone; with ``identify`` the question who the device is, too."""
    if identify and len(pdu) == 4 and pdu[:3] in _IDENTIFY:
        return
    check_function(pdu[0])
    if len(pdu) != _PDU:
        raise PermissionError(f"a request of {len(pdu)} bytes is blocked: a read request has {_PDU}")


def _tcp(frame: bytes) -> bytes:
    if len(frame) < 8:
        raise PermissionError(f"a frame of {len(frame)} bytes is blocked: it holds no request")
    _, protocol, length = _HEADER.unpack_from(frame)
    if (protocol, length) != (0, len(frame) - 6):
        raise PermissionError("a frame with a foreign header is blocked: this agent only sends Modbus TCP read requests")
    return frame[7:]


def _rtu(frame: bytes) -> bytes:
    if len(frame) < 4 or crc(frame[:-2]) != frame[-2:]:
        raise PermissionError(f"{len(frame)} bytes that are no RTU frame are blocked")
    return frame[1:-2]


def _ascii(frame: bytes) -> bytes:
    try:
        data = unhexlify(frame[1:-2])
    except ValueError:
        data = b""
    if frame[:1] != b":" or frame[-2:] != b"\r\n" or len(data) < 3 or lrc(data[:-1]) != data[-1]:
        raise PermissionError(f"{len(frame)} characters that are no ASCII frame are blocked")
    return data[1:-1]


_UNWRAP: Final = {"tcp": _tcp, "rtu": _rtu, "ascii": _ascii}
