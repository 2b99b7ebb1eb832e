"""Tags that are a part of a value: elements of arrays, fields of structures, against an asyncua server on loopback."""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any

import pytest
import pytest_asyncio
import structlog
from asyncua import ua
from asyncua.common.utils import ServiceError
from opcua_plant import Plc, config, free_port, reading
from opcua_types import add_types, add_value, motor

from edge_agent.model.reading import Polled, TagStatus

pytestmark = pytest.mark.asyncio(loop_scope="module")
NAMES = (f"P{number}" for number in itertools.count())


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def plc() -> AsyncIterator[Plc]:
    """One server with structures for all tests of the module."""
    plc = Plc(free_port())
    await plc.start()
    plc.types = await add_types(plc)
    yield plc
    await plc.stop()


async def added(plc: Plc, value: Any, data_type: str | None = None) -> str:
    """Add a variable with a name of its own."""
    name = next(NAMES)
    await add_value(plc, name, value, plc.types[data_type] if data_type else None)
    return name


async def baseline(plc: Plc, tags: dict[str, dict[str, Any]]) -> list[tuple[str, object, int, str | None]]:
    """Return the first row of each tag."""
    async with reading(config(plc.port, tags)) as reader:
        await reader.once()
        return reader.rows()


async def test_elements_and_ranges_of_arrays(plc: Plc) -> None:
    """An index gives a scalar, a range a shorter array, in a matrix with one number for each dimension."""
    a = await added(plc, ua.Variant([10, 11, 12, 13, 14, 15], ua.VariantType.Int32))
    m = await added(plc, ua.Variant([[1, 2, 3], [4, 5, 6]], ua.VariantType.Int16))
    rows = await baseline(
        plc,
        {
            "third": {"node": f"s={a}", "index": 3, "type": "int32", "scale": 0.5},
            "some": {"node": f"s={a}", "range": "2:4"},
            "beyond": {"node": f"s={a}", "range": "4:9"},
            "cell": {"node": f"s={m}", "index": "1,2", "type": "int16"},
            "part": {"node": f"s={m}", "range": "0:1,1"},
            "outside": {"node": f"s={a}", "index": 6},
        },
    )
    assert [row[1] for row in rows] == [6.5, (12, 13, 14), (14, 15), 6, ((2,), (5,)), None]
    assert [row[2] for row in rows] == [0, 0, 0, 0, 0, 2]
    assert rows[-1][3] == "element 6 is outside: the array has 6 elements"


async def test_fields_of_structures_come_by_their_names(plc: Plc) -> None:
    """Scalars, texts, dates, enumerations, nested structures and elements of arrays of them are decoded by the server's definitions."""
    started = datetime(2026, 3, 1, 12, 0, 0, 250_000, tzinfo=UTC)
    value = ua.Drive(Id=7, Mode=ua.Mode.Auto, Main=motor(1.5, "big"), Motors=[motor(2.5), motor(3.5, "x", ())], Started=started)
    a = await added(plc, ua.Variant(value, ua.VariantType.ExtensionObject), "Drive")
    array = await added(plc, ua.Variant([motor(8.0), motor(9.0, "last")], ua.VariantType.ExtensionObject), "Motor")
    fields = ["Id", "Mode", "Main.Speed", "Main.Name", "Motors[1].Speed", "Motors[0].Counts", "Motors[0].Counts[2]", "Started"]
    tags: dict[str, dict[str, Any]] = {f"t{place}": {"node": f"s={a}", "field": field} for place, field in enumerate(fields)}
    tags |= {"last": {"node": f"s={array}", "index": 1, "field": "Name", "type": "string"}}
    rows = await baseline(plc, tags)
    values = [7, 2, 1.5, "big", 3.5, (1, 2, 3), 3, "2026-03-01T12:00:00.250000Z", "last"]
    assert [row[1:3] for row in rows] == [(value, 0) for value in values]


async def test_a_wrong_field_says_what_there_is(plc: Plc) -> None:
    """A field that does not exist, a structure without a field, and a field of no structure are bad rows with the remedy."""
    a = await added(plc, ua.Variant(ua.Drive(Main=motor(1.5)), ua.VariantType.ExtensionObject), "Drive")
    plain = await added(plc, ua.Variant(3, ua.VariantType.Int32))
    tags = {
        "none": {"node": f"s={a}", "field": "Main.Sped"},
        "whole": {"node": f"s={a}", "field": "Main"},
        "number": {"node": f"s={plain}", "field": "X"},
        "element": {"node": f"s={plain}", "index": 0},
    }
    rows = await baseline(plc, tags)
    assert [row[2] for row in rows] == [2, 2, 2, 2]
    assert [row[3] for row in rows] == [
        "the structure has no field Sped; it has On, Speed, Name, Counts",
        "Main is a structure; name one of its fields: On, Speed, Name, Counts",
        "the value is no structure",
        "the value is no array",
    ]


async def test_changes_of_parts_arrive_by_subscription(plc: Plc) -> None:
    """What is subscribed is taken apart the same way, and types are checked after it."""
    a = await added(plc, ua.Variant([1, 2, 3], ua.VariantType.Int32))
    s = await added(plc, ua.Variant(motor(1.0), ua.VariantType.ExtensionObject), "Motor")
    tags = {"e": {"node": f"s={a}", "index": 1, "type": "int32"}, "v": {"node": f"s={s}", "field": "Speed", "type": "float32"}}
    async with reading(config(plc.port, tags)) as reader:
        await reader.settled(plc)
        await plc.write(a, [1, 20, 3])
        await plc.write(s, motor(2.0), ua.VariantType.ExtensionObject)
        await reader.until(lambda r: 20 in r.values("e") and 2.0 in r.values("v"))
        assert {row[2] for row in reader.rows()} == {0}


async def test_a_structure_of_another_type_is_learnt_while_connected(plc: Plc) -> None:
    """When a variable's structure is replaced by one of another type, the tag is told as lost, its new type is read, and it comes back."""
    a = await added(plc, ua.Variant(motor(1.0), ua.VariantType.ExtensionObject), None)
    tags = {"v": {"node": f"s={a}", "field": "Main.Speed"}, "w": {"node": f"s={a}", "field": "Speed"}}
    async with reading(config(plc.port, tags)) as reader:
        await reader.settled(plc)
        await plc.write(a, ua.Drive(Main=motor(4.0)), ua.VariantType.ExtensionObject)
        await reader.until(lambda r: 4.0 in r.values("v"))
        assert (True, "v") in {(notice.ok, notice.name) for notice in reader.notices(TagStatus)}


async def test_a_server_that_cuts_arrays_is_asked_for_the_part_only(plc: Plc, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the answer to an index range fits, reads and subscriptions ask for the part; where it does not, the array is cut here."""
    a = await added(plc, ua.Variant([10, 11, 12, 13], ua.VariantType.Int32))
    one = await added(plc, ua.Variant([5], ua.VariantType.Int32))
    service = plc.server.iserver.attribute_service
    original, asked = type(service).read, []

    def cutting(self: Any, params: ua.ReadParameters) -> list[ua.DataValue]:
        results = list(original(self, params))
        for place, wanted in enumerate(params.NodesToRead):
            if wanted.IndexRange:
                asked.append(wanted.IndexRange)
                first, _, last = wanted.IndexRange.partition(":")
                part = results[place].Value.Value[int(first) : int(last or first) + 1]
                results[place] = ua.DataValue(ua.Variant(part, ua.VariantType.Int32, is_array=True))
        return results

    tags = {"x": {"node": f"s={a}", "index": 2}, "r": {"node": f"s={a}", "range": "1:2"}, "only": {"node": f"s={one}", "index": 0}}
    monkeypatch.setattr(type(service), "read", cutting)
    rows = await baseline(plc, tags)
    assert [row[1:3] for row in rows] == [(12, 0), ((11, 12), 0), (5, 0)]
    assert sorted(asked) == ["0", "1:2", "1:2", "2", "2"], "the probe asks for each, the baseline where the answer fitted"


async def test_a_structure_that_has_no_value_yet(plc: Plc) -> None:
    """Its type is known from the variable, so its first value is good, and the tag is never told as lost."""
    a = await added(plc, ua.Variant(motor(1.0), ua.VariantType.ExtensionObject), "Motor")
    await plc.write(a, None, ua.VariantType.Null, ua.StatusCodes.BadWaitingForInitialData)
    async with reading(config(plc.port, {"v": {"node": f"s={a}", "field": "Speed"}})) as reader:
        await reader.settled(plc)
        await plc.write(a, motor(4.0), ua.VariantType.ExtensionObject)
        await reader.until(lambda r: 4.0 in r.values("v"))
        assert reader.notices(TagStatus) == []


async def test_parts_are_polled_where_the_server_does_not_subscribe(plc: Plc, monkeypatch: pytest.MonkeyPatch) -> None:
    """A polled tag is taken apart once, like a subscribed one."""
    a = await added(plc, ua.Variant([1, 2, 3], ua.VariantType.Int32))
    s = await added(plc, ua.Variant(motor(1.0), ua.VariantType.ExtensionObject), "Motor")

    def refuse(*_: Any, **__: Any) -> None:
        raise ServiceError(ua.StatusCodes.BadTooManySubscriptions)

    monkeypatch.setattr(plc.server.iserver.subscription_service, "create_subscription", refuse)
    tags = {"e": {"node": f"s={a}", "index": 1, "type": "int32"}, "v": {"node": f"s={s}", "field": "Speed", "type": "float32"}}
    async with reading(config(plc.port, tags)) as reader:
        await reader.until(lambda r: r.notices(Polled))
        await plc.write(a, [1, 20, 3])
        await plc.write(s, motor(2.0), ua.VariantType.ExtensionObject)
        await reader.until(lambda r: 20 in r.values("e") and 2.0 in r.values("v"))
        assert {row[2:] for row in reader.rows()} == {(0, None)}


async def test_other_names_of_values_are_told(plc: Plc) -> None:
    """Where the server calls a value something else than the configuration, the log says so, for variables and for fields."""
    a = await added(plc, ua.Variant(2, ua.VariantType.Int32), "Mode")
    s = await added(plc, ua.Variant(ua.Drive(Mode=ua.Mode.Auto), ua.VariantType.ExtensionObject), "Drive")
    tags = {
        "a": {"node": f"s={a}", "names": {0: "Off", 2: "Hand"}},
        "s": {"node": f"s={s}", "field": "Mode", "names": {1: "Hand"}},
        "same": {"node": f"s={a}", "names": {0: "Off", 2: "Auto", 9: "more"}},
    }
    with structlog.testing.capture_logs() as logs:
        await baseline(plc, tags)
    told = {line["tag"]: line["server"] for line in logs if line["event"] == "opcua.names_differ"}
    assert told == {"a": {2: "Auto"}, "s": {1: "Manual"}}
