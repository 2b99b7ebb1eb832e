"""OPC UA Binary written and read by hand (OPC 10000-6, 5.2): the odd server shares no decoder with the driver it tests."""

from __future__ import annotations

import struct
import time
from collections.abc import Iterable
from typing import Any, NamedTuple

EPOCH = 116_444_736_000_000_000
Key = tuple[int, int | str | bytes]
"""A node: namespace index and identifier."""

_U8, _U16, _U32, _I32, _I64, _F64 = (struct.Struct(code) for code in ("<B", "<H", "<I", "<i", "<q", "<d"))
_SCALARS = {1: "?", 2: "b", 3: "B", 4: "h", 5: "H", 6: "i", 7: "I", 8: "q", 9: "Q", 10: "f", 11: "d", 13: "q", 19: "I"}
NO_OBJECT = b"\x00\x00\x00"
"""An ExtensionObject that is not there."""


def ticks(ns: int) -> int:
    """Return the DateTime of a UTC time in ns."""
    return ns // 100 + EPOCH


def now() -> int:
    """Return the DateTime of now."""
    return ticks(time.time_ns())


class Cursor:
    """Reads a message from front to back."""

    def __init__(self, data: bytes, pos: int = 0) -> None:
        self.data, self.pos = data, pos

    def _take(self, layout: struct.Struct) -> Any:
        (value,) = layout.unpack_from(self.data, self.pos)
        self.pos += layout.size
        return value

    def u8(self) -> int:
        return int(self._take(_U8))

    def u16(self) -> int:
        return int(self._take(_U16))

    def u32(self) -> int:
        return int(self._take(_U32))

    def i32(self) -> int:
        return int(self._take(_I32))

    def i64(self) -> int:
        return int(self._take(_I64))

    def f64(self) -> float:
        return float(self._take(_F64))

    def octets(self) -> bytes | None:
        size = self.i32()
        if size < 0:
            return None
        self.pos += size
        return self.data[self.pos - size : self.pos]

    def text(self) -> str | None:
        raw = self.octets()
        return None if raw is None else raw.decode()

    def node(self) -> Key:
        kind = self.u8()
        if kind == 0:
            return 0, self.u8()
        if kind == 1:
            return self.u8(), self.u16()
        space = self.u16()
        if kind == 2:
            return space, self.u32()
        if kind == 3:
            return space, self.text() or ""
        if kind == 4:
            self.pos += 16
            return space, self.data[self.pos - 16 : self.pos]
        return space, self.octets() or b""

    def extension(self) -> tuple[Key, bytes | None]:
        key, encoding = self.node(), self.u8()
        return key, self.octets() if encoding else None


def octets(raw: bytes | None) -> bytes:
    """Encode a ByteString."""
    return _I32.pack(-1) if raw is None else _I32.pack(len(raw)) + raw


def text(value: str | None) -> bytes:
    """Encode a String."""
    return octets(None if value is None else value.encode())


def node(key: Key) -> bytes:
    """Encode a NodeId."""
    space, identifier = key
    if isinstance(identifier, int):
        return b"\x02" + _U16.pack(space) + _U32.pack(identifier)
    if isinstance(identifier, str):
        return b"\x03" + _U16.pack(space) + text(identifier)
    return b"\x05" + _U16.pack(space) + octets(identifier)


def u32(*values: int) -> bytes:
    """Encode numbers one after another."""
    return struct.pack(f"<{len(values)}I", *values)


def array(parts: Iterable[bytes]) -> bytes:
    """Encode an array of encoded parts."""
    parts = list(parts)
    return u32(len(parts)) + b"".join(parts)


def variant(kind: int, value: Any) -> bytes:
    """Encode a Variant of a fixed-size type, a text or octets (12, 15); a list is an array."""
    if isinstance(value, list):
        if kind in _SCALARS:
            return bytes([kind | 0x80]) + struct.pack(f"<i{len(value)}{_SCALARS[kind]}", len(value), *value)
        return bytes([kind | 0x80]) + array(text(one) for one in value)
    if kind in _SCALARS:
        return bytes([kind]) + struct.pack(f"<{_SCALARS[kind]}", value)
    if kind == 0:
        return b"\x00"
    return bytes([kind]) + (octets(value) if isinstance(value, bytes) else text(value))


class Sample(NamedTuple):
    """What a variable has at one moment: an encoded Variant, a StatusCode, DateTimes (None: not sent)."""

    variant: bytes
    status: int = 0
    source: int | None = None
    server: int | None = None

    def encoded(self, status: int = 0) -> bytes:
        """Encode it as a DataValue; ``status`` adds bits."""
        status |= self.status
        mask = bool(self.variant) | bool(status) << 1 | (self.source is not None) << 2 | (self.server is not None) << 3
        out = bytes([mask]) + self.variant
        if status:
            out += u32(status)
        for time_ in (self.source, self.server):
            if time_ is not None:
                out += _I64.pack(time_)
        return out


def sample(kind: int, value: Any, status: int = 0) -> Sample:
    """Return an ordinary sample of now."""
    stamp = now()
    return Sample(variant(kind, value), status, stamp, stamp)


def response(number: int, handle: int, result: int = 0) -> bytes:
    """Encode the type id and the ResponseHeader of a response."""
    return b"\x01\x00" + _U16.pack(number) + _I64.pack(now()) + u32(handle, result) + b"\x00" + _I32.pack(-1) + NO_OBJECT


def notification(sequence: int, parts: Iterable[bytes], time_: int | None = None) -> bytes:
    """Encode a NotificationMessage; no parts make a keep-alive."""
    return u32(sequence) + _I64.pack(now() if time_ is None else time_) + array(parts)


def data_change(rows: Iterable[tuple[int, bytes]]) -> bytes:
    """Encode a DataChangeNotification of (client handle, DataValue) as an ExtensionObject."""
    body = array(u32(handle) + value for handle, value in rows) + _I32.pack(-1)
    return b"\x01\x00" + _U16.pack(811) + b"\x01" + octets(body)


def status_change(code: int) -> bytes:
    """Encode a StatusChangeNotification as an ExtensionObject."""
    return b"\x01\x00" + _U16.pack(820) + b"\x01" + octets(u32(code) + b"\x00")
