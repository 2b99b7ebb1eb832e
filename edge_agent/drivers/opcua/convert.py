"""From decoded columns to a batch: status to quality, plausible times, declared types, scale, and bounds (pure).

Columns in which nothing is remarkable pass with one look per row; only remarkable rows are judged one by one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from math import isfinite
from typing import Final

from edge_agent.drivers.opcua.pick import Complaint, Misfit
from edge_agent.drivers.opcua.shape import Columns
from edge_agent.drivers.opcua.variant import DATETIME, LOCALIZED_TEXT, NULL, STRING, STRUCTURE, TooLong
from edge_agent.model.instant import iso
from edge_agent.model.reading import Batch, Quality, Tag, Value

TYPE_IDS: Final = {
    "bool": 1, "int8": 2, "uint8": 3, "int16": 4, "uint16": 5, "int32": 6, "uint32": 7, "int64": 8, "uint64": 9,
    "float32": 10, "float64": 11, "string": STRING,
}  # fmt: skip
"""Declared type -> built-in type id (OPC 10000-6, 5.1.2)."""

_TYPE_NAMES: Final = {number: name for name, number in TYPE_IDS.items()} | {
    NULL: "nothing", DATETIME: "a date", 15: "bytes", LOCALIZED_TEXT: "localized text", STRUCTURE: "a structure",
}  # fmt: skip
_FLOATS: Final = frozenset({10, 11})
_PLAIN: Final = frozenset(range(1, 12))
_SEVERITY: Final = (Quality.GOOD, Quality.UNCERTAIN, Quality.BAD, Quality.BAD)
_EARLIEST: Final = 946_684_800 * 10**9  # 2000-01-01: no plant has samples from before it was built
_YEAR_1601: Final = -11_644_473_600 * 10**9
_YEAR_9999: Final = 253_402_214_400 * 10**9
_MAX_TEXT: Final = 65_536
_MAX_ELEMENTS: Final = 10_000
_OVERFLOW: Final = 0x0480


def quality_of(status: int) -> Quality:
    """Return the quality by the two severity bits of a StatusCode (OPC 10000-4, 7.39); the reserved 11 is bad."""
    return _SEVERITY[status >> 30 & 3]


def overflowed(status: int) -> bool:
    """Whether the server dropped samples of this item: info type DataValue with the Overflow bit (OPC 10000-4, 7.39.1)."""
    return status & 0x0C80 == _OVERFLOW


def type_name(kind: int) -> str:
    """Return an encoding byte in words."""
    name = _TYPE_NAMES.get(kind & 0x3F, f"built-in type {kind & 0x3F}")
    return f"an array of {name}" if kind & 0x80 else name


class Converter:
    """Makes the batches of one device. Handles are indexes into ``tags``.

    A tag without declared type takes the type of its first good value; a later change is as bad as with a declared one.
    ``status_text`` names a StatusCode.
    """

    def __init__(self, device: str, tags: Sequence[Tag], status_text: Callable[[int], str]) -> None:
        self._device = device
        self._expected = [TYPE_IDS.get(tag.type or "", NULL) for tag in tags]
        self._scaled = {i: (tag.scale, tag.offset) for i, tag in enumerate(tags) if tag.scale != 1.0 or tag.offset != 0.0}
        self._status_text = status_text
        self.other: dict[int, str] = {}
        """Rows of the last batch whose type is another one than declared, and what the device sends."""

    def batch(self, rows: Columns, received: int, slack: int, floor: tuple[Quality, str] | None = None) -> Batch:
        """Return the rows as a batch received at plant time ``received``.

        Times more than ``slack`` ns in the future or before 2000 are taken for unknown and make the row uncertain (a missing or
        extreme time is merely unknown). ``floor`` is the best quality that the server's own state allows, and why.
        """
        self.other = {}
        out = Batch(self._device, received, rows.handles, rows.values, [0] * len(rows), rows.source, rows.server)  # type: ignore[arg-type]  # values are judged below
        for row in self._remarkable(rows, received + slack):
            self._judge(out, row, rows, received + slack)
        for row in self._rows_to_scale(rows.handles):
            self._scale(out, row, *self._scaled[rows.handles[row]])
        if floor is not None:
            for row in range(len(rows)):
                self._lower(out, row, *floor)
        return out

    def _remarkable(self, rows: Columns, latest: int) -> list[int]:
        expected = self._expected
        if _unremarkable(rows, [expected[handle] for handle in rows.handles], latest):
            return []
        columns = zip(rows.handles, rows.types, rows.values, rows.status, rows.source, rows.server, strict=True)
        return [
            row
            for row, (handle, kind, value, status, source, server) in enumerate(columns)
            if status or kind != expected[handle] or kind not in _PLAIN
            or not (_EARLIEST < source < latest or not source) or not (_EARLIEST < server < latest or not server)
            or (kind in _FLOATS and not isfinite(value))
        ]  # fmt: skip

    def _rows_to_scale(self, handles: list[int]) -> Iterable[int]:
        return [row for row, handle in enumerate(handles) if handle in self._scaled] if self._scaled else ()

    def _judge(self, out: Batch, row: int, rows: Columns, latest: int) -> None:
        status, kind = rows.status[row], rows.types[row]
        quality = quality_of(status)
        if quality is not Quality.GOOD:
            self._lower(out, row, quality, self._status_text(status))
        self._judge_times(out, row, latest)
        value, complaint = plain_value(kind, rows.values[row])
        out.values[row] = value
        expected = self._expected[rows.handles[row]]
        if kind not in {NULL, expected} and quality is not Quality.BAD and not isinstance(rows.values[row], Misfit):
            self._compare(row, expected, kind)
        if complaint is not None:
            self._lower(out, row, Quality.BAD, complaint)
        elif value is None:
            self._lower(out, row, Quality.BAD, "no value")
        elif expected == NULL:
            if quality is Quality.GOOD:
                self._expected[rows.handles[row]] = kind
        elif row in self.other:
            self._lower(out, row, Quality.BAD, self.other[row])

    def _compare(self, row: int, expected: int, kind: int) -> None:
        """Take note of a row whose type is not the expected one, if one is expected."""
        if expected != NULL and not (expected == STRING and kind == LOCALIZED_TEXT):
            self.other[row] = f"type changed: {type_name(expected)} expected, the device sends {type_name(kind)}"

    def _judge_times(self, out: Batch, row: int, latest: int) -> None:
        known = 0
        for times in (out.source, out.server):
            time = times[row]
            if not time or _EARLIEST < time < latest:
                known = known or time
                continue
            times[row] = 0
            if not known and _YEAR_1601 < time < _YEAR_9999:
                when = "before the year 2000" if time <= _EARLIEST else "in the future"
                self._lower(out, row, Quality.UNCERTAIN, f"the device's time is {when}")

    @staticmethod
    def _lower(out: Batch, row: int, quality: Quality, why: str) -> None:
        """Make a row at most as good as ``quality``; the reason of the worst stands."""
        if quality > out.quality[row]:
            out.quality[row] = int(quality)
            out.details[row] = why

    def _scale(self, out: Batch, row: int, scale: float, offset: float) -> None:
        value = out.values[row]
        if type(value) is int or type(value) is float:
            scaled = value * scale + offset
            out.values[row] = scaled if isfinite(scaled) else None
            if not isfinite(scaled):
                self._lower(out, row, Quality.BAD, "out of range after scaling")


def _unremarkable(rows: Columns, expected: list[int], latest: int) -> bool:
    """Whether every row is good, of its expected plain type, finite and of a believable time; column by column, without a look at single rows."""
    if any(rows.status) or rows.types != expected or not _PLAIN.issuperset(rows.types):
        return False
    for times in (rows.source, rows.server):
        if not times or min(times) <= _EARLIEST or max(times) >= latest:
            return False
    return isfinite(sum(rows.values))  # type: ignore[arg-type]  # plain types are numbers


def plain_value(kind: int, value: object) -> tuple[Value | None, str | None]:
    """Return a decoded value as the model has it, and what is wrong with it (None: nothing)."""
    if isinstance(value, Complaint):
        return None, str(value)
    if kind & 0x80:
        return _plain_array(kind, value)
    if isinstance(value, float):
        return (value, None) if isfinite(value) else (None, f"the value is {value}")
    if kind == STRING and value is None:
        return "", None  # null and empty are the same text (OPC 10000-6, 5.1.2)
    if isinstance(value, str):
        return _plain_text(value)
    if isinstance(value, bytes):
        return (value, None) if len(value) <= _MAX_TEXT else (value[:_MAX_TEXT], f"{len(value)} bytes, cut at {_MAX_TEXT}")
    if kind == DATETIME:
        return _plain_date(value)
    if value is None or isinstance(value, int):
        return value, None
    return None, f"{type_name(kind)} is not supported"


def _plain_text(text: str) -> tuple[str, str | None]:
    if len(text) > _MAX_TEXT:
        return _valid(text[:_MAX_TEXT]), f"{len(text)} characters, cut at {_MAX_TEXT}"
    valid = _valid(text)
    return valid, None if valid == text else "the text is not UTF-8"


def _valid(text: str) -> str:
    """Return the text with bytes that are no UTF-8 replaced, so that it can be written as JSON."""
    return text if text.isascii() else text.encode("utf-8", "replace").decode("utf-8")


def _plain_date(ns: object) -> tuple[str | None, str | None]:
    if isinstance(ns, int) and not _YEAR_1601 < ns < _YEAR_9999:
        return (
            None,
            "no date: before 1601, after 9999, or never set",
        )  # both ends of the scale stand for what lies beyond (OPC 10000-6, 5.2.2.5)
    try:
        return iso(ns), None  # type: ignore[arg-type]  # kind 13 is ns
    except (OverflowError, ValueError, OSError):
        return None, "the date is outside the years 1 to 9999"


def _plain_array(kind: int, value: object) -> tuple[Value | None, str | None]:
    if not isinstance(value, tuple):
        return None, None
    count = _elements(value)
    if count > _MAX_ELEMENTS:
        return None, f"{count} elements, {_MAX_ELEMENTS} are allowed"
    plain = []
    for element in value:
        inner = kind if isinstance(element, tuple) else kind & 0x3F
        one, complaint = plain_value(inner, element)
        if complaint is not None:
            return None, f"in the array: {complaint}"
        plain.append(one)
    return tuple(plain), None


def _elements(value: tuple[object, ...]) -> int:
    if isinstance(value, TooLong):
        return value.size
    return sum(_elements(one) if type(one) is tuple else 1 for one in value)
