"""Publish and read responses decoded into columns and the little around them (pure; OPC 10000-6, 5.2 and OPC 10000-4, 5).

The values themselves are decoded by `shape`. A message is valid as a whole or not at all.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from functools import wraps
from typing import Final, NamedTuple, ParamSpec, TypeVar

from edge_agent.drivers.opcua.shape import Columns, records
from edge_agent.drivers.opcua.variant import (
    U32,
    DecodeError,
    byte_string,
    count_of,
    diagnostic_info,
    nanoseconds,
    node_id,
    structure,
    variant,
)

P = ParamSpec("P")
R = TypeVar("R")

DATA_CHANGE: Final = "i=811"
"""Id of the binary encoding of DataChangeNotification (OPC 10000-6, A.3)."""
STATUS_CHANGE: Final = "i=820"
EVENTS: Final = "i=916"
"""Id of the binary encoding of EventNotificationList."""
EVENT_FIELDS: Final = 0x80 | 24
"""What stands as the type of a row of event fields: an array of Variants."""
READ_RESPONSE: Final = "i=634"
PUBLISH_RESPONSE: Final = "i=829"
REPUBLISH_RESPONSE: Final = "i=835"
CREATE_ITEMS_RESPONSE: Final = "i=754"
HISTORY_READ_RESPONSE: Final = "i=667"
HISTORY_DATA: Final = "i=658"
SERVICE_FAULT: Final = "i=397"

_I64: Final = struct.Struct("<q")
_CREATED: Final = struct.Struct("<IIdI")


class Message(NamedTuple):
    """A NotificationMessage: its number, the server's time, the rows, and the codes of status changes. No parts = keep-alive."""

    sequence: int
    time: int
    rows: Columns
    changes: tuple[int, ...]
    keep_alive: bool


class Published(NamedTuple):
    """A PublishResponse. ``result`` is the service result; with a bad one nothing else is there."""

    result: int
    subscription: int
    available: tuple[int, ...]
    more: bool
    message: Message | None
    acknowledged: tuple[int, ...]


def _decoding(function: Callable[P, R]) -> Callable[P, R]:
    """Make one error of the three ways in which bytes can end too early."""

    @wraps(function)
    def guarded(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return function(*args, **kwargs)
        except (struct.error, IndexError) as error:
            raise DecodeError(f"the message ends too early: {error}") from None

    return guarded


def _diagnostics(body: bytes, pos: int) -> int:
    count, pos = count_of(body, pos)
    for _ in range(count):
        _, pos = diagnostic_info(body, pos)
    return pos


def _numbers(body: bytes, pos: int) -> tuple[tuple[int, ...], int]:
    count, pos = count_of(body, pos)
    layout = struct.Struct(f"<{max(count, 0)}I")
    return layout.unpack_from(body, pos), pos + layout.size


def response_header(body: bytes, expected: str) -> tuple[int, int]:
    """Return the service result and the position after the ResponseHeader; raises DecodeError for another response."""
    kind, pos = node_id(body, 0)
    if kind not in {expected, SERVICE_FAULT}:
        raise DecodeError(f"the answer is {kind}, not {expected}")
    (result,) = U32.unpack_from(body, pos + 12)  # after the time (8) and the request handle (4)
    _, pos = diagnostic_info(body, pos + 16)
    count, pos = count_of(body, pos)
    for _ in range(count):
        _, pos = byte_string(body, pos)
    _, pos = structure(body, pos)
    return result, pos


@_decoding
def data_change(body: bytes) -> Columns:
    """Return the rows of a DataChangeNotification body (OPC 10000-4, 7.25.2). Raises DecodeError; then nothing of it is valid."""
    out = Columns()
    count, pos = count_of(body, 0)
    pos = records(body, pos, count, "I", out)
    _diagnostics(body, pos)
    return out


@_decoding
def event_list(body: bytes) -> Columns:
    """Return the rows of an EventNotificationList body (OPC 10000-4, 7.25.3): the value of each is the tuple of its event's fields."""
    out = Columns()
    count, pos = count_of(body, 0)
    for _ in range(count):
        (handle,) = U32.unpack_from(body, pos)
        fields, pos = count_of(body, pos + 4)
        values: list[object] = []
        for _ in range(fields):
            _, value, pos = variant(body, pos)
            values.append(value)
        out.append(handle, kind=EVENT_FIELDS, value=tuple(values))
    return out


@_decoding
def read_response(body: bytes, handles: Sequence[int]) -> tuple[int, Columns]:
    """Return the service result and one row per handle of a ReadResponse (OPC 10000-4, 5.11.2).

    Raises DecodeError, also when the server answers more or fewer values than were asked for: they would stand at the wrong tags.
    """
    result, pos = response_header(body, READ_RESPONSE)
    out = Columns()
    if result >> 31:
        return result, out
    count, pos = count_of(body, pos)
    if count != len(handles):
        raise DecodeError(f"{len(handles)} values asked for, {count} answered")
    pos = records(body, pos, count, "", out)
    _diagnostics(body, pos)
    out.handles.extend(handles)
    return result, out


def plain_answer(body: bytes, handles: Sequence[int]) -> Columns | None:
    """Return the rows of a ReadResponse, None where it is no plain success."""
    try:
        status, rows = read_response(body, handles)
    except DecodeError:
        return None
    return rows if not status >> 31 else None


def results_at(body: bytes) -> int | None:
    """Return where the results of a ReadResponse begin, with their number; None where it is no plain success."""
    try:
        result, pos = response_header(body, READ_RESPONSE)
    except (DecodeError, struct.error, IndexError):
        return None
    return None if result else pos


class Created(NamedTuple):
    """What a server gives for one monitored item: StatusCode, its id there, sampling interval (ms) and queue size."""

    status: int
    number: int
    sampling: float
    queue: int


@_decoding
def create_items_response(body: bytes) -> tuple[int, list[Created]]:
    """Return the service result and one result for each item (OPC 10000-4, 5.13.2). Raises DecodeError."""
    result, pos = response_header(body, CREATE_ITEMS_RESPONSE)
    out: list[Created] = []
    if result >> 31:
        return result, out
    count, pos = count_of(body, pos)
    for _ in range(count):
        out.append(Created(*_CREATED.unpack_from(body, pos)))
        _, pos = structure(body, pos + _CREATED.size)
    return result, out


def _message(body: bytes, pos: int) -> tuple[Message, int]:
    (sequence,) = U32.unpack_from(body, pos)
    (ticks,) = _I64.unpack_from(body, pos + 4)
    count, pos = count_of(body, pos + 12)
    rows, changes = Columns(), []
    for _ in range(count):
        part, pos = structure(body, pos)
        if part.encoding == DATA_CHANGE:
            rows.extend(data_change(part.body or b""))
        elif part.encoding == STATUS_CHANGE:
            changes.append(U32.unpack_from(part.body or b"")[0])
        elif part.encoding == EVENTS:
            rows.extend(event_list(part.body or b""))
    return Message(sequence, nanoseconds(ticks), rows, tuple(changes), count < 1), pos


@_decoding
def publish_response(body: bytes) -> Published:
    """Return a PublishResponse or the ServiceFault in its place (OPC 10000-4, 5.14.5). Raises DecodeError."""
    result, pos = response_header(body, PUBLISH_RESPONSE)
    if result >> 31:
        return Published(result, 0, (), False, None, ())
    (subscription,) = U32.unpack_from(body, pos)
    available, pos = _numbers(body, pos + 4)
    more = body[pos] != 0
    message, pos = _message(body, pos + 1)
    acknowledged, pos = _numbers(body, pos)
    _diagnostics(body, pos)
    return Published(result, subscription, available, more, message, acknowledged)


@_decoding
def republish_response(body: bytes) -> tuple[int, Message | None]:
    """Return the service result and the message of a RepublishResponse (OPC 10000-4, 5.14.6). Raises DecodeError."""
    result, pos = response_header(body, REPUBLISH_RESPONSE)
    return (result, None) if result >> 31 else (result, _message(body, pos)[0])


@_decoding
def history_read_response(body: bytes, handle: int) -> tuple[int, int, bytes, Columns]:
    """Return the service result, the status, the continuation point and the rows of a HistoryReadResponse for one node (OPC 10000-4, 5.11.3).

    Raises DecodeError, also when it is not one result.
    """
    result, pos = response_header(body, HISTORY_READ_RESPONSE)
    out = Columns()
    if result >> 31:
        return result, 0, b"", out
    count, pos = count_of(body, pos)
    if count != 1:
        raise DecodeError(f"the history of one node asked for, of {count} answered")
    (status,) = U32.unpack_from(body, pos)
    point, pos = byte_string(body, pos + 4)
    data, pos = structure(body, pos)
    if data.encoding == HISTORY_DATA and data.body is not None:
        rows, at = count_of(data.body, 0)
        records(data.body, at, rows, "", out)
        out.handles.extend([handle] * len(out))
    return result, status, point or b"", out
