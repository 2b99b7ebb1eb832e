"""Decoding of the built-in types of OPC UA Binary (OPC 10000-6, 5.2.2), one value at a time, bounded in depth and size (pure).

Every length is checked against the bytes that are there before anything is allocated, so a hostile body costs no more
than its own size. Types that no tag can have become plain text or bytes; a structure keeps its body undecoded.
"""

from __future__ import annotations

import struct
import uuid
from collections.abc import Callable
from math import prod
from typing import Any, Final, NamedTuple

I32: Final = struct.Struct("<i")
U32: Final = struct.Struct("<I")
_U16: Final = struct.Struct("<H")
_I64: Final = struct.Struct("<q")
EPOCH: Final = 116_444_736_000_000_000
_DEPTH: Final = 100
_ARRAY: Final = 0x80
_MATRIX: Final = 0x40

# The fixed-size scalars, Boolean to Double (OPC 10000-6, table 1): type id -> struct format.
SCALARS: Final[dict[int, str]] = {
    1: "?", 2: "b", 3: "B", 4: "h", 5: "H", 6: "i", 7: "I", 8: "q", 9: "Q", 10: "f", 11: "d",
}  # fmt: skip
_SCALAR_STRUCTS: Final = {kind: struct.Struct(f"<{code}") for kind, code in SCALARS.items()}
NULL: Final = 0
STRING: Final = 12
DATETIME: Final = 13
LOCALIZED_TEXT: Final = 21
STRUCTURE: Final = 22


MOST_ELEMENTS: Final = 100_000
"""The longest array that is decoded: an element takes up to a hundred times its bytes in memory. A longer one is passed over."""


class TooLong(tuple[object, ...]):  # noqa: SLOT001 - a tuple takes no slots
    """Takes the place of an array that was passed over; ``size`` is how many elements it has."""

    size: int

    @classmethod
    def of(cls, size: int) -> TooLong:
        """Return the mark for an array of ``size`` elements."""
        mark = cls()
        mark.size = size
        return mark


class DecodeError(ValueError):
    """The bytes are not what the standard says; the message must not be used at all."""


class Structure(NamedTuple):
    """An ExtensionObject as it came: the id of its encoding and its undecoded body."""

    encoding: str
    body: bytes | None


def nanoseconds(ticks: int) -> int:
    """Return UTC ns since 1970 of a DateTime, which counts 100 ns since 1601 (OPC 10000-6, 5.2.2.5); exact, never clamped."""
    return (ticks - EPOCH) * 100


def take(body: bytes, pos: int, size: int) -> tuple[bytes, int]:
    """Return ``size`` bytes at ``pos`` and the position after them; raises DecodeError when they are not all there."""
    end = pos + size
    if size < 0 or end > len(body):
        raise DecodeError(f"{size} bytes announced at {pos}, {len(body) - pos} left")
    return body[pos:end], end


def count_of(body: bytes, pos: int) -> tuple[int, int]:
    """Return the length of an array (-1 = null) whose elements take at least a byte each."""
    (count,) = I32.unpack_from(body, pos)
    pos += 4
    if count < -1 or count > len(body) - pos:
        raise DecodeError(f"an array of {count} announced with {len(body) - pos} bytes left")
    return count, pos


def byte_string(body: bytes, pos: int, depth: int = 0) -> tuple[bytes | None, int]:
    """Return a ByteString, None where it is null."""
    del depth
    (size,) = I32.unpack_from(body, pos)
    return (None, pos + 4) if size == -1 else take(body, pos + 4, size)


def text(body: bytes, pos: int, depth: int = 0) -> tuple[str | None, int]:
    """Return a String; bytes that are no UTF-8 become lone surrogates, which the caller can tell."""
    raw, pos = byte_string(body, pos, depth)
    return (None if raw is None else raw.decode("utf-8", "surrogateescape")), pos


def _datetime(body: bytes, pos: int, depth: int) -> tuple[int, int]:
    del depth
    return nanoseconds(_I64.unpack_from(body, pos)[0]), pos + 8


def _status(body: bytes, pos: int, depth: int) -> tuple[int, int]:
    del depth
    return U32.unpack_from(body, pos)[0], pos + 4


def _guid(body: bytes, pos: int, depth: int = 0) -> tuple[str, int]:
    del depth
    raw, pos = take(body, pos, 16)
    return str(uuid.UUID(bytes_le=raw)), pos


def node_id(body: bytes, pos: int, depth: int = 0) -> tuple[str, int]:
    """Return a NodeId or ExpandedNodeId as text: ``ns=2;s=Name``, with ``nsu=`` and ``svr=`` where it carries them."""
    flags = body[pos]
    kind = flags & 0x3F
    identifier: object
    if kind == 0:
        space, identifier, pos = 0, body[pos + 1], pos + 2
    elif kind == 1:
        space, identifier, pos = body[pos + 1], _U16.unpack_from(body, pos + 2)[0], pos + 4
    elif kind in {2, 3, 4, 5}:
        space = _U16.unpack_from(body, pos + 1)[0]
        identifier, pos = _IDENTIFIERS[kind](body, pos + 3, depth)
    else:
        raise DecodeError(f"no node id is encoded as {kind}")
    where = f"ns={space};" if space else ""
    if flags & 0x80:
        uri, pos = text(body, pos)
        where = f"nsu={uri};"
    if flags & 0x40:
        server, pos = _status(body, pos, depth)
        where = f"svr={server};{where}"
    if isinstance(identifier, bytes):
        identifier = identifier.hex()
    return f"{where}{'iiisgb'[kind]}={identifier}", pos


def _qualified_name(body: bytes, pos: int, depth: int) -> tuple[str | None, int]:
    take(body, pos, 2)
    return text(body, pos + 2, depth)


def _localized_text(body: bytes, pos: int, depth: int) -> tuple[str | None, int]:
    flags = body[pos]
    pos += 1
    said: str | None = None
    if flags & 1:
        _, pos = text(body, pos, depth)
    if flags & 2:
        said, pos = text(body, pos, depth)
    return said, pos


def structure(body: bytes, pos: int, depth: int = 0) -> tuple[Structure, int]:
    """Return an ExtensionObject (OPC 10000-6, 5.2.2.15) with its body untouched."""
    name, pos = node_id(body, pos, depth)
    inside: bytes | None = None
    encoding, pos = take(body, pos, 1)
    if encoding[0] & 3:
        inside, pos = byte_string(body, pos, depth)
    return Structure(name, inside), pos


def data_value(body: bytes, pos: int, depth: int) -> tuple[object, int]:
    """Return the value inside a nested DataValue; its status and times are passed over."""
    mask = body[pos]
    pos += 1
    value: object = None
    if mask & 1:
        _, value, pos = variant(body, pos, depth)
    size = 4 * (mask >> 1 & 1) + 8 * (mask >> 2 & 1) + 8 * (mask >> 3 & 1) + 2 * (mask >> 4 & 1) + 2 * (mask >> 5 & 1)
    _, pos = take(body, pos, size)
    return value, pos


def _nested(body: bytes, pos: int, depth: int) -> tuple[object, int]:
    _, value, pos = variant(body, pos, depth)
    return value, pos


def diagnostic_info(body: bytes, pos: int, depth: int = 0) -> tuple[None, int]:
    """Pass over a DiagnosticInfo; nothing in it is for us."""
    while True:
        if depth > _DEPTH:
            raise DecodeError("diagnostics nested too deeply")
        mask = body[pos]
        pos += 1
        _, pos = take(body, pos, 4 * (mask & 0xF).bit_count())
        if mask & 0x10:
            _, pos = byte_string(body, pos)
        if mask & 0x20:
            _, pos = take(body, pos, 4)
        if not mask & 0x40:
            return None, pos
        depth += 1


_Decoder = Callable[[bytes, int, int], tuple[Any, int]]

_IDENTIFIERS: Final[dict[int, _Decoder]] = {2: _status, 3: text, 4: _guid, 5: byte_string}
_OTHERS: Final[dict[int, _Decoder]] = {
    STRING: text, DATETIME: _datetime, 14: _guid, 15: byte_string, 16: text, 17: node_id, 18: node_id, 19: _status,
    20: _qualified_name, LOCALIZED_TEXT: _localized_text, STRUCTURE: structure, 23: data_value, 24: _nested, 25: diagnostic_info,
}  # fmt: skip


def scalar(kind: int, body: bytes, pos: int, depth: int) -> tuple[Any, int]:
    """Return one value of a built-in type; ids 26 to 31 are reserved and decoded as a ByteString (OPC 10000-6, 5.2.2.16)."""
    if kind in SCALARS:
        layout = _SCALAR_STRUCTS[kind]
        return layout.unpack_from(body, pos)[0], pos + layout.size
    return (None, pos) if kind == NULL else _OTHERS.get(kind, byte_string)(body, pos, depth)


def array(body: bytes, pos: int, kind: int, depth: int) -> tuple[tuple[object, ...] | None, int]:
    """Return an array of a built-in type, None where it is null; bounded by the bytes that are there."""
    count, pos = count_of(body, pos)
    if count == -1:
        return None, pos
    if kind in SCALARS:
        layout = struct.Struct(f"<{count}{SCALARS[kind]}")
        if count > MOST_ELEMENTS:
            _, end = take(body, pos, layout.size)
            return TooLong.of(count), end
        return layout.unpack_from(body, pos), pos + layout.size
    if kind == NULL:
        return (TooLong.of(count) if count > MOST_ELEMENTS else (None,) * count), pos
    decode = _OTHERS.get(kind, byte_string)
    values = []
    for number in range(count):
        value, pos = decode(body, pos, depth)
        if number < MOST_ELEMENTS:
            values.append(value)
    return (TooLong.of(count) if count > MOST_ELEMENTS else tuple(values)), pos


def shaped(flat: tuple[object, ...], dimensions: tuple[int, ...]) -> tuple[object, ...]:
    """Return a matrix as nested tuples; flat where the dimensions do not multiply up to the number of values."""
    if len(dimensions) < 2 or min(dimensions) < 1 or prod(dimensions) != len(flat):
        return flat
    for size in reversed(dimensions[1:]):
        flat = tuple(flat[at : at + size] for at in range(0, len(flat), size))
    return flat


def variant(body: bytes, pos: int, depth: int = 0) -> tuple[int, object, int]:
    """Return (encoding byte, value, position after) of the Variant at ``pos``; arrays are tuples, matrices nested tuples.

    Raises DecodeError, and struct.error or IndexError where the bytes end (`wire` makes DecodeError of them all).
    """
    if depth > _DEPTH:
        raise DecodeError("values nested too deeply")
    encoding = body[pos]
    kind = encoding & 0x3F
    pos += 1
    value: object
    if encoding & _ARRAY:
        value, pos = array(body, pos, kind, depth + 1)
    else:
        value, pos = scalar(kind, body, pos, depth + 1)
    if encoding & _MATRIX:
        dimensions, pos = array(body, pos, 6, depth + 1)
        if isinstance(value, tuple) and dimensions:
            value = shaped(value, dimensions)  # type: ignore[arg-type]  # kind 6 is Int32
    return encoding, value, pos
