"""The read-only guard: no frame leaves whose function code is not one of the four that read.

Two places ask it, both before the socket: the request object on its way to the framer, and the finished bytes. There is no way
round it and no setting that opens it.
"""

from __future__ import annotations

import struct

READING = frozenset({1, 2, 3, 4})
"""Read Coils, Read Discrete Inputs, Read Holding Registers, Read Input Registers (V1.1b3, 6.1 to 6.4)."""

_REQUEST = struct.Struct(">HHHBBHH")


def check_function(code: int) -> None:
    """Raise PermissionError unless ``code`` only reads."""
    if code not in READING:
        raise PermissionError(f"Modbus function code {code} is blocked: this agent only reads (codes 1 to 4)")


def check_frame(frame: bytes) -> None:
    """Raise PermissionError unless ``frame`` is exactly one Modbus TCP read request.

    One request in one segment is also what a packet filter that looks at the first header of a segment relies on.
    """
    if len(frame) != _REQUEST.size:
        raise PermissionError(f"a frame of {len(frame)} bytes is blocked: a read request has {_REQUEST.size}")
    _, protocol, length, _, function, _, _ = _REQUEST.unpack(frame)
    if (protocol, length) != (0, 6):
        raise PermissionError("a frame with a foreign header is blocked: this agent only sends Modbus TCP read requests")
    check_function(function)
