"""The fast decoder against asyncua's own, on generated, fuzzed and truncated bodies."""

from __future__ import annotations

import time
import uuid
from datetime import UTC, datetime, timedelta

import pytest
from asyncua import ua
from asyncua.common.utils import Buffer, NotEnoughData
from asyncua.ua.ua_binary import struct_from_binary, struct_to_binary
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edge_agent.drivers.opcua import variant as variants
from edge_agent.drivers.opcua import wire

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
RANGES = {
    "SByte": (-128, 127), "Byte": (0, 255), "Int16": (-(2**15), 2**15 - 1), "UInt16": (0, 2**16 - 1), "Int32": (-(2**31), 2**31 - 1),
    "UInt32": (0, 2**32 - 1), "Int64": (-(2**63), 2**63 - 1), "UInt64": (0, 2**64 - 1),
}  # fmt: skip


class StrictBuffer(Buffer):
    """The oracle's buffer, which must not walk backwards at a negative length (asyncua 2.1.0 does)."""

    def read(self, size: int) -> bytes:
        if size < 0:
            raise NotEnoughData("negative length")
        return super().read(size)

    def skip(self, size: int) -> None:
        if size < 0:
            raise NotEnoughData("negative length")
        super().skip(size)

    def copy(self, size: int = -1) -> Buffer:
        return StrictBuffer(self._data, self._cur_pos, self._size if size == -1 or size > self._size else size)


def values() -> st.SearchStrategy[ua.Variant]:
    """Variants of every kind that a tag can have and some that it cannot, scalar and array."""
    of = {name: st.integers(*bounds) for name, bounds in RANGES.items()}
    of |= {"Boolean": st.booleans(), "Double": st.floats(), "Float": st.floats(width=32), "String": st.text() | st.none()}
    of |= {"ByteString": st.binary() | st.none(), "Guid": st.uuids(), "StatusCode": st.integers(0, 2**32 - 1).map(ua.StatusCode)}
    of |= {"DateTime": st.datetimes(datetime(1602, 1, 1), datetime(9000, 1, 1)).map(lambda moment: moment.replace(tzinfo=UTC))}  # noqa: DTZ001
    of |= {
        "LocalizedText": st.text(min_size=1).map(ua.LocalizedText),
        "QualifiedName": st.text().map(lambda name: ua.QualifiedName(name, 2)),
    }
    of |= {"NodeId": st.text(min_size=1).map(lambda name: ua.NodeId(name, 3))}
    unknown = st.builds(
        lambda number, body: ua.ExtensionObject(ua.NodeId(number, 7), body), st.integers(1, 2**32 - 1), st.binary(min_size=1)
    )
    of |= {"ExtensionObject": unknown}
    scalars = [strategy.map(lambda value, n=name: ua.Variant(value, ua.VariantType[n])) for name, strategy in of.items()]
    arrays = [
        st.lists(strategy, max_size=4).map(lambda value, n=name: ua.Variant(value, ua.VariantType[n], is_array=True))
        for name, strategy in of.items()
    ]
    return st.one_of(st.just(ua.Variant(None, ua.VariantType.Null)), *scalars, *arrays)


def data_values() -> st.SearchStrategy[ua.DataValue]:
    """Data values with every combination of the optional parts but the picoseconds (asyncua orders those wrongly)."""
    moments = st.none() | st.datetimes(datetime(1602, 1, 1), datetime(9000, 1, 1)).map(lambda moment: moment.replace(tzinfo=UTC))  # noqa: DTZ001
    return st.builds(
        ua.DataValue,
        values(), st.none() | st.integers(0, 2**32 - 1).map(ua.StatusCode), moments, moments,
    )  # fmt: skip


def plain(value: object) -> object:  # noqa: C901 - one case per type
    """Return what `variant` makes of an asyncua value."""
    match value:
        case variants.Structure():
            return value.encoding, value.body
        case list() | tuple():
            return tuple(plain(one) for one in value)
        case datetime():
            return (value - EPOCH) // timedelta(microseconds=1) * 1000
        case uuid.UUID():
            return str(value)
        case ua.StatusCode():
            return value.value
        case ua.LocalizedText():
            return value.Text
        case ua.QualifiedName():
            return value.Name
        case ua.NodeId():
            return value.to_string()
        case ua.ExtensionObject():
            return value.TypeId.to_string(), value.Body
        case float():
            return value.hex() if value == value else "nan"  # noqa: PLR0124
    return value


def oracle(body: bytes) -> list[tuple[object, ...]]:
    """Return the rows of a DataChangeNotification as asyncua sees them."""
    notification = struct_from_binary(ua.DataChangeNotification, StrictBuffer(body))
    return [
        (
            item.ClientHandle, plain(item.Value.Value.Value if item.Value.Value else None),
            item.Value.StatusCode.value if item.Value.StatusCode else 0, plain(item.Value.SourceTimestamp) or 0, plain(item.Value.ServerTimestamp) or 0,
        )
        for item in notification.MonitoredItems
    ]  # fmt: skip


def ours(body: bytes) -> list[tuple[object, ...]]:
    """Return the same rows by the fast decoder; its times are cut to the microseconds that asyncua keeps."""
    rows = wire.data_change(body)
    cut = [[ns // 1000 * 1000 for ns in times] for times in (rows.source, rows.server)]
    return list(zip(rows.handles, [plain(value) for value in rows.values], rows.status, *cut, strict=True))


def notification(items: list[tuple[int, ua.DataValue]]) -> bytes:
    """Return the body of a DataChangeNotification."""
    return struct_to_binary(ua.DataChangeNotification([ua.MonitoredItemNotification(handle, value) for handle, value in items]))


ITEMS = st.lists(st.tuples(st.integers(0, 2**32 - 1), data_values()), max_size=12)


@given(ITEMS)
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_generated_notifications_decode_as_asyncua_decodes_them(items: list[tuple[int, ua.DataValue]]) -> None:
    """Every generated body gives the oracle's handles, values, statuses and times."""
    body = notification(items)
    assert ours(body) == oracle(body)


@given(ITEMS, st.data())
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_truncated_notifications_are_refused(items: list[tuple[int, ua.DataValue]], data: st.DataObject) -> None:
    """A body that ends anywhere before its end raises DecodeError and nothing else."""
    body = notification(items)
    cut = body[: data.draw(st.integers(0, len(body) - 1))]
    with pytest.raises(wire.DecodeError):
        wire.data_change(cut)


@given(st.lists(st.tuples(st.integers(0, 9), data_values()), min_size=1, max_size=6), st.data())
@settings(max_examples=300, deadline=2000, suppress_health_check=[HealthCheck.too_slow])
def test_flipped_bytes_decode_alike_or_are_refused(items: list[tuple[int, ua.DataValue]], data: st.DataObject) -> None:
    """With damaged bytes the decoder refuses, or agrees with the oracle where the oracle understands them."""
    body = bytearray(notification(items))
    for _ in range(data.draw(st.integers(1, 3))):
        body[data.draw(st.integers(4, len(body) - 1))] = data.draw(st.sampled_from([0, 1, 5, 10, 12, 15, 0x7F, 0x80, 0xC6, 0xFF]))
    try:
        rows = ours(bytes(body))
    except wire.DecodeError:
        return
    try:
        expected = oracle(bytes(body))
    except Exception:  # noqa: BLE001 - asyncua knows fewer encodings (picoseconds, unknown enumerations); it only judges what it understands
        return
    simple = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12}
    decoded = wire.data_change(bytes(body))
    clean = [
        kind in simple and 0 < 1 + source // 10**9 < 2 * 10**11 for kind, source in zip(decoded.types, decoded.source, strict=True)
    ]
    if all(clean) and not any(mask_has_picoseconds(bytes(body))):
        assert [row[:3] for row in rows] == [row[:3] for row in expected]


def mask_has_picoseconds(body: bytes) -> list[bool]:
    """Tell for each item whether asyncua saw a picosecond bit, which it decodes in the wrong order."""
    decoded = struct_from_binary(ua.DataChangeNotification, StrictBuffer(body))
    return [item.Value.SourcePicoseconds is not None or item.Value.ServerPicoseconds is not None for item in decoded.MonitoredItems]


@given(st.binary(max_size=200))
@settings(max_examples=300, deadline=2000)
def test_random_bytes_never_hang_or_escape(body: bytes) -> None:
    """Noise in place of any message raises DecodeError or decodes, quickly, never another exception."""
    for decode in (
        wire.data_change,
        wire.publish_response,
        wire.republish_response,
        lambda noise: wire.read_response(noise, [1, 2]),
    ):
        try:
            decode(body)
        except wire.DecodeError:
            continue


@given(st.lists(data_values(), max_size=12))
@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_read_responses_decode_as_asyncua_decodes_them(results: list[ua.DataValue]) -> None:
    """A ReadResponse gives one row for each handle, in order."""
    body = struct_to_binary(ua.ReadResponse(Results=results))
    status, rows = wire.read_response(body, list(range(len(results))))
    expected = struct_from_binary(ua.ReadResponse, StrictBuffer(body)).Results
    assert status == 0
    assert rows.handles == list(range(len(results)))
    assert [plain(value) for value in rows.values] == [plain(one.Value.Value if one.Value else None) for one in expected]
    assert rows.status == [one.StatusCode.value if one.StatusCode else 0 for one in expected]


def test_a_read_with_too_few_values_is_refused() -> None:
    """Two values for three tags would credit a value to the wrong tag."""
    body = struct_to_binary(ua.ReadResponse(Results=[ua.DataValue(ua.Variant(1)), ua.DataValue(ua.Variant(2))]))
    with pytest.raises(wire.DecodeError, match="3 values asked for, 2 answered"):
        wire.read_response(body, [0, 1, 2])


def test_publish_response_gives_sequence_rows_and_status_changes() -> None:
    """The envelope, data changes and status changes of one response are all there."""
    value = ua.DataValue(ua.Variant(7, ua.VariantType.Int32), ua.StatusCode(0), EPOCH + timedelta(seconds=3), None)
    parts = [
        ua.DataChangeNotification([ua.MonitoredItemNotification(4, value)]),
        ua.StatusChangeNotification(ua.StatusCode(0x800A0000)),
    ]
    message = ua.NotificationMessage(12, EPOCH, parts)
    body = struct_to_binary(ua.PublishResponse(Parameters=ua.PublishResult(99, [11, 12], True, message, [ua.StatusCode(0)])))
    published = wire.publish_response(body)
    assert (published.subscription, published.available, published.more, published.acknowledged) == (99, (11, 12), True, (0,))
    assert published.message is not None
    assert (published.message.sequence, published.message.time, published.message.keep_alive) == (12, 0, False)
    assert (published.message.rows.handles, published.message.rows.values, published.message.rows.source) == ([4], [7], [3 * 10**9])
    assert published.message.changes == (0x800A0000,)


def test_a_service_fault_gives_its_code() -> None:
    """A fault in place of the response is a result, not garbage."""
    fault = ua.ServiceFault(ResponseHeader=ua.ResponseHeader(ServiceResult=ua.StatusCode(ua.StatusCodes.BadNoSubscription)))
    body = struct_to_binary(fault)
    assert wire.publish_response(body).result == ua.StatusCodes.BadNoSubscription
    assert wire.read_response(body, [1])[0] == ua.StatusCodes.BadNoSubscription
    assert wire.republish_response(body) == (ua.StatusCodes.BadNoSubscription, None)


def test_picoseconds_stand_between_the_timestamps() -> None:
    """With picoseconds present the server time is still right (OPC 10000-6, 5.2.2.17)."""
    ticks = 116_444_736_000_000_000
    body = b"".join([
        (1).to_bytes(4, "little"), (5).to_bytes(4, "little"), bytes([0x3D, 6]), (42).to_bytes(4, "little"),
        (ticks + 10).to_bytes(8, "little"), b"\x11\x22", (ticks + 20).to_bytes(8, "little"), b"\x33\x44", (0).to_bytes(4, "little"),
    ])  # fmt: skip
    rows = wire.data_change(body)
    assert (rows.handles, rows.values, rows.source, rows.server) == ([5], [42], [1000], [2000])


def test_ticks_of_100_ns_survive_exactly() -> None:
    """A time with 100 ns resolution is not rounded through a float or a microsecond."""
    assert variants.nanoseconds(116_444_736_000_000_000 + 17_932_112_001_234_567) == 1_793_211_200_123_456_700


@pytest.mark.parametrize("kind", [0x80, 0x98, 0x8C, 0x97])
def test_an_announced_giant_array_costs_nothing(kind: int) -> None:
    """An array said to have two thousand million elements is refused before anything is allocated."""
    body = b"\x01\0\0\0" + b"\x05\0\0\0" + b"\x01" + bytes([kind]) + b"\xff\xff\xff\x7f" + b"\0" * 64
    started = time.perf_counter()
    with pytest.raises(wire.DecodeError):
        wire.data_change(body)
    assert time.perf_counter() - started < 0.5


def test_values_nested_too_deeply_are_refused() -> None:
    """Variants inside variants end at a hundred levels, not in a stack overflow."""
    body = b"\x01\0\0\0" + b"\x05\0\0\0" + b"\x01" + b"\x18" * 5000 + b"\x00" * 8
    with pytest.raises(wire.DecodeError, match="nested"):
        wire.data_change(body)


def test_alternating_shapes_do_not_decode_in_quadratic_time() -> None:
    """A long body whose shape changes at every record takes time in proportion to its length."""
    record = b"\x01\0\0\0\x01\x06\x01\0\0\0" + b"\x01\0\0\0\x01\x05\x01\0"

    def seconds(pairs: int) -> float:
        body = (2 * pairs).to_bytes(4, "little") + record * pairs + (0).to_bytes(4, "little")
        started = time.process_time()
        assert len(wire.data_change(body)) == 2 * pairs
        return time.process_time() - started

    assert seconds(16_000) < 24 * max(seconds(2_000), 0.005)


def test_matrices_become_nested_tuples() -> None:
    """Two dimensions give rows; dimensions that do not fit leave the values flat."""
    fitting = struct_to_binary(ua.DataValue(ua.Variant([[1, 2, 3], [4, 5, 6]], ua.VariantType.Int32)))
    assert variants.variant(fitting, 1)[:2] == (0xC6, ((1, 2, 3), (4, 5, 6)))
    wrong = fitting.replace(b"\x02\0\0\0\x02\0\0\0\x03\0\0\0", b"\x02\0\0\0\x02\0\0\0\x05\0\0\0")
    assert wrong != fitting
    assert variants.variant(wrong, 1)[1] == (1, 2, 3, 4, 5, 6)
